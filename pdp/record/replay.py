"""Deciding an entry again, under the policies that it names: the same answer, or in what it differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from language import FOREVER, BadValue, Bundle, Directory, Refusal, assemble
from pdp.errors import PdpError
from pdp.record.evidence import decide_again, differences, told_result, untell_evidence
from pdp.record.request import request_data
from pdp.record.values import Lost

SAME, DIFFERS, OTHER_GENERATION, NOT_REPLAYABLE = "same", "differs", "other_generation", "not_replayable"

#: Why an entry cannot be decided again.
LOST = {
    "masked": "a value that the rules read is masked",
    "cut": "a value that the rules read was too long to keep",
    "changed": "the directory changed while the decision was written down",
    "no_evidence": "the values that the decision was made from were not recorded",
    "directory": "the refusal depends on the directory of that moment",
    "unreadable": "the entry is not of a form that this version reads",
}
#: Reasons of the language that come before policy; they are found again from the request alone.
_REFUSALS = frozenset({
    "no_subject", "unknown_action", "unknown_type", "task_ended", "task_suspended", "task_not_started", "task_misheld",
    "task_malformed", "grant_outdated",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Replayed:
    verdict: str  # SAME, DIFFERS, OTHER_GENERATION, NOT_REPLAYABLE
    why: str | None = None  # a key of LOST
    differences: Mapping[str, tuple[Any, Any]] | None = None  # what: (then, now)


def replay(entry: Mapping[str, Any], bundle: Bundle) -> Replayed:
    """Decides the entry of a decision again."""
    if entry.get("generation") != bundle.digest[:16]:
        return Replayed(OTHER_GENERATION)
    try:
        if "evidence" in entry:
            return _by_evidence(entry, bundle)
        if entry["reason"] in _REFUSALS:
            return _by_request(entry, bundle)
    except Lost as lost:
        return Replayed(NOT_REPLAYABLE, str(lost))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, PdpError):
        return Replayed(NOT_REPLAYABLE, "unreadable")
    return Replayed(NOT_REPLAYABLE, "no_evidence")


def _by_evidence(entry: Mapping[str, Any], bundle: Bundle) -> Replayed:
    request = entry["request"]
    pair = request["action"], _type_of(request["resource"])
    if "$cut" in entry["evidence"]:
        raise Lost("cut")
    inputs = untell_evidence(entry["evidence"], bundle, pair, entry["at_us"])
    now = told_result(decide_again(bundle, pair, inputs))
    if (ends := entry["evidence"].get("task_ends_us")) is not None and ends < now["valid_until_us"]:
        now |= {"valid_until_us": ends, "bounded_by": "task"}
    elsewhere = entry.get("bounded_by") not in (None, "task")
    found = differences(now, _then(entry), bounded_elsewhere=elsewhere)
    return Replayed(DIFFERS, None, found) if found else Replayed(SAME)


def _then(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "outcome": entry["outcome"],
        "reason": entry["reason"],
        "rule": entry.get("rule"),
        "errors": sorted([e["rule"], e["code"]] for e in entry.get("errors", ())),
        "valid_until_us": entry.get("valid_until_us", FOREVER),
        "bounded_by": entry.get("bounded_by"),
    }


def _by_request(entry: Mapping[str, Any], bundle: Bundle) -> Replayed:
    """A refusal before policy. The directory of then is gone; only who may open or hold a task can depend on it."""
    data = request_data(entry["request"])
    try:
        assemble(Directory(bundle.vocabulary), data, entry["at_us"], lambda a, t: bundle.leaves[a, t].footprint)
        reason = "no refusal"
    except Refusal as refusal:
        reason = refusal.code
    except BadValue:
        reason = "invalid_request"
    if reason == entry["reason"]:
        return Replayed(SAME)
    if data.task is not None and _asks_directory(bundle, data.task.kind):
        raise Lost("directory")
    return Replayed(DIFFERS, None, {"reason": (entry["reason"], reason)})


def _asks_directory(bundle: Bundle, kind: str) -> bool:
    task = bundle.vocabulary.tasks.get(kind)
    return task is not None and any(s.within is not None for s in (*task.who, *task.openers))


def _type_of(resource: Any) -> str:
    found = resource["type"] if isinstance(resource, Mapping) else resource[0]
    return str(found)
