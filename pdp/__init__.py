"""Bulkhead: decides, at request time, over verified workload identity, task context and expiry."""

from __future__ import annotations

from language import Diagnostic, PolicyErrors
from pdp.errors import PdpError
from pdp.model.decision import Decision
from pdp.model.denied import Denied
from pdp.model.request import Request, Resource, Task, Workload
from pdp.sdk.engine import Engine
from pdp.sdk.guard import guard

__all__ = [
    "Decision",
    "Denied",
    "Diagnostic",
    "Engine",
    "PdpError",
    "PolicyErrors",
    "Request",
    "Resource",
    "Task",
    "Workload",
    "guard",
]
