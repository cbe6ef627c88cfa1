"""A record of the store <-> JSON data, in one form: every store keeps the same document; an approval's digest is over it.

Reading is strict: what is of the wrong type or has a name that is not known makes the record unreadable (`BadRecord`), and
a grant that cannot be read permits nothing. Two names may be unknown, since a later version may narrow what it grants:
a binding and a constraint of a permit. They are kept by name, and match and cover nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pdp.grants.grant import (
    Approval,
    Bindings,
    EndReason,
    Fact,
    Grant,
    Mark,
    Permit,
    Reference,
    Required,
    Scope,
    Source,
    State,
    Target,
    Tombstone,
)
from pdp.grants.store import Record
from pdp.model.frozen import frozen

VERSION = 1

_json = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class BadRecord(ValueError):
    """A document that is no record."""


def canonical(value: Any) -> str:
    """The one encoding of JSON data. `1`, `true` and `"1"` are three texts in it."""
    return _json(value)


# ---- telling


def tell_record(record: Record) -> dict[str, Any]:
    """The record as JSON data, its revision left out: that is the store's."""
    match record:
        case Grant():
            return {"v": VERSION, "grant": tell_grant(record)}
        case Mark():
            return {"v": VERSION, "mark": {name: getattr(record, name) for name in _MARK}}
        case Tombstone():
            return {"v": VERSION, "tombstone": {"id": record.id, "at": record.at}}


def tell_grant(grant: Grant) -> dict[str, Any]:
    told: dict[str, Any] = {name: getattr(grant, name) for name in _PLAIN}
    told["state"] = grant.state.value
    told["ended"] = None if grant.ended is None else grant.ended.value
    told["facts"] = [tell_fact(fact) for fact in grant.facts]
    told["scope"] = tell_scope(grant.scope)
    told["binding"] = tell_bindings(grant.binding)
    told["people"] = [list(person) for person in grant.people]
    told["required"] = grant.required and {"count": grant.required.count, "of": tell_target(grant.required.of)}
    told["approvals"] = [
        {"id": a.id, "approver": list(a.approver), "at": a.at, "until": a.until, "agreement": a.agreement}
        for a in grant.approvals
    ]
    told["holds"] = list(grant.holds)
    told["confidential"] = grant.confidential
    return told


def tell_fact(fact: Fact) -> dict[str, Any]:
    return {"name": fact.name, "value": tell_value(fact.value), "source": fact.source.value}


