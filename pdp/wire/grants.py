"""`pdp.v1.GrantService`: bytes -> the step that somebody wants taken, or why that cannot be read.

Nothing is verified here: who calls, and whether that caller may, is asked by the service. A list that is empty is one that
was left out, since the protocol cannot tell the two apart.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from language import format_duration, format_instant
from pdp.grants.grant import Bindings, EndReason, Permit, State, Target
from pdp.service.approving import Yes
from pdp.service.giving import NO_KEY, Child, Opening
from pdp.wire.messages import PDP
from pdp.wire.refusals import Unfit
from pdp.wire.strict import need_text, parse, refuse_unknown, take_text, take_token
from pdp.wire.values import EPOCH, Values, span_of, take_record, take_reference

WHY_MAX = 1_000
KEY_MAX = 128
PAGE_MAX, PAGE = 1_000, 100
LISTED_MAX = 1_000

#: By their numbers in the protocol.
STATES: dict[int, State] = dict(enumerate(State, 1))
REASONS: dict[int, EndReason] = dict(enumerate(EndReason, 1))

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Once:
    """The caller's name for one step, with a digest of what it says, so that it is taken once."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class ToOpen:
    opening: Opening
    requested: str | None  # a grant that was asked for: only the facts of `opening` count then
    user_token: str | None = field(repr=False)
    once: Once | None


@dataclass(frozen=True, slots=True)
class ToRequest:
    opening: Opening  # its holder is who calls
    opener: str
    user_token: str | None = field(repr=False)
    proof: str | None = field(repr=False)
    covered: bytes  # SHA-256 of what a proof has to be over
    once: Once | None


@dataclass(frozen=True, slots=True)
class ToApprove:
    yes: Yes
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToGet:
    grant: str
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToReject:
    grant: str
    why: str
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToDelegate:
    handle: str = field(repr=False)
    proof: str | None = field(repr=False)
    child: Child
    covered: bytes
    once: Once | None


@dataclass(frozen=True, slots=True)
class ToRenew:
    grant: str
    binding: Bindings
    proof: str | None = field(repr=False)
    new_proof: str | None = field(repr=False)
    covered: bytes


@dataclass(frozen=True, slots=True)
class ToSuspend:
    grant: str
    why: str
    lift: bool


@dataclass(frozen=True, slots=True)
class ToEnd:
    """Either the whole task, or one grant with what is below it."""

    task: str | None
    grant: str | None
    reason: EndReason | None
    why: str


@dataclass(frozen=True, slots=True)
class ToList:
    task: str | None
    holder: str | None
    kind: str | None
    states: frozenset[State]
    size: int
    after: str | None


@dataclass(frozen=True, slots=True)
class ToWatch:
    after: int
    task: str | None
    holder: str | None


def read_open(raw: bytes) -> ToOpen:
    message = parse(PDP.OpenRequest, raw)
    if message.HasField("requested"):
        _refuse_others(message, {"requested", "facts", "user_token"})
        opening = Opening("", "", _facts(message, Values()))
        return ToOpen(opening, need_text(message, "requested"), take_token(message, "user_token"), None)
    opening = _opening(message, need_text(message, "holder"))
    return ToOpen(opening, None, take_token(message, "user_token"), _once(message))


def read_request(raw: bytes) -> ToRequest:
    message = parse(PDP.RequestGrantRequest, raw)
    return ToRequest(
        _opening(message, ""),
        need_text(message, "opener"),
        take_token(message, "user_token"),
        take_token(message, "proof"),
        covered_by(message),
        _once(message),
    )


def read_approve(raw: bytes) -> ToApprove:
    message = parse(PDP.ApproveRequest, raw)
    if not message.HasField("agreement"):
        raise Unfit("missing_field", "agreement")
    if len(message.agreement) != hashlib.sha256().digest_size:
        raise Unfit("malformed_value", "agreement: a digest is 32 bytes")
    return ToApprove(Yes(need_text(message, "grant"), message.agreement.hex()), take_token(message, "approver_token"))


def read_reject(raw: bytes) -> ToReject:
    message = parse(PDP.RejectRequest, raw)
    return ToReject(need_text(message, "grant"), _why(message), take_token(message, "approver_token"))


def read_delegate(raw: bytes) -> ToDelegate:
    message = parse(PDP.DelegateRequest, raw)
    handle = take_token(message, "grant")
    if handle is None or not message.HasField("bindings"):
        raise Unfit("missing_field", "bindings" if handle else "grant")
    child = Child(
        need_text(message, "holder"),
        _bindings(message.bindings),
        _permits(message, Values()),
        _lasting(message),
        _number(message, "deeper"),
        _number(message, "uses"),
    )
    return ToDelegate(handle, take_token(message, "proof"), child, covered_by(message), _once(message))


def read_renew(raw: bytes) -> ToRenew:
    message = parse(PDP.RenewRequest, raw)
    if not message.HasField("bindings"):
        raise Unfit("missing_field", "bindings")
    return ToRenew(
        need_text(message, "grant"),
        _bindings(message.bindings),
        take_token(message, "proof"),
        take_token(message, "new_proof"),
        covered_by(message),
    )


def read_suspend(raw: bytes) -> ToSuspend:
    message = parse(PDP.SuspendRequest, raw)
    return ToSuspend(need_text(message, "grant"), _why(message), message.lift)


