"""Bulkhead: decides, at request time, over verified workload identity, task context and expiry."""

from __future__ import annotations

from language import Diagnostic, PolicyErrors
from language import EntityData as Entity
from language import RowData as Row
from pdp.errors import PdpError
from pdp.model.decision import Decision
from pdp.model.request import Request, Resource, Task, Workload
from pdp.sdk.engine import Engine

__all__ = [
    "Decision",
    "Diagnostic",
    "Engine",
    "Entity",
    "PdpError",
    "PolicyErrors",
    "Request",
    "Resource",
    "Row",
    "Task",
    "Workload",
]
