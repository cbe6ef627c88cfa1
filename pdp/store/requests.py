"""A request file -> Request."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from language import describe, shorten
from pdp.errors import PdpError
from pdp.model.request import Request, Resource, Task, Workload
from pdp.store.strict_data import BadData, read_json, read_yaml

REQUEST_BYTES_MAX = 4 * 1024 * 1024

_KEYS = {"action", "resource", "workload", "user", "task", "context", "gate", "location", "proof"}
_ENTITY_KEYS = {"type", "id", "attributes", "parents"}
_TASK_KEYS = {
    "kind", "id", "attributes", "started", "ends", "proof", "opener", "holder", "depth", "parent", "chain", "state",
}  # fmt: skip


def read_request(path: Path) -> Request:
    """The request of a JSON or YAML file; `-` is standard input."""
    try:
        content = sys.stdin.buffer.read(REQUEST_BYTES_MAX + 1) if str(path) == "-" else _read(path)
        if len(content) > REQUEST_BYTES_MAX:
            raise PdpError("invalid_request", f"`{path}` is larger than 4 MiB")
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PdpError("invalid_file", f"`{path}` cannot be read: {error}") from None
    try:
        return request_from(read_yaml(text) if path.suffix in (".yaml", ".yml") else read_json(text))
    except BadData as error:
        place = f"{path}:{error.line}" if error.line else str(path)
        raise PdpError("invalid_request", f"{place}: {error}") from None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(REQUEST_BYTES_MAX + 1)


def request_from(content: Any) -> Request:
    """A request as data, strictly: an unknown key is a mistake and never ignored."""
    fields = _object(content, "the request", _KEYS, {"action", "resource"})
    return Request(
        action=fields["action"],
        resource=_entity(fields["resource"], "resource"),
        workload=_workload(fields["workload"]) if "workload" in fields else None,
        user=_entity(fields["user"], "user") if "user" in fields else None,
        task=_task(fields["task"]) if "task" in fields else None,
        context=_object(fields.get("context", {}), "context"),
        gate=_object(fields["gate"], "gate") if "gate" in fields else None,
        location=_object(fields.get("location", {}), "location"),
        proof=_list(fields.get("proof", []), "proof"),
    )


def _object(value: Any, where: str, known: set[str] | None = None, needed: set[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadData(f"{where}: found {describe(value)}, expected an object")
    for key in value:
        if known is not None and key not in known:
            raise BadData(f"{where}: `{shorten(key)}` means nothing here; known are {', '.join(sorted(known))}")
    for key in sorted(needed or ()):
        if key not in value:
            raise BadData(f"{where}: `{key}` is missing")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadData(f"{where}: found {describe(value)}, expected a list")
    return value


def _entity(value: Any, where: str) -> Resource:
    if isinstance(value, list):
        if len(value) != 2:
            raise BadData(f'{where}: found a list, expected ["Type", "id"]')
        return Resource(value[0], value[1])
    fields = _object(value, where, _ENTITY_KEYS, {"type", "id"})
    attributes = _object(fields["attributes"], f"{where}.attributes") if "attributes" in fields else None
    above = f"{where}.parents"
    parents = [tuple(_list(p, above)) for p in _list(fields["parents"], above)] if "parents" in fields else None
    return Resource(fields["type"], fields["id"], attributes, parents)


def _workload(value: Any) -> str | Workload:
    if isinstance(value, dict):
        fields = _object(value, "workload", {"id", "process"}, {"id"})
        process = _object(fields["process"], "workload.process") if "process" in fields else None
        return Workload(fields["id"], process)
    if not isinstance(value, str):
        raise BadData(f"workload: found {describe(value)}, expected a SPIFFE ID")
    return value


def _task(value: Any) -> Task:
    fields = _object(value, "task", _TASK_KEYS, {"kind", "id", "started", "ends"})
    for name in ("kind", "id", "started", "ends", "opener", "holder", "parent", "state"):
        if name in fields and not isinstance(fields[name], str):
            raise BadData(f"task.{name}: found {describe(fields[name])}, expected a text")
    if type(fields.get("depth", 0)) is not int:
        raise BadData(f"task.depth: found {describe(fields['depth'])}, expected an integer")
    lists = {name: _list(fields.get(name, []), f"task.{name}") for name in ("proof", "chain")}
    return Task(**{**fields, **lists})
