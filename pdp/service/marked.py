"""Nouns that are refused whole: a frozen workload, a revoked certificate, gate, trust domain or opener.

Before anything is given, everything that it stands on is looked up here; and the commit expects that nobody marked one of
them in between, so that a freeze and a grant at the same moment have one order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pdp.grants.grant import Grant, Mark
from pdp.grants.index import Index
from pdp.grants.reasons import Refused
from pdp.grants.store import Expect
from pdp.service.caller import Caller

Noun = tuple[str, str]


def trust_domain(spiffe_id: str) -> str:
    return spiffe_id.removeprefix("spiffe://").partition("/")[0]


def nouns_of(grant: Grant) -> Iterator[Noun]:
    """What a grant stands on."""
    yield "workload", grant.holder
    yield "opener", grant.opener
    for spiffe_id in (grant.holder, grant.opener, grant.requester):
        yield "trust_domain", trust_domain(spiffe_id)
    yield "task", grant.task
    if grant.binding.certificate is not None:
        yield "certificate", grant.binding.certificate


def nouns_of_caller(caller: Caller) -> Iterator[Noun]:
    if caller.workload is not None:
        yield "workload", caller.workload
        yield "trust_domain", trust_domain(caller.workload)
    for certificate in sorted(caller.certificates):
        yield "certificate", certificate
    if caller.gate is not None:
        yield "gate", caller.gate


def refuse_marked(index: Index, grants: Iterable[Grant], caller: Caller) -> tuple[Expect, ...]:
    """Refuses what stands on something that is marked; else, what the commit must expect to find as it is now."""
    nouns = dict.fromkeys([*nouns_of_caller(caller), *(noun for grant in grants for noun in nouns_of(grant))])
    for noun in nouns:
        mark = index.mark(*noun)
        if mark is not None:
            raise refusal_of(mark)
    return tuple(Expect(noun, found.revision if (found := index.marks.get(noun)) else 0) for noun in nouns)


def refusal_of(mark: Mark) -> Refused:
    """Without the words of the operator: it is told to whom the mark is about."""
    if mark.freezes:
        return Refused("workload_frozen")
    return Refused("revoked", f"the {mark.noun.replace('_', ' ')} {mark.name}")
