"""A request kept as it was at the moment of the question.

A request is frozen, but the mappings in it are the caller's, who may fill the same one anew for the next question while
this one still waits to be written. Copying by `marshal` is the quickest way there is, and takes plain data only.
"""

from __future__ import annotations

import marshal
from copy import deepcopy
from dataclasses import replace
from typing import Any

from pdp.model.request import Request, Resource, Workload

Held = bytes | Request | None


def hold(request: Request) -> Held:
    """A copy of what others could change; None when there is nothing of that kind."""
    resource, user, workload, task = request.resource, request.user, request.workload, request.task
    if (
        not request.context
        and task is None
        and type(resource) is tuple
        and (user is None or type(user) is tuple)
        and (workload is None or type(workload) is str)
        and request.gate is None
        and not request.location
        and not request.proof
    ):
        return None
    parts: Any = (
        request.context,
        request.gate,
        request.location,
        request.proof,
        (resource.attributes, resource.parents) if isinstance(resource, Resource) else resource,
        (user.attributes, user.parents) if isinstance(user, Resource) else user,
        workload.process if isinstance(workload, Workload) else None,
        None if task is None else (task.attributes, task.proof),
    )
    try:
        return marshal.dumps(parts)
    except ValueError:  # something in it is no plain data
        return _copied(request)


def _copied(request: Request) -> Held:
    try:
        return deepcopy(request)
    except Exception:  # noqa: BLE001  # whatever a foreign object raises when copied; then it is told as it is when written
        return None


def held(request: Request, kept: Held) -> Request:
    """The request as it was held."""
    if kept is None:
        return request
    if isinstance(kept, Request):
        return kept
    context, gate, location, proof, resource, user, process, task = marshal.loads(kept)  # noqa: S302  # our own bytes, from `hold`
    workload = request.workload
    return Request(
        request.action,
        _entity(request.resource, resource),
        replace(workload, process=process) if isinstance(workload, Workload) else workload,
        _entity(request.user, user),
        None if request.task is None else replace(request.task, attributes=task[0], proof=task[1]),
        context,
        gate,
        location,
        proof,
    )


def _entity(entity: Any, kept: Any) -> Any:
    return replace(entity, attributes=kept[0], parents=kept[1]) if isinstance(entity, Resource) else kept
