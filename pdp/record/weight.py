"""How much a request that waits keeps alive, roughly: a queue is bounded by it.

Characters and elements are counted, and no further than it takes to call the request heavy. What it is made of is the
caller's: up to a message, in as many values as fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pdp.model.request import NOTHING, Request, Resource, Task, Workload

BASE = 2048  # bytes of a decision with a small question: its objects
HEAVY = 8192  # from here on it is told at the door, and waits as text


def weight_of(request: Request) -> int:
    """Bytes, at least about. Above `HEAVY` it says that the request is heavy, and not how heavy."""
    resource, user, workload = request.resource, request.user, request.workload
    if request.context is NOTHING and request.location is NOTHING and workload is None and request.task is None:
        if type(resource) is tuple and type(user) is tuple:  # the usual question in process
            return BASE + len(resource[1]) + len(user[1])
    todo: list[Any] = [
        request.action, resource, user, workload, request.task, request.context, request.location, request.gate,
        request.proof,
    ]  # fmt: skip
    found = BASE
    while todo and found <= HEAVY:
        value = todo.pop()
        kind = type(value)
        if kind is str or kind is bytes:
            found += 4 * len(value)  # as it came, as the language read it, and as text can be wide
        elif kind in (tuple, list, frozenset, set):
            found += 64 * len(value)
            if found <= HEAVY:
                todo.extend(value)
        elif isinstance(value, Mapping):
            found += 128 * len(value)
            if found <= HEAVY:
                for key, held in value.items():
                    todo += key, held
        elif kind is int:
            found += value.bit_length() // 4
        elif kind is Resource:
            todo += value.type, value.id, value.attributes, value.parents
        elif kind is Task:
            todo += value.id, value.kind, value.attributes, value.chain, value.proof
        elif kind is Workload:
            todo += value.id, value.process
    return found
