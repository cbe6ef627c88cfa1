"""Bulkhead: decides, at request time, over verified workload identity, task context and expiry.

Names are imported when they are first asked for: whoever imports one module of `pdp`, such as every run of pytest that finds
our plugin installed, does not pay for the compiler.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from language import Diagnostic, PolicyErrors
    from pdp.errors import PdpError
    from pdp.model.ask import Shown, Target
    from pdp.model.data import Entity, Row
    from pdp.model.decision import Decision
    from pdp.model.denied import Denied
    from pdp.model.request import Request, Resource, Task, Workload
    from pdp.sdk.engine import Engine
    from pdp.sdk.guard import guard
    from pdp.sdk.remote.async_client import AsyncClient
    from pdp.sdk.remote.client import Client
    from pdp.sdk.remote.own import Tls

#: Where each name comes from.
_HOMES = {
    "AsyncClient": "pdp.sdk.remote.async_client",
    "Client": "pdp.sdk.remote.client",
    "Decision": "pdp.model.decision",
    "Denied": "pdp.model.denied",
    "Diagnostic": "language",
    "Engine": "pdp.sdk.engine",
    "Entity": "pdp.model.data",
    "PdpError": "pdp.errors",
    "PolicyErrors": "language",
    "Request": "pdp.model.request",
    "Resource": "pdp.model.request",
    "Row": "pdp.model.data",
    "Shown": "pdp.model.ask",
    "Target": "pdp.model.ask",
    "Task": "pdp.model.request",
    "Tls": "pdp.sdk.remote.own",
    "Workload": "pdp.model.request",
    "guard": "pdp.sdk.guard",
}

__all__ = [
    "AsyncClient",
    "Client",
    "Decision",
    "Denied",
    "Diagnostic",
    "Engine",
    "Entity",
    "PdpError",
    "PolicyErrors",
    "Request",
    "Resource",
    "Row",
    "Shown",
    "Target",
    "Task",
    "Tls",
    "Workload",
    "guard",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
