"""The text of an entry, quickly: what `encode` says, built as text from the start, with what was told before remembered.

An installation says the same few thousand words all day: workloads, rules, names of fields, records of the directory. Each
is escaped, scanned for tokens and masked once. Decisions go this way; everything else is rare, and is told the plain way.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from language import FOREVER, Bundle, Inputs
from pdp.model.decision import Decision
from pdp.model.request import Request, Resource, Task, Workload
from pdp.record.canonical import canonical
from pdp.record.encode import ENTRY_BYTES_MAX, SCANNED_MAX, encode
from pdp.record.entry import Circumstances, Decided, Entry
from pdp.record.evidence import ROOTS, LookUps, Pair, look_ups, tell_facts, tell_record, type_of
from pdp.record.masking import Masking
from pdp.record.request import tell_id
from pdp.record.token_shapes import may_hold_token
from pdp.record.values import ELEMENTS_MAX, tell, tell_fields

REMEMBERED_MAX, _REMEMBERED_CHARS = 16_384, 256  # words
RECORDS_MAX, _RECORD_CHARS = 4096, 8192  # records of the directory, as text
_INT_MAX = 2**63


class Encoder:
    """Tells entries under one masking. Not for several threads at once."""

    def __init__(self, masking: Masking) -> None:
        self._masking = masking
        self._texts: dict[str, str] = {}
        self._keys: dict[tuple[str, str], str | None] = {}
        self._records: dict[tuple[str, Any], str] = {}
        self._leaves: dict[Pair, tuple[tuple[str, ...], bool]] = {}
        self._bundle: Bundle | None = None

    def encode(self, entry: Entry) -> str:
        """The same text as `encode(entry, masking)`."""
        if type(entry) is not Decided:
            return encode(entry, self._masking)
        return self.decided(
            entry.request, entry.decision, entry.at_us, entry.took_ns, entry.bundle, entry.inputs, entry.around
        )

    def decided(
        self,
        request: Request,
        decision: Decision,
        at_us: int,
        took_ns: int,
        bundle: Bundle | None,
        inputs: Inputs | None,
        around: Circumstances | None,
    ) -> str:
        """The text of a decision, from its parts."""
        if not decision.errors and around is None:
            told = self._decided(request, decision, at_us, took_ns, bundle, inputs)
            if len(told) <= SCANNED_MAX or (len(told) <= ENTRY_BYTES_MAX and not may_hold_token(told)):
                return told
        return encode(Decided(request, decision, at_us, took_ns, bundle, inputs, around), self._masking)

    def _decided(
        self,
        request: Request,
        decision: Decision,
        at_us: int,
        took_ns: int,
        bundle: Bundle | None,
        inputs: Inputs | None,
    ) -> str:
        text, outcome = self._text, decision.outcome
        out = []
        if outcome.annotations:
            out.append(f'"annotations":{self._value(outcome.annotations)}')
        out.append(f'"at_us":{at_us}')
        if outcome.because is not None:
            out.append(f'"because":{text(outcome.because)}')
        if decision.bounded_by is not None:
            out.append(f'"bounded_by":{text(decision.bounded_by)}')
        if inputs is not None and bundle is not None:
            out.append(f'"evidence":{self._evidence(bundle, inputs, request, decision)}')
        if decision.fresh_until_us < FOREVER:
            out.append(f'"fresh_until_us":{decision.fresh_until_us}')
        out.append(
            f'"generation":{text(decision.generation)},"id":{canonical(decision.id)},'
            f'"outcome":"{"allow" if outcome.allowed else "deny"}",'
            f'"reason":{text(outcome.reason)},"request":{self._request(request)}'
        )
        if outcome.rule is not None:
            out.append(f'"rule":{text(outcome.rule)}')
        out.append(f'"took_ns":{took_ns}')
        if decision.valid_until_us < FOREVER:
            out.append(f'"valid_until_us":{decision.valid_until_us}')
        return "{" + ",".join(out) + "}"

    # ---- the request

    def _request(self, request: Request) -> str:
        value, workload = self._value, request.workload
        out = [f'"action":{value(request.action)}']
        if request.context:
            out.append(f'"context":{self._fields(request.context, "context")}')
        if request.gate is not None:
            out.append(f'"gate":{self._fields(request.gate, "gate")}')
        if request.location:
            out.append(f'"location":{self._fields(request.location, "location")}')
        if isinstance(workload, Workload):
            if workload.process is not None:
                out.append(f'"process":{self._fields(workload.process, "process")}')
            workload = workload.id
        if request.proof:
            out.append(f'"proof":{self._proof(request.proof)}')
        out.append(f'"resource":{self._entity(request.resource)}')
        if request.task is not None:
            out.append(f'"task":{self._task(request.task)}')
        if request.user is not None:
            out.append(f'"user":{self._entity(request.user)}')
        if workload is not None:
            out.append(f'"workload":{value(workload)}')
        return "{" + ",".join(out) + "}"

    def _task(self, task: Task) -> str:
        value = self._value
        out = []
        if task.attributes:
            out.append(f'"attributes":{self._fields(task.attributes, "task")}')
        if task.chain:
            out.append(f'"chain":{value(task.chain)}')
        if task.covers is not True:
            out.append(f'"covers":{value(task.covers)}')
        if task.depth:
            out.append(f'"depth":{value(task.depth)}')
        if task.ends is not None:
            out.append(f'"ends":{value(task.ends)}')
        if task.holder is not None:
            out.append(f'"holder":{value(task.holder)}')
        out.append(f'"id":{value(task.id)},"kind":{value(task.kind)}')
        if task.opener is not None:
            out.append(f'"opener":{value(task.opener)}')
        if task.parent is not None:
            out.append(f'"parent":{value(task.parent)}')
        if task.proof:
            out.append(f'"proof":{self._proof(task.proof)}')
        if task.started is not None:
            out.append(f'"started":{value(task.started)}')
        out.append(f'"state":{value(task.state)}')
        return "{" + ",".join(out) + "}"

    def _entity(self, entity: Any) -> str:
        if isinstance(entity, Resource):
            pair = f"[{self._value(entity.type)},{self._id(entity.type, entity.id)}]"
            if entity.attributes is None and entity.parents is None:
                return pair
            out = []
            if entity.attributes is not None:
                out.append(f'"attributes":{self._fields(entity.attributes, str(entity.type))}')
            out.append(f'"id":{self._id(entity.type, entity.id)}')
            if entity.parents is not None:
                out.append(f'"parents":[{",".join([self._entity(p) for p in entity.parents])}]')
            out.append(f'"type":{self._value(entity.type)}')
            return "{" + ",".join(out) + "}"
        match entity:
            case [type_name, entity_id]:
                return f"[{self._value(type_name)},{self._id(type_name, entity_id)}]"
        return self._value(entity)

    def _id(self, type_name: Any, entity_id: Any) -> str:
        secrets = self._masking.secrets
        if secrets and type(type_name) is str and f"{type_name}.id" in secrets:
            return canonical(tell_id(type_name, entity_id, self._masking))
        return self._value(entity_id)

    def _proof(self, facts: Any) -> str:
        if all(type(f) is str for f in facts) and len(facts) <= ELEMENTS_MAX:
            return self._facts(frozenset(facts))
        told = self._masking.scan(tell(frozenset(facts), self._masking)["$set"])
        return canonical(told)

    # ---- the directory

    def _evidence(self, bundle: Bundle, inputs: Inputs, request: Request, decision: Decision) -> str:
        resource = request.resource
        pair = request.action, resource.type if isinstance(resource, Resource) else resource[0]
        if bundle is not self._bundle:
            self._bundle = bundle
            self._leaves.clear()
            self._records.clear()
        roots, tables = self._leaves.get(pair) or self._leaf(bundle, pair)
        out = [f'"{root}":{self._record(bundle, pair, inputs, root)}' for root in roots]
        if tables:
            seen = look_ups(bundle, pair, inputs, decision)
            if seen is None:
                out.append('"changed":true')
            else:
                out += self._looked_up(bundle, seen)
        if inputs.proof:
            out.append(f'"facts":{self._facts(inputs.proof)}')
        if inputs.task is not None and (not inputs.task_covers or bundle.vocabulary.workload.needs_record):
            facts = tell_facts(bundle, inputs, self._masking)
            out += [f'"{name}":{canonical(self._masking.scan(v))}' for name, v in facts.items() if name != "facts"]
        return "{" + ",".join(sorted(out)) + "}"

    def _looked_up(self, bundle: Bundle, seen: LookUps) -> list[str]:
        out = []
        if seen.records:
            told = [f"[{self._text(n)},{self._id(n, key)},{self._told_record(bundle, n, r)}]" for n, key, r in seen.records]
            out.append(f'"records":[{",".join(told)}]')
        if seen.rows:
            relations = bundle.vocabulary.relations
            told = []
            for name, key, until in seen.rows:
                ids = ",".join([self._id(t, i) for t, i in zip(relations[name].of, key, strict=True)])
                told.append(f"[{self._text(name)},[{ids}],{until}]")
            out.append(f'"rows":[{",".join(told)}]')
        return out

    def _facts(self, facts: frozenset[str]) -> str:
        return "[" + ",".join([self._text(f) for f in sorted(facts)]) + "]"

    def _leaf(self, bundle: Bundle, pair: Pair) -> tuple[tuple[str, ...], bool]:
        reads = {r.root for r in bundle.leaves[pair].footprint}
        found = self._leaves[pair] = (tuple(r for r in ROOTS if r in reads), bool(reads & {"rows", "records"}))
        return found

    def _record(self, bundle: Bundle, pair: Pair, inputs: Inputs, root: str) -> str:
        record = getattr(inputs, root)
        if not record:
            return "null" if record is None else "[]"
        return self._told_record(bundle, type_of(root, pair, inputs), record)

    def _told_record(self, bundle: Bundle, type_name: str, record: tuple[Any, ...]) -> str:
        key = (type_name, record)
        found = self._records.get(key)
        if found is None:
            told = tell_record(bundle.vocabulary, type_name, record, self._masking)
            found = canonical(self._masking.scan(told))
            if len(self._records) >= RECORDS_MAX:
                self._records.clear()
            if len(found) <= _RECORD_CHARS:
                self._records[key] = found
        return found

    # ---- values

    def _text(self, text: str) -> str:
        found = self._texts.get(text)
        return self._new_text(text) if found is None else found

    def _new_text(self, text: str) -> str:
        told = self._masking.scan(tell(text, self._masking))
        found = canonical(told)
        if type(told) is str and len(text) <= _REMEMBERED_CHARS:  # what was masked is not kept beside its digest
            if len(self._texts) >= REMEMBERED_MAX:
                self._texts.clear()
            self._texts[text] = found
        return found

    def _value(self, value: Any, owner: str = "", depth: int = 0) -> str:
        kind = type(value)
        if kind is str:
            return self._text(value)
        if kind is int and -_INT_MAX <= value < _INT_MAX:
            return str(value)
        if kind is bool:
            return "true" if value else "false"
        if value is None:
            return "null"
        if (kind is list or kind is tuple) and len(value) <= ELEMENTS_MAX and depth < 2:
            return "[" + ",".join([self._value(v, owner, depth + 1) for v in value]) + "]"
        if kind is IPv4Address or kind is IPv6Address:
            return f'{{"$ip":"{value}"}}'
        return canonical(self._masking.scan(tell(value, self._masking, owner, depth)))

    def _fields(self, fields: Any, owner: str) -> str:
        """A mapping with plain keys; any other the plain way."""
        keys = self._keys
        out = []
        if type(fields) is dict and len(fields) <= ELEMENTS_MAX and all(map(_is_text, fields)):
            for name in sorted(fields):
                told = keys.get((owner, name)) or self._key(owner, name)
                if told is None:
                    break
                out.append(told + self._value(fields[name], f"{owner}.{name}", 1))
            else:
                return "{" + ",".join(out) + "}"
        masking = self._masking
        told_fields = tell_fields(fields, masking, owner) if isinstance(fields, Mapping) else tell(fields, masking)
        return canonical(masking.scan(told_fields))

    def _key(self, owner: str, name: str) -> str | None:
        """`"name":`, or None for a key that is secret, odd, long or a token."""
        if self._masking.is_secret(owner, name) or not name.isidentifier() or len(name) > 60:
            return None
        if self._masking.scan(name) != name:
            return None
        if self._masking.secrets and any(s.startswith(f"{owner}.{name}.") for s in self._masking.secrets):
            return None
        found = f"{canonical(name)}:"
        if len(self._keys) < REMEMBERED_MAX:
            self._keys[owner, name] = found
        return found


def _is_text(value: Any) -> bool:
    return type(value) is str


__all__ = ["Encoder"]
