"""What was revoked, by noun. Looked at before policy at every check, so that it holds at once and empties no cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from language import BadValue, RequestData, changed, conform_id, describe, is_spiffe_id, shorten, spiffe_segments
from pdp.errors import PdpError
from pdp.model.request import Credential

#: Every noun that can be revoked, and the reason of the denials that follow. An end is for ever; the others can be lifted.
NOUNS: Mapping[str, str] = {
    "task": "task_ended",
    "credential": "revoked",
    "workload": "revoked",
    "trust_domain": "revoked",
    "gate": "revoked",
    "opener": "revoked",
}
FOR_EVER = frozenset({"task", "credential"})

Noun = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Revocations:
    """A set that never changes; each revocation makes the next."""

    reasons: Mapping[Noun, str] = field(default_factory=dict)

    def revoke(self, noun: str, name: str, why: str) -> Revocations:
        if type(why) is not str:
            raise PdpError("invalid_argument", f"the reason of a revocation is a text, found {describe(why)}")
        return Revocations(changed(self.reasons, {_noun(noun, name): why}))

    def lift(self, noun: str, name: str) -> Revocations:
        key = _noun(noun, name)
        if noun in FOR_EVER:
            raise PdpError("invalid_argument", f"a {noun} that was revoked stays revoked; make a new one")
        return Revocations(changed(self.reasons, {}, [key]))

    def forget(self, tasks: Iterable[str]) -> Revocations:
        """Without tasks whose time is over as well: they need nobody to say that they have ended."""
        return Revocations(changed(self.reasons, {}, [("task", task) for task in tasks]))

    def find(self, request: RequestData, credential: Credential | None) -> tuple[str, str] | None:
        """Reason and text of the denial, when anything that the request stands on was revoked. Why is not in it: the words
        of whoever handles an incident are for operators, and an answer goes to whom the incident is about."""
        if not self.reasons:
            return None
        for noun in _stands_on(request, credential):
            if noun in self.reasons:
                kind, name = noun
                return NOUNS[kind], f"the {kind.replace('_', ' ')} {shorten(name)} was revoked"
        return None


def demand_name(noun: str, name: str) -> None:
    """Refuses a name that nothing of this noun can have: such a revocation would be taken, and stop nobody."""
    _noun(noun, name)
    if not _IS_NAME[noun](name):
        raise PdpError("invalid_argument", f"`{shorten(name)}` {_EXPECTED.get(noun, 'is not an id')}, so it names no {noun}")


def _is_id(name: str) -> bool:
    try:
        return bool(conform_id(name, "name"))
    except BadValue:
        return False


def _is_domain(name: str) -> bool:
    return spiffe_segments(f"spiffe://{name}") == (name,)


_IS_NAME: Mapping[str, Callable[[str], bool]] = {
    "task": _is_id,
    "credential": bool,
    "workload": is_spiffe_id,
    "trust_domain": _is_domain,
    "gate": is_spiffe_id,
    "opener": is_spiffe_id,
}
_EXPECTED = {
    **dict.fromkeys(("workload", "gate", "opener"), "is not a SPIFFE ID"),
    "trust_domain": "is not a trust domain such as `desk.example`",
}


def _noun(noun: str, name: str) -> Noun:
    if type(noun) is not str or noun not in NOUNS:
        raise PdpError("invalid_argument", f"`{shorten(noun)}` cannot be revoked; known are {', '.join(NOUNS)}")
    if type(name) is not str or not name:
        raise PdpError("invalid_argument", f"the {noun} to revoke is named by a text")
    return noun, name


def _stands_on(request: RequestData, credential: Credential | None) -> Iterator[Noun]:
    if request.task is not None:
        yield "task", request.task.id
        if request.task.parent is not None:
            yield "task", request.task.parent
        for above in request.task.chain:
            yield "task", above
        if request.task.opener is not None:
            yield "opener", request.task.opener
    if credential is not None and credential.name is not None:
        yield "credential", credential.name
    if request.workload is not None:
        yield "workload", request.workload
        yield "trust_domain", request.workload.removeprefix("spiffe://").partition("/")[0]
    gate = request.gate.get("id") if isinstance(request.gate, Mapping) else None
    if isinstance(gate, str):
        yield "gate", gate
