"""The values that a decision was made from, so that it can be made again: those of its footprint, and nothing else.

Values of the request and the records of its resource, user and workload are in the `Inputs`, which nobody changes. Tables
are another matter: a rule that looks into a relation, or follows a reference, could read any row of any size. So the
decision is made once more, with tables that note what is looked up, and the notes are kept if the answer is the same. If
it is not, the directory has changed in between, and the entry says so instead of telling what was never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from language import Bundle, Inputs, Result
from pdp.model.decision import Decision
from pdp.record.masking import Masking
from pdp.record.request import tell_id
from pdp.record.values import Lost, tell, untell

_ROOTS = ("resource", "user", "workload")
_FIELDS = ("context", "task", "gate", "location")
WORKLOAD = "workload"
FIRST = 2  # where a record's ancestors begin; before it stand version and id


def tell_evidence(
    bundle: Bundle, pair: tuple[str, str], inputs: Inputs, decision: Decision, masking: Masking
) -> dict[str, Any]:
    """What the rules for this action and type read, as JSON."""
    leaf = bundle.leaves[pair]
    teller = _Teller(bundle, pair, inputs, masking)
    told = teller.request_values()
    for read in leaf.footprint:
        if read.root in _ROOTS:
            told[read.root] = teller.record(read.root)
        elif read.root in _FIELDS:
            teller.put_field(told, read.root, read.part, read.index)
    if any(r.root in ("rows", "records") for r in leaf.footprint):
        teller.put_tables(told, decision)
    return told


class _Teller:
    def __init__(self, bundle: Bundle, pair: tuple[str, str], inputs: Inputs, masking: Masking) -> None:
        self.bundle, self.pair, self.inputs, self.masking = bundle, pair, inputs, masking

    def request_values(self) -> dict[str, Any]:
        """Ids and facts, which are small and of which every index may ask."""
        inputs, masking = self.inputs, self.masking
        told: dict[str, Any] = {"resource_id": tell_id(self.pair[1], inputs.resource_id, masking)}
        if inputs.workload_id is not None:
            told["workload_id"] = inputs.workload_id
        if inputs.process is not None:
            told["process"] = self._values(inputs.process, ("kind", "executable"), "process")
        if inputs.user_id is not None:
            told["user_type"], told["user_id"] = inputs.user_type, tell_id(inputs.user_type, inputs.user_id, masking)
        if inputs.task is not None:
            told["task_kind"], told["task_covers"], told["task_ends_us"] = (
                inputs.task_kind,
                inputs.task_covers,
                inputs.task[2],
            )
        if inputs.proof:
            told["facts"] = sorted(inputs.proof)
        return told

    def _values(self, values: tuple[Any, ...], names: tuple[str, ...], owner: str) -> list[Any]:
        return [self._value(v, owner, n) for v, n in zip(values, names, strict=True)]

    def _value(self, value: Any, owner: str, name: str) -> Any:
        told = tell(value, self.masking)
        return self.masking.hide(value if type(value) is str else told) if self.masking.is_secret(owner, name) else told

    def put_field(self, told: dict[str, Any], root: str, part: str, index: int) -> None:
        values = getattr(self.inputs, root)
        if values is None:
            told[root] = None
        elif 0 <= index < len(values):  # a task of another kind has other fields, and is told by its kind
            name = part if root != "task" else self._task_field(index)
            told.setdefault(root, {})[str(index)] = self._value(values[index], root, name)

    def _task_field(self, index: int) -> str:
        """What stands at this place in a task of this kind; the footprint names it after another kind, maybe."""
        return self.bundle.vocabulary.tasks[self.inputs.task_kind or ""].record.fields[index].name

    def record(self, root: str) -> Any:
        record = getattr(self.inputs, root)
        if not record:
            return None if record is None else []
        type_name = {"resource": self.pair[1], "user": self.inputs.user_type, "workload": WORKLOAD}[root]
        return self.told_record(type_name or "", record)

    def told_record(self, type_name: str, record: tuple[Any, ...]) -> list[Any]:
        decl = self.bundle.vocabulary.entity(type_name)
        first = FIRST + len(decl.ancestors)
        above = [tell(ids, self.masking)["$set"] for ids in record[FIRST:first]]
        return [above, self._values(record[first:], tuple(f.name for f in decl.fields), type_name)]

    def put_tables(self, told: dict[str, Any], decision: Decision) -> None:
        records = {name: _Watched(table) for name, table in self.inputs.records.items()}
        rows = {name: _Watched(table) for name, table in self.inputs.rows.items()}
        again = decide_again(self.bundle, self.pair, _with(self.inputs, records, rows))
        if differences(told_result(again), told_decision(decision), bounded_elsewhere=True):
            told["changed"] = True
            return
        told["records"] = [
            [name, tell_id(name, key, self.masking), record if record is None else self.told_record(name, record)]
            for name, table in records.items()
            for key, record in table.seen.items()
        ]
        told["rows"] = [
            [name, tell(key, self.masking), until] for name, table in rows.items() for key, until in table.seen.items()
        ]


class _Watched(Mapping[Any, Any]):
    """A table that notes what was looked up in it, and what was found: None for nothing."""

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

    def __iter__(self) -> Iterator[Any]:  # no rule can walk through a table (law L4)
        raise TypeError("a table is never walked through")

    def __len__(self) -> int:
        return len(self._table)


def _with(inputs: Inputs, records: Mapping[str, Any], rows: Mapping[str, Any]) -> Inputs:
    return Inputs(
        inputs.now, inputs.resource_id, inputs.resource, inputs.workload_id, inputs.workload, inputs.process,
        inputs.user_type, inputs.user_id, inputs.user, inputs.task_kind, inputs.task, inputs.task_covers,
        inputs.context, inputs.gate, inputs.location, inputs.proof, records, rows, inputs.epochs,
    )  # fmt: skip


def decide_again(bundle: Bundle, pair: tuple[str, str], inputs: Inputs) -> Result:
    return bundle.decide(*pair, inputs)


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


def told_decision(decision: Decision) -> dict[str, Any]:
    return {
        "outcome": "allow" if decision.allowed else "deny",
        "reason": decision.reason,
        "rule": decision.rule,
        "errors": sorted([e.rule, e.code] for e in decision.errors),
        "valid_until_us": decision.valid_until_us,
        "bounded_by": decision.bounded_by,
    }


def differences(
    now: Mapping[str, Any], then: Mapping[str, Any], *, bounded_elsewhere: bool = False
) -> dict[str, tuple[Any, Any]]:
    """What is not as it was. Where something else than a rule ended it first, policy's own bound is only not before that."""
    names = ["outcome", "reason", "rule", "errors"]
    by = then["bounded_by"]
    if bounded_elsewhere and by is not None and not by.startswith("rule "):
        if now["valid_until_us"] < then["valid_until_us"]:
            names.append("valid_until_us")
    else:
        names += ["valid_until_us", "bounded_by"]
    return {name: (then[name], now[name]) for name in names if then[name] != now[name]}


