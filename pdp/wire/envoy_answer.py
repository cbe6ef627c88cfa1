"""A decision, or why there is none -> a CheckResponse, whole, in bytes (A-1 to A-7).

An empty CheckResponse means ALLOW in Envoy, and so does one that has a denial in it but no status. So no message leaves this
file: functions return `Answer`, bytes that were looked at after they were made, and an allow is made in one function, which
asks the decision again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NewType
from urllib.parse import quote

from language import FOREVER, format_instant
from pdp.model.decision import Decision
from pdp.model.gates import Gate
from pdp.wire.messages import ENVOY
from pdp.wire.refusals import Unfit

#: A serialised CheckResponse whose status is explicit.
Answer = NewType("Answer", bytes)

OK, PERMISSION_DENIED, INTERNAL, UNAUTHENTICATED = 0, 7, 13, 16
FORBIDDEN, UNAUTHORIZED, UNAVAILABLE, BODY_BYTES_MAX = 403, 401, 503, 4_096

_json = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode

#: Reasons of a decision that say: nobody was identified. Others are told 403.
UNAUTHENTICATED_REASONS: Final = frozenset({"no_subject"})
#: Why nothing can be decided now. Envoy's caller may try again.
UNAVAILABLE_REASONS: Final = {
    "internal": "the decision point failed",
    "not_ready": "the decision point is not ready",
    "overloaded": "the decision point has too much to do",
    "deadline_passed": "the decision was not made in time",
    "ending": "the decision point is ending",
}

_CheckResponse = ENVOY.CheckResponse
_DeniedHttpResponse = ENVOY.DeniedHttpResponse
_DENIED, _ALLOWED, _FAILED = 0x12, 0x1A, 0x2A  # how the fields of `http_response` begin on the wire
_PLAIN = re.compile(r"[A-Za-z0-9:/._@=+-]+", re.ASCII)
_HEADER_SAFE = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"  # visible ASCII without %


@dataclass(frozen=True, slots=True)
class Told:
    """What was verified and may be told to back ends and filters. Ids only, never a token (A-6)."""

    workload: str | None = None
    user: str | None = None
    task: str | None = None
    grant: str | None = None
    correlation: str | None = None
    unauthenticated: bool = False  # a credential was refused: 401 rather than 403


NOTHING_TOLD = Told()


def answer(decision: Decision, gate: Gate, told: Told = NOTHING_TOLD, consumed: Iterable[str] = ()) -> Answer:
    """What a decision is to Envoy. `consumed` are the credentials that must not go further (`Ask.consumed`)."""
    return _allow(decision, gate, told, consumed) if decision.allowed else _deny(decision, gate, told)


def refuse(unfit: Unfit, correlation: str | None = None) -> Answer:
    """The denial of what could not even be asked."""
    rule = unfit.rule
    code = UNAUTHENTICATED if rule.status == UNAUTHORIZED else PERMISSION_DENIED
    body = {"reason": unfit.code, "because": unfit.message}
    return _denial(code, rule.status, unfit.code, body, None, correlation)


def refuse_credential(code: str, says: str, correlation: str | None = None) -> Answer:
    """The denial of a credential that another part refused, with the code it has there."""
    return _denial(UNAUTHENTICATED, UNAUTHORIZED, code, {"reason": code, "because": says}, None, correlation)


def unavailable(reason: str) -> Answer:
    """The denial while nothing can be decided. Each is made once: it must not need anything that may have failed."""
    return _UNAVAILABLE.get(reason, _UNAVAILABLE["internal"])


def at_edge(code: str, correlation: str | None = None) -> Answer:
    """The denial of a call that ended before anybody read it, by the code that a server's edge has for it. Total."""
    if code in ("unauthenticated", "not_permitted"):
        return refuse(Unfit("unknown_gate"), correlation)
    if code in ("too_large", "revoked"):
        return refuse(Unfit(code), correlation)
    if correlation is None:
        return unavailable(code)
    reason = code if code in UNAVAILABLE_REASONS else "internal"
    return _failed(reason, UNAVAILABLE_REASONS[reason], correlation)


# ---- allow


def _allow(decision: Decision, gate: Gate, told: Told, consumed: Iterable[str]) -> Answer:
    response = _CheckResponse()
    response.status.SetInParent()  # code 0, and there
    ok = response.ok_response
    ok.SetInParent()
    headers = gate.headers
    remove = list(consumed)
    for name, what in headers.items():
        value = _told(what, decision, told)
        if value is None:
            remove.append(name)  # or a client could say it
        else:
            _overwrite(ok.headers, name, value)
    if remove:
        ok.headers_to_remove.extend(remove)
    _describe(response, decision, told)
    if not decision.allowed:
        raise AssertionError("an allow is made of a decision that allows")
    return _whole(response.SerializeToString(), _ALLOWED)


