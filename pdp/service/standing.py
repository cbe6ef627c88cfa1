"""What a check of a decision point reads, all of one moment. It never changes; whoever changes anything puts the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from language import FOREVER
from pdp.engine.snapshot import Snapshot
from pdp.grants.index import Index
from pdp.grants.issuer_keys import IssuerKeys
from pdp.grants.people import Issuer
from pdp.identity import TrustStore


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    snapshot: Snapshot  # policy, data, revocations
    trust: TrustStore
    grants: Index = field(default_factory=Index)
    issuer_keys: IssuerKeys | None = None  # None: no grants are accepted
    people: Mapping[str, Issuer] = field(default_factory=dict)
    grants_bound_us: int = FOREVER  # for how long the store's word is relied on after it was confirmed

    @property
    def fresh_until(self) -> int:
        """Until when what is known of grants, freezes and revocations may be relied on."""
        return min(FOREVER, self.grants.confirmed_at + self.grants_bound_us)
