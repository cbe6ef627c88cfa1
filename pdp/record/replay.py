"""Deciding an entry again, under the policies that it names: the same answer, or in what it differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from language import FOREVER, OUT_OF_STEPS, BadValue, Bundle, Inputs, Refusal, World, assemble, out_of_steps
from pdp.errors import PdpError
from pdp.record.evidence import REPLAY_STEPS, ROOTS, bounded, differences, told_result, untell_facts, untell_record
from pdp.record.request import request_data
from pdp.record.values import Lost

SAME, DIFFERS, OTHER_GENERATION, NOT_REPLAYABLE = "same", "differs", "other_generation", "not_replayable"

#: Why an entry cannot be decided again.
LOST = {
    "masked": "a value that the decision depends on is masked",
    "cut": "a value that the decision depends on was too long to keep",
    "changed": "decided again while it was written down, it was another decision",
    "before": "it was refused before policy was asked, by what was shown or what was in force at that moment",
    "no_evidence": "the values that the decision was made from were not recorded",
    "directory": "the refusal depends on the directory of that moment",
    "steps": "it took more steps than it might, which says nothing about policy",
    "unreadable": "the entry is not of a form that this version reads",
}
#: Reasons of policy itself. All others come before it.
_POLICY = frozenset({"allowed", "denied", "default_deny", "error"})
#: Those of the language, which are found again from the request; of a task only where the request has one: a grant that was
#: refused before is no task of a request.
_REFUSALS = frozenset({"no_subject", "unknown_action", "unknown_type"})
_OF_A_TASK = frozenset({
    "task_ended", "task_suspended", "task_not_started", "task_misheld", "task_malformed", "grant_outdated",
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
    reason, request = entry.get("reason"), entry.get("request")
    has_task = isinstance(request, Mapping) and ("task" in request or "$cut" in request)
    if reason not in _POLICY and reason not in _REFUSALS and not (reason in _OF_A_TASK and has_task):
        return Replayed(NOT_REPLAYABLE, "before")
    if "evidence" not in entry and reason in _POLICY:
        return Replayed(NOT_REPLAYABLE, "no_evidence")
    try:
        return _replay(entry, bundle)
    except Lost as lost:
        return Replayed(NOT_REPLAYABLE, str(lost))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, PdpError):
        return Replayed(NOT_REPLAYABLE, "unreadable")


def _replay(entry: Mapping[str, Any], bundle: Bundle) -> Replayed:
    evidence = entry.get("evidence", {})
    if "$cut" in evidence or "$cut" in entry["request"]:
        raise Lost("cut")
    data, facts = (
        request_data(entry["request"], _unread(entry["request"], bundle)),
        untell_facts(evidence, bundle.vocabulary),
    )
    world = cast(World, facts)  # has what `assemble` reads of one
    pair = data.action, data.resource.type
    try:
        inputs = assemble(world, data, entry["at_us"], lambda a, t: bundle.leaves[a, t].footprint)
    except Refusal as refusal:
        return _refused(entry, bundle, refusal.code, data.task.kind if data.task else None)
    except BadValue:
        return _refused(entry, bundle, "invalid_request", None)
    if "evidence" not in entry:
        return _refused(entry, bundle, "no refusal", data.task.kind if data.task else None)
    _put_facts(inputs, evidence)
    again = bundle.decide(*pair, inputs, REPLAY_STEPS)
    if out_of_steps(again.errors) or any(e["code"] == OUT_OF_STEPS for e in entry.get("errors", ())):
        raise Lost("steps")
    found = differences(bounded(told_result(again), inputs), _then(entry))
    return Replayed(DIFFERS, None, found) if found else Replayed(SAME)


def _unread(request: Mapping[str, Any], bundle: Bundle) -> Callable[[str, str], bool]:
    """Whether a field of context or task is optional, and none of the rules for this action and type reads it."""
    vocabulary, resource = bundle.vocabulary, request["resource"]
    action = vocabulary.actions.get(str(request["action"]))
    task = vocabulary.tasks.get(str(request.get("task", {}).get("kind")))
    leaf = bundle.leaves.get(
        (str(request["action"]), str(resource["type"] if isinstance(resource, Mapping) else resource[0]))
    )
    read = {(r.root, r.part) for r in leaf.footprint} if leaf is not None else set()
    optional = {("context", f.name) for f in action.context.fields if f.optional} if action is not None else set()
    optional |= {("task", f.name) for f in task.facts.fields if f.optional} if task is not None else set()
    return lambda root, name: (root, name) in optional and (root, name) not in read


def _put_facts(inputs: Inputs, evidence: Mapping[str, Any]) -> None:
    for root in ROOTS:
        if root in evidence:
            setattr(inputs, root, untell_record(evidence[root], getattr(inputs, f"{root}_id")))
    inputs.proof = frozenset(evidence.get("facts", ()))
    inputs.task_covers = inputs.task is not None and evidence.get("task_covers", True)


def _then(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "outcome": entry["outcome"],
        "reason": entry["reason"],
        "rule": entry.get("rule"),
        "errors": sorted([e["rule"], e["code"]] for e in entry.get("errors", ())),
        "valid_until_us": entry.get("valid_until_us", FOREVER),
        "bounded_by": entry.get("bounded_by"),
    }


def _refused(entry: Mapping[str, Any], bundle: Bundle, reason: str, kind: str | None) -> Replayed:
    """A refusal before policy. The directory of then is gone; only who may open or hold a task can depend on it."""
    if reason == entry["reason"]:
        return Replayed(SAME)
    if reason == "no refusal" and entry["reason"] in _OF_A_TASK:
        raise Lost("before")  # by a revocation, of which the request says nothing
    task = bundle.vocabulary.tasks.get(kind or "")
    if "evidence" not in entry and task is not None and any(s.within is not None for s in (*task.who, *task.openers)):
        raise Lost("directory")
    return Replayed(DIFFERS, None, {"reason": (entry["reason"], reason)})
