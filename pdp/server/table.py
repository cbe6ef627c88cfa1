"""The one place where services are put into the table: what this server answers.

Each function takes the parts of a process and gives methods by full name. The health service is added by the process.
"""

from __future__ import annotations

from collections.abc import Callable

from pdp.server.desk import Desk
from pdp.server.handlers import Handlers, Method, StreamMethod
from pdp.server.parts import Parts
from pdp.server.services.admin import admin_handlers
from pdp.server.services.decisions import decision_handlers
from pdp.server.services.envoy import envoy_handlers
from pdp.server.services.grants import grant_handlers

MakeHandlers = Callable[[Parts], Handlers]

#: What `pdp serve` serves.
SERVICES: tuple[Callable[[Desk], Handlers], ...] = (envoy_handlers, decision_handlers, grant_handlers, admin_handlers)


def make_handlers(parts: Parts) -> Handlers:
    found: dict[str, Method | StreamMethod] = {}
    desk = Desk(parts)
    for make in SERVICES:
        for name, method in make(desk).items():
            if found.setdefault(name, method) is not method:
                raise ValueError(f"`{name}` is served twice")
    return found
