"""A request as it was asked -> JSON, and back to the form that the language takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from language import RequestData
from pdp.model.request import Request, Resource, Task, Workload
from pdp.record.masking import Masking
from pdp.record.values import CUT, Lost, tell, tell_fields, untell

_TASK_PLAIN = ("kind", "id", "started", "ends", "opener", "holder", "parent", "state")


def tell_request(request: Request, masking: Masking) -> dict[str, Any]:
    """The request, without what it leaves out."""
    told: dict[str, Any] = {
        "action": tell(request.action, masking),
        "resource": _entity(request.resource, masking),
    }
    workload = request.workload
    if isinstance(workload, Workload):
        told["workload"] = tell(workload.id, masking)
        if workload.process is not None:
            told["process"] = _fields(workload.process, masking, "process")
    elif workload is not None:
        told["workload"] = tell(workload, masking)
    if request.user is not None:
        told["user"] = _entity(request.user, masking)
    if request.task is not None:
        told["task"] = _task(request.task, masking)
    if request.context:
        told["context"] = _fields(request.context, masking, "context")
    if request.gate is not None:
        told["gate"] = _fields(request.gate, masking, "gate")
    if request.location:
        told["location"] = _fields(request.location, masking, "location")
    if request.proof:
        told["proof"] = tell(frozenset(request.proof), masking)["$set"]
    return told


def tell_id(type_name: Any, entity_id: Any, masking: Masking) -> Any:
    """An entity's id; whole types can be declared secret, as `User.id`."""
    if masking.secrets and type(type_name) is str and f"{type_name}.id" in masking.secrets:
        return masking.hide(tell(entity_id, masking), f"{type_name}.id")
    return tell(entity_id, masking)


def _entity(entity: Any, masking: Masking) -> Any:
    """`["Type", "id"]`, or an object where attributes or parents came with it."""
    if not isinstance(entity, Resource):
        match entity:
            case [type_name, entity_id]:
                return [tell(type_name, masking), tell_id(type_name, entity_id, masking)]
            case _:
                return tell(entity, masking)
    name = [tell(entity.type, masking), tell_id(entity.type, entity.id, masking)]
    if entity.attributes is None and entity.parents is None:
        return name
    told: dict[str, Any] = {"type": name[0], "id": name[1]}
    if entity.attributes is not None:
        told["attributes"] = _fields(entity.attributes, masking, str(entity.type))
    if entity.parents is not None:
        told["parents"] = [_entity(p, masking) for p in entity.parents]
    return told


def _task(task: Task, masking: Masking) -> dict[str, Any]:
    told = {name: tell(value, masking) for name in _TASK_PLAIN if (value := getattr(task, name)) is not None}
    if task.depth:
        told["depth"] = tell(task.depth, masking)
    if task.chain:
        told["chain"] = tell(task.chain, masking)
    if task.covers is not True:
        told["covers"] = tell(task.covers, masking)
    if task.proof:
        told["proof"] = tell(frozenset(task.proof), masking)["$set"]
    if task.attributes:
        told["attributes"] = _fields(task.attributes, masking, "task")
    return told


def _fields(fields: Any, masking: Masking, owner: str) -> Any:
    return tell_fields(fields, masking, owner) if isinstance(fields, Mapping) else tell(fields, masking)


def request_data(told: Mapping[str, Any], unread: Callable[[str, str], bool] = lambda root, name: False) -> RequestData:
    """What `tell_request` was given, as data for the language.

    Raises `Lost` where a part was masked or cut, unless it is an optional field that no rule reads, as `unread` says.
    """
    fields = {name: untell(value) for name, value in told.items() if name not in ("task", "context")}
    fields["context"] = _readable(told.get("context", {}), "context", unread)
    process, workload = fields.pop("process", None), fields.pop("workload", None)
    asked = Request(
        action=fields["action"],
        resource=_untold(fields["resource"]),
        workload=workload if process is None else Workload(workload, process),
        user=_untold(fields["user"]) if "user" in fields else None,
        task=_untold_task(told["task"], unread) if "task" in told else None,
        context=fields["context"],
        gate=fields.get("gate"),
        location=fields.get("location", {}),
        proof=fields.get("proof", ()),
    )
    return asked.data()


def _untold(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Resource(value["type"], value["id"], value.get("attributes"), value.get("parents"))
    return value


def _untold_task(told: Mapping[str, Any], unread: Callable[[str, str], bool]) -> Task:
    fields = {name: untell(value) for name, value in told.items() if name != "attributes"}
    return Task(**fields, attributes=_readable(told.get("attributes", {}), "task", unread))


def _readable(told: Any, root: str, unread: Callable[[str, str], bool]) -> Any:
    if not isinstance(told, Mapping) or CUT in told:
        return untell(told)
    fields: dict[str, Any] = {}
    for name, value in told.items():
        try:
            fields |= untell({name: value})
        except Lost:
            if not unread(root, name):
                raise
    return fields
