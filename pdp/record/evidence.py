"""What a decision read from the directory, so that it can be made again. The rest of it stands in the request.

The records of resource, user and workload are in the `Inputs`, which nobody changes. Tables are another matter: a rule
that looks into a relation, or follows a reference, could read any row of any size. So the decision is made once more, with
tables that note what is looked up: those of the world that was decided in, which never changes. Should the answer be
another all the same, the entry says so instead of telling what was never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from language import CHECK_STEPS, FOREVER, Bundle, Inputs, Result, Vocabulary, out_of_steps
from pdp.model.decision import Decision
from pdp.record.masking import Masking
from pdp.record.request import tell_id
from pdp.record.values import Lost, tell, untell

ROOTS = ("resource", "user", "workload")
WORKLOAD = "workload"
FIRST = 2  # where a record's ancestors begin; before it stand version and id

#: A decision made again may take more than it did: how many steps were in force is not known, and whole answers agree.
REPLAY_STEPS = CHECK_STEPS * 40

Pair = tuple[str, str]


def tell_evidence(bundle: Bundle, pair: Pair, inputs: Inputs, decision: Decision, masking: Masking) -> dict[str, Any]:
    """What the rules for this action and type read from the directory, as JSON."""
    footprint = bundle.leaves[pair].footprint
    told: dict[str, Any] = {}
    for read in footprint:
        if read.root in ROOTS:
            told[read.root] = tell_root(bundle.vocabulary, pair, inputs, read.root, masking)
    told |= tell_facts(bundle, inputs, masking)
    if any(r.root in ("rows", "records") for r in footprint):
        told |= _tables(bundle, pair, inputs, decision, masking)
    return told


def tell_root(vocabulary: Vocabulary, pair: Pair, inputs: Inputs, root: str, masking: Masking) -> Any:
    """The record of resource, user or workload: null where there is none, an empty list where none is needed."""
    record = getattr(inputs, root)
    if not record:
        return None if record is None else []
    return tell_record(vocabulary, type_of(root, pair, inputs), record, masking)


def type_of(root: str, pair: Pair, inputs: Inputs) -> str:
    return pair[1] if root == "resource" else WORKLOAD if root == "workload" else inputs.user_type or ""


def tell_record(vocabulary: Vocabulary, type_name: str, record: tuple[Any, ...], masking: Masking) -> list[Any]:
    """Ancestors by type and attributes, in declared order."""
    decl = vocabulary.entity(type_name)
    first = FIRST + len(decl.ancestors)
    above = [
        [tell_id(name, i, masking) for i in sorted(ids)]
        for name, ids in zip(decl.ancestors, record[FIRST:first], strict=True)
    ]
    values = [
        masking.hide(v if type(v) is str else tell(v, masking), f"{type_name}.{f.name}")
        if masking.is_secret(type_name, f.name)
        else tell(v, masking)
        for f, v in zip(decl.fields, record[first:], strict=True)
    ]
    return [above, values]


def tell_facts(bundle: Bundle, inputs: Inputs, masking: Masking) -> dict[str, Any]:
    """What was verified and the request may not say: proven facts, and that a grant does not cover what was asked."""
    told: dict[str, Any] = {}
    if inputs.proof:
        told["facts"] = sorted(inputs.proof)
    if inputs.task is not None:
        if not inputs.task_covers:
            told["task_covers"] = False
        if bundle.vocabulary.workload.needs_record:  # who may hold and open a task may be a matter of the directory
            told["held"] = [
                [name, tell_record(bundle.vocabulary, WORKLOAD, record, masking)]
                for name in dict.fromkeys((inputs.workload_id, inputs.task[3]))
                if name is not None and (record := inputs.records[WORKLOAD].get(name))
            ]
    return told


def _tables(bundle: Bundle, pair: Pair, inputs: Inputs, decision: Decision, masking: Masking) -> dict[str, Any]:
    seen = look_ups(bundle, pair, inputs, decision)
    if seen is None:
        return {"changed": True}
    vocabulary = bundle.vocabulary
    told: dict[str, Any] = {}
    if seen.records:
        told["records"] = [
            [name, tell_id(name, key, masking), tell_record(vocabulary, name, record, masking)]
            for name, key, record in seen.records
        ]
    if seen.rows:
        told["rows"] = [
            [name, [tell_id(t, i, masking) for t, i in zip(vocabulary.relations[name].of, key, strict=True)], until]
            for name, key, until in seen.rows
        ]
    return told


@dataclass(frozen=True, slots=True)
class LookUps:
    """What was found in tables: records by type and id, rows by relation and ids. What was not found is not there either."""

    records: list[tuple[str, str, tuple[Any, ...]]]
    rows: list[tuple[str, tuple[str, ...], int]]


def look_ups(bundle: Bundle, pair: Pair, inputs: Inputs, decision: Decision) -> LookUps | None:
    """What the decision looks up when it is made again; None when the answer is another by now."""
    records: dict[str, _Watched] = {}
    rows: dict[str, _Watched] = {}
    for read in bundle.leaves[pair].footprint:
        if read.root == "records":
            records[read.part] = _Watched(inputs.records[read.part])
        elif read.root == "rows":
            rows[read.part] = _Watched(inputs.rows[read.part])
    if out_of_steps(decision.errors):  # it is not decided again, which would end as it did or take long
        return LookUps([], [])
    again = bundle.decide(*pair, _with_tables(inputs, records, rows), REPLAY_STEPS)
    until = again.until if inputs.task is None else min(again.until, inputs.task[2])
    if again.outcome is not decision.outcome or until != decision.valid_until_us or again.errors or decision.errors:
        if differences(bounded(told_result(again), inputs), told_decision(decision)):
            return None
    return LookUps(
        [(name, key, found) for name, table in records.items() for key, found in table.seen.items() if found is not None],
        [(name, key, found) for name, table in rows.items() for key, found in table.seen.items() if found is not None],
    )


def _with_tables(of: Inputs, records: Mapping[str, Any], rows: Mapping[str, Any]) -> Inputs:
    return Inputs(
        of.now, of.resource_id, of.resource, of.workload_id, of.workload, of.process, of.user_type, of.user_id, of.user,
        of.task_kind, of.task, of.task_covers, of.context, of.gate, of.location, of.proof, records, rows, of.epochs,
    )  # fmt: skip


class _Watched(Mapping[Any, Any]):
    """A table that notes what was looked up in it, and what was found: None for nothing."""

    __slots__ = ("_table", "seen")

    def __init__(self, table: Mapping[Any, Any]) -> None:
        self._table = table
        self.seen: dict[Any, Any] = {}

    def __getitem__(self, key: Any) -> Any:
        found = self.seen[key] = self._table.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        found = self.seen[key] = self._table.get(key)
        return found is not None

    def get(self, key: Any, default: Any = None) -> Any:
        found = self.seen[key] = self._table.get(key)
        return default if found is None else found

    def __iter__(self) -> Iterator[Any]:  # no rule can walk through a table (law L4)
        raise TypeError("a table is never walked through")

    def __len__(self) -> int:
        return len(self._table)


# ---- what two decisions are compared by


def told_result(result: Result) -> dict[str, Any]:
    outcome = result.outcome
    return {
        "outcome": "allow" if outcome.allowed else "deny",
        "reason": outcome.reason,
        "rule": outcome.rule,
        "errors": sorted([e.rule, e.code] for e in result.errors),
        "valid_until_us": result.until,
        "bounded_by": f"rule {result.bound}" if result.bound else None,
    }


def bounded(told: dict[str, Any], inputs: Inputs) -> dict[str, Any]:
    """With the end of the task, where that comes first."""
    ends = FOREVER if inputs.task is None else inputs.task[2]
    return told if ends >= told["valid_until_us"] else {**told, "valid_until_us": ends, "bounded_by": "task"}


def told_decision(decision: Decision) -> dict[str, Any]:
    return {
        "outcome": "allow" if decision.allowed else "deny",
        "reason": decision.reason,
        "rule": decision.rule,
        "errors": sorted([e.rule, e.code] for e in decision.errors),
        "valid_until_us": decision.valid_until_us,
        "bounded_by": decision.bounded_by,
    }


def differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What is not as it was: (then, now). What a credential or a chain ended first is not policy's."""
    names = ["outcome", "reason", "rule", "errors"]
    by = then["bounded_by"]
    if by is None or by == "task" or by.startswith("rule "):
        names += ["valid_until_us", "bounded_by"]
    elif now["valid_until_us"] < then["valid_until_us"]:
        names.append("valid_until_us")
    return {name: (then[name], now[name]) for name in names if then[name] != now[name]}