def read_end(raw: bytes) -> ToEnd:
    message = parse(PDP.EndRequest, raw)
    what = message.WhichOneof("what")
    if what is None:
        raise Unfit("missing_field", "task or grant")
    named = need_text(message, what)
    reason = None
    if message.HasField("reason"):
        reason = REASONS.get(message.reason)
        if reason not in (EndReason.COMPLETED, EndReason.REVOKED):
            raise Unfit("malformed_value", "reason: completed or revoked")
    return ToEnd(named if what == "task" else None, named if what == "grant" else None, reason, _why(message))


def read_get(raw: bytes) -> ToGet:
    message = parse(PDP.GetRequest, raw)
    return ToGet(need_text(message, "grant"), take_token(message, "approver_token"))


def read_list(raw: bytes) -> ToList:
    message = parse(PDP.ListRequest, raw)
    if not all(number in STATES for number in message.states):
        raise Unfit("malformed_value", "states")
    size = PAGE if not message.HasField("page_size") else message.page_size
    if not 0 < size <= PAGE_MAX:
        raise Unfit("malformed_value", f"page_size: 1 to {PAGE_MAX}")
    states = frozenset(STATES[number] for number in message.states)
    after = take_text(message, "page_token") or None
    task, holder, kind = (_named(message, name) for name in ("task", "holder", "kind"))
    return ToList(task, holder, kind, states, size, after)


def read_watch(raw: bytes) -> ToWatch:
    message = parse(PDP.WatchRequest, raw)
    if message.after_revision < 0:
        raise Unfit("malformed_value", "after_revision")
    return ToWatch(message.after_revision, _named(message, "task"), _named(message, "holder"))


def covered_by(message: Any) -> bytes:
    """What a proof in a message is over: the message without its proofs and its idempotency key, in protobuf's deterministic
    form."""
    return _digest_without(message, ("proof", "new_proof", "idempotency_key"))


# ---- parts


def _opening(message: Any, holder: str) -> Opening:
    values = Values()
    of_open = {name.name for name in message.DESCRIPTOR.fields}
    return Opening(
        need_text(message, "kind"),
        holder,
        _facts(message, values),
        _permits(message, values),
        _bindings(message.bindings) if message.HasField("bindings") else NO_KEY,
        _lasting(message),
        _number(message, "deeper") if "deeper" in of_open else None,
        _number(message, "uses") if "uses" in of_open else None,
        _why(message) if "why" in of_open else "",
    )


def _facts(message: Any, values: Values) -> dict[str, Any]:
    """As data of an entities file: a time and a duration are texts, and the declaration of the task says what they are."""
    return {name: _foreign(value) for name, value in take_record(message.facts.fields, values).items()}


def _foreign(value: Any) -> Any:
    match value:
        case datetime():
            return format_instant((value - EPOCH) // _MICROSECOND)
        case timedelta():
            return format_duration(value // _MICROSECOND)
        case dict():
            return {name: _foreign(each) for name, each in value.items()}
        case list() | tuple():
            return [_foreign(each) for each in value]
    return value


def _permits(message: Any, values: Values) -> tuple[Permit, ...] | None:
    if len(message.scope) > LISTED_MAX:
        raise Unfit("too_many_items", "scope")
    return tuple(_permit(each, values) for each in message.scope) or None


def _permit(message: Any, values: Values) -> Permit:
    refuse_unknown(message)
    values.count(len(message.on) + len(message.actions) + len(message.constraints))
    if len(message.on) > LISTED_MAX or len(message.actions) > LISTED_MAX:
        raise Unfit("too_many_items", "scope")
    return Permit(frozenset(message.actions), tuple(map(_target, message.on)), tuple(message.constraints))


def _target(message: Any) -> Target:
    refuse_unknown(message)
    within = take_reference(message.within, "within") if message.HasField("within") else None
    return Target(need_text(message, "type"), take_text(message, "id"), within)


def _bindings(message: Any) -> Bindings:
    refuse_unknown(message)
    for name in ("session", "process"):
        if message.HasField(name):
            raise Unfit("binding_unsupported", name)
    certificate, key = take_text(message, "certificate"), take_text(message, "key")
    return Bindings(certificate, key, _places(message.gates), _places(message.destinations))


def _places(named: Any) -> tuple[str, ...] | None:
    if len(named) > LISTED_MAX:
        raise Unfit("too_many_items", "bindings")
    return tuple(sorted(named)) or None


def _lasting(message: Any) -> int | None:
    return span_of(message.lasting) if message.HasField("lasting") else None


def _number(message: Any, name: str) -> int | None:
    return int(getattr(message, name)) if message.HasField(name) else None


def _why(message: Any) -> str:
    return take_text(message, "why", WHY_MAX) or ""


def _named(message: Any, name: str) -> str | None:
    return need_text(message, name) if message.HasField(name) else None


def _once(message: Any) -> Once | None:
    key = take_text(message, "idempotency_key", KEY_MAX)
    if key is None:
        return None
    if not key or not key.isascii() or not key.isprintable():
        raise Unfit("malformed_value", f"idempotency_key: 1 to {KEY_MAX} printable ASCII characters")
    # Tokens are other ones each time that a step is tried again.
    return Once(key, _digest_without(message, ("idempotency_key", "proof", "user_token")).hex())


def _digest_without(message: Any, names: tuple[str, ...]) -> bytes:
    known = {each.name for each in message.DESCRIPTOR.fields}
    rest = type(message)()
    rest.CopyFrom(message)
    for name in names:
        if name in known:
            rest.ClearField(name)
    return hashlib.sha256(rest.SerializeToString(deterministic=True)).digest()


def _refuse_others(message: Any, names: set[str]) -> None:
    for each, _ in message.ListFields():
        if each.name not in names:
            raise Unfit("conflicting_fields", f"requested and {each.name}")