def tell_value(value: Any) -> Any:
    """Frozen data as JSON data."""
    if isinstance(value, Mapping):
        return {key: tell_value(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [tell_value(each) for each in value]
    return value


def tell_scope(scope: Scope) -> list[dict[str, Any]]:
    """In one order, whatever order it was written in."""
    return sorted((_tell_permit(permit) for permit in scope.permits), key=canonical)


def _tell_permit(permit: Permit) -> dict[str, Any]:
    told: dict[str, Any] = {
        "actions": sorted(permit.actions),
        "on": sorted((tell_target(target) for target in permit.on), key=canonical),
    }
    return told | {f"{_MUST}{name}": True for name in permit.constraints}


def tell_target(target: Target) -> dict[str, Any]:
    return {"type": target.type, "id": target.id, "within": target.within and list(target.within)}


def tell_bindings(binding: Bindings) -> dict[str, Any]:
    told: dict[str, Any] = {name: getattr(binding, name) for name in _TIES}
    for name in _PLACES:
        places = getattr(binding, name)
        told[name] = None if places is None else list(places)
    return told | {f"{_MUST}{name}": True for name in binding.unknown}


# ---- reading

_MUST = "must:"  # before the name of something that was not understood when it was read
_MARK = ("noun", "name", "why", "at", "actor", "freezes", "lifted")
_TIES = ("certificate", "key", "session", "process")
_PLACES = ("gates", "destinations")
_TEXTS = ("id", "task", "kind", "holder", "opener", "requester", "audience", "generation", "why")
_OPTIONAL_TEXTS = ("parent", "environment")
_NUMBERS = ("depth", "created", "lasting", "ends", "deeper")
_OPTIONAL_NUMBERS = ("started", "uses", "ended_at")
_PLAIN = (*_TEXTS, *_OPTIONAL_TEXTS, *_NUMBERS, *_OPTIONAL_NUMBERS)
_PARTS = ("state", "ended", "facts", "scope", "binding", "people", "required", "approvals", "holds", "confidential")
_GRANT = frozenset({*_PLAIN, *_PARTS})


def read_record(told: object, revision: int) -> Record:
    """The record of a document, as the store wrote it at `revision`."""
    whole = _object(told)
    if type(whole.get("v")) is not int or whole["v"] != VERSION:
        raise BadRecord("the document is of another version")
    match whole:
        case {"grant": found, **rest}:
            record: Record = read_grant(found, revision)
        case {"mark": found, **rest}:
            record = _read_mark(found, revision)
        case {"tombstone": found, **rest}:
            _only(_object(found), {"id", "at"})
            record = Tombstone(_text(found, "id"), _number(found, "at"), revision)
        case _:
            raise BadRecord("neither a grant nor a mark nor a tombstone")
    if rest.keys() != {"v"}:
        raise BadRecord("a document is one record")
    return record


def read_grant(told: object, revision: int) -> Grant:
    found = _object(told)
    _only(found, _GRANT)
    plain: dict[str, Any] = {name: _text(found, name) for name in _TEXTS}
    plain |= {name: _maybe(found, name, _text) for name in _OPTIONAL_TEXTS}
    plain |= {name: _number(found, name) for name in _NUMBERS}
    plain |= {name: _maybe(found, name, _number) for name in _OPTIONAL_NUMBERS}
    return Grant(
        **plain,
        state=_member(State, found.get("state")),
        ended=None if found.get("ended") is None else _member(EndReason, found["ended"]),
        facts=tuple(read_fact(each) for each in _list(found, "facts")),
        scope=read_scope(_list(found, "scope")),
        binding=read_bindings(found.get("binding")),
        people=tuple(_reference(each) for each in _list(found, "people")),
        required=None if found.get("required") is None else _read_required(found["required"]),
        approvals=tuple(_read_approval(each) for each in _list(found, "approvals")),
        holds=tuple(_is_text(each) for each in _list(found, "holds")),
        confidential="confidential" not in found or _flag(found, "confidential"),  # of old records nobody knows whose words
        revision=revision,
    )


def read_fact(told: object) -> Fact:
    found = _object(told)
    _only(found, {"name", "value", "source"})
    if "value" not in found:
        raise BadRecord("a fact without a value")
    return Fact(_text(found, "name"), read_value(found["value"]), _member(Source, found.get("source")))


def read_value(value: object) -> Any:
    """Foreign data of a fact, as it is kept."""
    if isinstance(value, float) or value is None:
        raise BadRecord("a fact is no fraction, and not null")
    if isinstance(value, list | tuple):
        return tuple(read_value(each) for each in value)
    if isinstance(value, Mapping):
        return frozen({_is_text(key): read_value(each) for key, each in value.items()})
    if not isinstance(value, bool | int | str):
        raise BadRecord("a fact is not data")
    return value


def read_scope(told: object) -> Scope:
    if not isinstance(told, list | tuple):
        raise BadRecord("a scope is a list of permits")
    return Scope(tuple(_read_permit(each) for each in told))


def _read_permit(told: object) -> Permit:
    found = _object(told)
    actions = frozenset(_is_text(each) for each in _list(found, "actions"))
    on = tuple(read_target(each) for each in _list(found, "on"))
    return Permit(actions, on, _unknown(found, {"actions", "on"}))


def read_target(told: object) -> Target:
    found = _object(told)
    _only(found, {"type", "id", "within"})
    within = None if found.get("within") is None else _reference(found["within"])
    return Target(_text(found, "type"), _maybe(found, "id", _text), within)


def read_bindings(told: object) -> Bindings:
    found = _object(told)
    read: dict[str, Any] = {name: _maybe(found, name, _text) for name in _TIES}
    for name in _PLACES:
        read[name] = None if found.get(name) is None else tuple(_is_text(each) for each in _list(found, name))
    return Bindings(**read, unknown=_unknown(found, {*_TIES, *_PLACES}))


def _unknown(found: Mapping[str, Any], known: set[str]) -> tuple[str, ...]:
    return tuple(sorted(_is_text(name).removeprefix(_MUST) for name in found if name not in known))


def _read_required(told: object) -> Required:
    found = _object(told)
    _only(found, {"count", "of"})
    return Required(_number(found, "count"), read_target(found.get("of")))


def _read_approval(told: object) -> Approval:
    found = _object(told)
    _only(found, {"id", "approver", "at", "until", "agreement"})
    return Approval(
        _text(found, "id"),
        _reference(found.get("approver")),
        _number(found, "at"),
        _number(found, "until"),
        _text(found, "agreement"),
    )


def _read_mark(told: object, revision: int) -> Mark:
    found = _object(told)
    _only(found, set(_MARK))
    noun, name, why, actor = [_text(found, each) for each in ("noun", "name", "why", "actor")]
    return Mark(noun, name, why, _number(found, "at"), actor, _flag(found, "freezes"), _flag(found, "lifted"), revision)


# ---- parts. `True` is no number here, though Python thinks so.

_E = TypeVar("_E", State, EndReason, Source)
_V = TypeVar("_V", str, int)


def _object(told: object) -> Mapping[str, Any]:
    if not isinstance(told, Mapping):
        raise BadRecord("not an object")
    return told


def _only(found: Mapping[str, Any], known: set[str] | frozenset[str]) -> None:
    if not found.keys() <= known:
        raise BadRecord("a name that is not known")


def _is_text(value: object) -> str:
    if type(value) is not str:
        raise BadRecord("not a text")
    return value


def _text(found: Mapping[str, Any], name: str) -> str:
    return _is_text(found.get(name))


def _number(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    if type(value) is not int:
        raise BadRecord(f"`{name}` is not a number")
    return value


def _flag(found: Mapping[str, Any], name: str) -> bool:
    value = found.get(name)
    if type(value) is not bool:
        raise BadRecord(f"`{name}` is neither true nor false")
    return value


def _maybe(found: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any], str], _V]) -> _V | None:
    return None if found.get(name) is None else read(found, name)


def _list(found: Mapping[str, Any], name: str) -> list[Any] | tuple[Any, ...]:
    value = found.get(name)
    if not isinstance(value, list | tuple):
        raise BadRecord(f"`{name}` is not a list")
    return value


def _reference(told: object) -> Reference:
    if not isinstance(told, list | tuple) or len(told) != 2:
        raise BadRecord("not a reference")
    return _is_text(told[0]), _is_text(told[1])


def _member(kind: type[_E], told: object) -> _E:
    try:
        return kind(_is_text(told))
    except ValueError:
        raise BadRecord(f"not one of {', '.join(kind)}") from None
