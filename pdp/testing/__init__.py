"""For tests of programs that ask the decision point: a clock that stands still, tasks, identities, assertions that explain.

With pytest these are fixtures (`pdp/sdk/pytest_plugin.py`); with any other runner they are functions.
"""

from __future__ import annotations

from language import FOREVER
from pdp.testing.asserts import assert_allowed, assert_denied
from pdp.testing.clock import FakeClock
from pdp.testing.identities import workload
from pdp.testing.tasks import TaskOpener, ended, resumed, suspended

__all__ = [
    "FOREVER",
    "FakeClock",
    "TaskOpener",
    "assert_allowed",
    "assert_denied",
    "ended",
    "resumed",
    "suspended",
    "workload",
]