def _told(what: str, decision: Decision, told: Told) -> str | None:
    match what:
        case "decision":
            return decision.id
        case "rule":
            return decision.rule
        case "valid_until":
            return format_instant(decision.valid_until_us) if decision.valid_until_us < FOREVER else None
        case "workload":
            return told.workload
        case "user":
            return told.user
        case "task":
            return told.task
        case _:
            return told.grant


# ---- deny


def _deny(decision: Decision, gate: Gate, told: Told) -> Answer:
    nobody = told.unauthenticated or decision.reason in UNAUTHENTICATED_REASONS
    body: dict[str, Any] = {"reason": decision.reason, "decision": decision.id}
    if decision.because is not None:
        body["because"] = decision.because
    if gate.explain:
        body["rule"] = decision.rule
        body["errors"] = [{"rule": e.rule, "code": e.code, "message": e.message} for e in decision.errors]
    code, status = (UNAUTHENTICATED, UNAUTHORIZED) if nobody else (PERMISSION_DENIED, FORBIDDEN)
    return _denial(code, status, decision.reason, body, (decision, told), told.correlation)


def _denial(
    code: int,
    status: int,
    reason: str,
    body: dict[str, Any],
    decided: tuple[Decision, Told] | None,
    correlation: str | None,
) -> Answer:
    response = _CheckResponse()
    response.status.code = code
    response.status.message = reason
    denied = response.denied_response
    _fill(denied, status, reason, body)
    if decided is not None:
        decision, told = decided
        _overwrite(denied.headers, "pdp-decision-id", decision.id)
        _describe(response, decision, told)
    else:
        response.dynamic_metadata.fields["reason"].string_value = reason
    if correlation is not None:
        _overwrite(denied.headers, "pdp-correlation-id", correlation)
    return _whole(response.SerializeToString(), _DENIED)


def _fill(denied: Any, status: int, reason: str, body: dict[str, Any]) -> None:
    denied.MergeFromString(_usual(status, reason))
    text = _json(body)
    if len(text) > BODY_BYTES_MAX:
        text = _json({k: body[k] for k in ("reason", "decision") if k in body})
    denied.body = text


@lru_cache(maxsize=256)
def _usual(status: int, reason: str) -> bytes:
    """What all denials of one reason have in common."""
    denied = _DeniedHttpResponse()
    denied.status.code = status
    _overwrite(denied.headers, "content-type", "application/json")
    _overwrite(denied.headers, "cache-control", "no-store")
    _overwrite(denied.headers, "pdp-reason", reason)
    if status == UNAUTHORIZED:
        _overwrite(denied.headers, "www-authenticate", "X509-SVID")  # HTTP wants one with a 401
    return bytes(denied.SerializeToString())


def _failed(reason: str, says: str, correlation: str | None = None) -> Answer:
    """Code 13 with `error_response`. An Envoy that does not know that field goes by the code, which says no as well."""
    response = _CheckResponse()
    response.status.code = INTERNAL
    response.status.message = reason
    _fill(response.error_response, UNAVAILABLE, reason, {"reason": reason, "because": says})
    if correlation is not None:
        _overwrite(response.error_response.headers, "pdp-correlation-id", correlation)
    return _whole(response.SerializeToString(), _FAILED)


# ---- what both have


def _describe(response: Any, decision: Decision, told: Told) -> None:
    fields = response.dynamic_metadata.fields
    fields["decision_id"].string_value = decision.id
    fields["generation"].string_value = decision.generation
    fields["reason"].string_value = decision.reason
    if told.grant is not None:
        fields["grant_id"].string_value = told.grant
    if told.task is not None:
        fields["task_id"].string_value = told.task
    if decision.valid_until_us < FOREVER:
        fields["valid_until"].string_value = format_instant(decision.valid_until_us)


def _overwrite(headers: Any, name: str, value: str) -> None:
    """`append: false` overwrites; it is the only one of the two ways to say so that ext_authz honours (A-4)."""
    option = headers.add()
    option.header.key = name
    option.header.value = value if _PLAIN.fullmatch(value) else quote(value, safe=_HEADER_SAFE)
    option.append.value = False
    option.append.SetInParent()


def _whole(raw: bytes, wanted: int) -> Answer:
    """INVARIANT: nothing else makes an `Answer`. The bytes begin with a status, and then comes the response of that kind;
    an allow has an empty status, which is code 0, and nothing else has."""
    length = raw[1] if len(raw) > 2 else 0x80  # a status of ours is shorter than 128 bytes, so its length is one byte
    following = 2 + length
    fits = raw[:1] == b"\x0a" and length < 0x80 and len(raw) > following and raw[following] == wanted
    if not fits or (length == 0) != (wanted == _ALLOWED):
        raise AssertionError("a CheckResponse that is not whole")
    return Answer(raw)


_UNAVAILABLE = {reason: _failed(reason, says) for reason, says in UNAVAILABLE_REASONS.items()}
