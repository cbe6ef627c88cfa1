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
    configured: object = None  # what callers may say and be told, and where we are: another one is another object
    epoch: str = ""  # names all of this but how fresh it is, for those who use an answer again
    fresh_until: int = field(init=False)  # what is known of grants, freezes and revocations may be relied on until then

    def __post_init__(self) -> None:
        object.__setattr__(self, "fresh_until", min(FOREVER, self.grants.confirmed_at + self.grants_bound_us))

    def decides_as(self, before: Standing) -> bool:
        """Whether nothing differs but how fresh it is. INVARIANT: of any two that can decide differently it says no."""
        return (
            self.snapshot is before.snapshot
            and _trusts_as(self.trust, before.trust)
            and self.grants.grants is before.grants.grants  # a confirmation leaves both as they are
            and self.grants.marks is before.grants.marks
            and self.issuer_keys is before.issuer_keys
            and self.people is before.people
            and self.grants_bound_us == before.grants_bound_us
            and self.configured is before.configured
        )


def _trusts_as(now: TrustStore, before: TrustStore) -> bool:
    """The same content, and for no shorter a time."""
    return now is before or (
        now.bundles.keys() == before.bundles.keys()
        and all(now.bundles[name].version == bundle.version for name, bundle in before.bundles.items())
        and all(now.bundles[name].fresh_until_us >= bundle.fresh_until_us for name, bundle in before.bundles.items())
    )