# ---- and back


def untell_evidence(told: Mapping[str, Any], bundle: Bundle, pair: tuple[str, str], at_us: int) -> Inputs:
    """The inputs of the decision, with nothing in them that its footprint does not name. Raises `Lost`."""
    if told.get("changed"):
        raise Lost("changed")
    vocabulary = bundle.vocabulary
    inputs = Inputs(at_us, _known(told["resource_id"]), None)
    inputs.workload_id = told.get("workload_id")
    inputs.process = untell(told["process"]) if "process" in told else None
    inputs.user_type, inputs.user_id = told.get("user_type"), _known(told.get("user_id"))
    for root in _ROOTS:
        if root in told:
            setattr(inputs, root, _untold_record(told[root], str(getattr(inputs, f"{root}_id"))))
    inputs.context = _untold_fields(told.get("context", {}), len(vocabulary.actions[pair[0]].context.fields))
    inputs.gate = _untold_fields(told["gate"], 2) if told.get("gate") is not None else None
    inputs.location = _untold_fields(told.get("location", {}), 2)
    inputs.proof = frozenset(told.get("facts", ()))
    if told.get("task_kind") is not None:
        inputs.task_kind, inputs.task_covers = told["task_kind"], told["task_covers"]
        inputs.task = _untold_fields(told.get("task") or {}, len(vocabulary.tasks[told["task_kind"]].record.fields))
    inputs.records = {name: {} for name in (*vocabulary.entities, WORKLOAD)}
    inputs.rows = {name: {} for name in vocabulary.relations}
    _put_tables(inputs, told)
    return inputs


def _put_tables(inputs: Inputs, told: Mapping[str, Any]) -> None:
    records: dict[str, dict[str, Any]] = {name: {} for name in inputs.records}
    rows: dict[str, dict[Any, int]] = {name: {} for name in inputs.rows}
    for name, key, record in told.get("records", ()):
        if record is not None:
            records[name][_known(key)] = _untold_record(record, _known(key))
    for name, key, until in told.get("rows", ()):
        if until is not None:
            rows[name][untell(key)] = until
    inputs.records, inputs.rows = records, rows


def _known(told: Any) -> Any:
    if told is not None and not isinstance(told, str):
        raise Lost("masked" if "$masked" in told else "cut")
    return told


def _untold_record(told: Any, entity_id: str) -> tuple[Any, ...] | None:
    if told is None or told == []:
        return None if told is None else ()
    above, values = told
    return (1, entity_id, *[frozenset(untell(ids)) for ids in above], *untell(values))


def _untold_fields(told: Mapping[str, Any], count: int) -> tuple[Any, ...]:
    values: list[Any] = [None] * count
    for index, value in told.items():
        values[int(index)] = untell(value)
    return tuple(values)


__all__ = ["decide_again", "differences", "tell_evidence", "told_decision", "told_result", "untell_evidence"]
