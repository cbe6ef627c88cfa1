"""An entry -> one canonical JSON text: keys in order, ASCII only, nothing that is absent.

Control characters, line ends of every alphabet and lone surrogates are escapes in it, so an entry is one line whatever a
caller put in; and it never has a secret in it, since masking comes before there is a text.
"""

from __future__ import annotations

from typing import Any, assert_never

from language import FOREVER
from pdp.record.canonical import canonical
from pdp.record.entry import Circumstances, Decided, Entry, Notice, Step
from pdp.record.evidence import tell_evidence
from pdp.record.masking import Masking
from pdp.record.request import tell_request
from pdp.record.shorten import shortened
from pdp.record.token_shapes import may_hold_token
from pdp.record.values import CUT, tell, tell_fields

ENTRY_BYTES_MAX = 256 * 1024
SCANNED_MAX = 64 * 1024  # of an entry in which there may be tokens: so much of it is looked through, and no more


def encode(entry: Entry, masking: Masking) -> str:
    """The entry's text, masked; what is too long loses values, whose digest it keeps, and no name."""
    told = tell_entry(entry, masking)
    text = canonical(told)
    if may_hold_token(text):
        if len(text) > SCANNED_MAX:
            told = shortened(told, masking, SCANNED_MAX)
        told = masking.scan(told)
        text = canonical(told)
    return text if len(text) <= ENTRY_BYTES_MAX else _fitting(told, masking)


def _fitting(told: dict[str, Any], masking: Masking) -> str:
    told = shortened(told, masking, ENTRY_BYTES_MAX)
    text = canonical(told)
    if len(text) <= ENTRY_BYTES_MAX:
        return text
    digest = masking.hide(text, CUT)["$masked"]  # a notice of very many details: no other entry comes here
    return canonical({"at_us": told["at_us"], "whole": {"$cut": "entry", "length": len(text), "digest": digest}})


def tell_entry(entry: Entry, masking: Masking) -> dict[str, Any]:
    """The entry as JSON data; absent things are left out."""
    match entry:
        case Decided():
            return _decided(entry, masking)
        case Step():
            return _step(entry, masking)
        case Notice():
            return {"at_us": entry.at_us, **tell_fields(entry.details, masking, "")}
        case _:
            assert_never(entry)


def _decided(entry: Decided, masking: Masking) -> dict[str, Any]:
    decision = entry.decision
    told: dict[str, Any] = {
        "at_us": entry.at_us,
        "id": decision.id,
        "outcome": "allow" if decision.allowed else "deny",
        "reason": decision.reason,
        "generation": decision.generation,
        "took_ns": entry.took_ns,
        "request": tell_request(entry.request, masking),
    }
    if decision.rule is not None:
        told["rule"] = decision.rule
    if decision.because is not None:
        told["because"] = tell(decision.because, masking)
    if decision.annotations:
        told["annotations"] = tell(decision.annotations, masking)
    if decision.errors:
        told["errors"] = [
            {"rule": e.rule, "code": e.code, "message": tell(e.message, masking), "at": e.span.location}
            for e in decision.errors
        ]
    if decision.valid_until_us < FOREVER:
        told["valid_until_us"] = decision.valid_until_us
    if decision.fresh_until_us < FOREVER:
        told["fresh_until_us"] = decision.fresh_until_us
    if decision.bounded_by is not None:
        told["bounded_by"] = decision.bounded_by
    if entry.around is not None:
        told |= _circumstances(entry.around, masking)
    if entry.inputs is not None and entry.bundle is not None:
        told["evidence"] = tell_evidence(entry.bundle, _pair(entry), entry.inputs, decision, masking)
    return told


def _pair(entry: Decided) -> tuple[str, str]:
    resource = entry.request.resource
    return entry.request.action, getattr(resource, "type", None) or resource[0]  # type: ignore[index]  # a reference else


_AROUND = ("txn", "chain", "approvers", "certificate", "serial", "proof", "destination", "bindings", "presented")


def _circumstances(around: Circumstances, masking: Masking) -> dict[str, Any]:
    return _present(around, _AROUND, masking)


_STEP = (
    "what", "id", "task", "txn", "chain", "holder", "opener", "actor", "approvers", "gate", "state", "reason", "ends_us",
    "certificate", "proof",
)  # fmt: skip


def _step(entry: Step, masking: Masking) -> dict[str, Any]:
    told = {"at_us": entry.at_us, **_present(entry, _STEP, masking)}
    if entry.details:
        told["details"] = tell_fields(entry.details, masking, "task")
    return told


def _present(of: Any, names: tuple[str, ...], masking: Masking) -> dict[str, Any]:
    return {n: tell(v, masking) for n in names if (v := getattr(of, n)) is not None and v not in ("", ())}