# ---- and back


@dataclass(frozen=True, slots=True)
class Facts:
    """A directory of only what a decision read."""

    vocabulary: Vocabulary
    records: dict[str, dict[str, tuple[Any, ...]]]
    rows: dict[str, dict[tuple[str, ...], int]]
    epochs: Mapping[str, int]


def untell_facts(told: Mapping[str, Any], vocabulary: Vocabulary) -> Facts:
    """The tables of an entry's evidence. Raises `Lost`."""
    if told.get("changed"):
        raise Lost("changed")
    facts = Facts(vocabulary, {n: {} for n in (*vocabulary.entities, WORKLOAD)}, {n: {} for n in vocabulary.relations}, {})
    for name, record in told.get("held", ()):
        facts.records[WORKLOAD][untell(name)] = untell_record(record, untell(name)) or ()
    for name, key, record in told.get("records", ()):
        facts.records[name][untell(key)] = untell_record(record, untell(key)) or ()
    for name, key, until in told.get("rows", ()):
        facts.rows[name][untell(key)] = until
    return facts


def untell_record(told: Any, entity_id: str | None) -> tuple[Any, ...] | None:
    if told is None or told == []:
        return None if told is None else ()
    above, values = told
    return (1, entity_id, *[frozenset(untell(ids)) for ids in above], *untell(values))
