"""The one place where services are put into the table: what this server answers.

Each function takes the parts of a process and gives methods by full name. The health service is added by the process.
"""

from __future__ import annotations

from collections.abc import Callable

from pdp.server.handlers import Handlers, Method, StreamMethod
from pdp.server.parts import Parts

MakeHandlers = Callable[[Parts], Handlers]

#: What `pdp serve` serves.
SERVICES: tuple[MakeHandlers, ...] = ()


def make_handlers(parts: Parts) -> Handlers:
    found: dict[str, Method | StreamMethod] = {}
    for make in SERVICES:
        for name, method in make(parts).items():
            if found.setdefault(name, method) is not method:
                raise ValueError(f"`{name}` is served twice")
    return found
