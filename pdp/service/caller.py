"""Who takes a step, when, and by which policy. Whoever makes a `Caller` has verified every word of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from language import World
from pdp.engine.snapshot import Snapshot
from pdp.grants.grant import Bindings, Reference
from pdp.grants.reasons import Refused


class Vouched(StrEnum):
    """How a person is known."""

    TOKEN = "token"  # a JWT of a configured issuer, verified here  # noqa: S105  # a word, not a secret
    GATE = "gate"  # a gate that may say so; never enough to approve


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified identity: a workload, a person, or a person through a workload."""

    workload: str | None = None  # SPIFFE ID, from a certificate or proof of this connection
    certificates: frozenset[str] = frozenset()  # x5t#S256 of leaves whose keys were shown for this very call
    keys: frozenset[str] = frozenset()  # thumbprints of task keys that signed a proof for this very call
    person: Reference | None = None
    vouched: Vouched | None = None  # how the person is known
    gate: str | None = None
    operator: bool = False  # configuration names this identity as one that handles incidents
    proof: str | None = None  # digest of the proof's id, for the record

    @property
    def name(self) -> str:
        """As the record calls it."""
        if self.person is not None:
            return f"{self.person[0]} {self.person[1]}"
        return self.workload or "nobody"

    def demand_workload(self) -> str:
        if self.workload is None:
            raise Refused("no_workload")
        return self.workload

    def demand_operator(self) -> None:
        if not self.operator:
            raise Refused("not_operator")

    def demand_keys(self, binding: Bindings) -> None:
        """Possession of everything that a grant is tied to, shown for this step."""
        if binding.unknown:
            raise Refused("binding_unknown")
        if binding.is_bearer:
            raise Refused("grant_unbound")
        for tied, shown in ((binding.certificate, self.certificates), (binding.key, self.keys)):
            if tied is not None and tied not in shown:
                raise Refused("wrong_key" if shown else "proof_missing")


@dataclass(frozen=True, slots=True)
class Moment:
    """When a step is taken, by which policy and data, and where new ids come from; this floor has no clock and no chance."""

    now: int
    snapshot: Snapshot
    new_id: Callable[[], str]  # at least 128 random bits in base64url, never one twice

    @property
    def world(self) -> World:
        return self.snapshot.world

    @property
    def generation(self) -> str:
        return self.snapshot.policy.generation


@dataclass(frozen=True, slots=True)
class Rules:
    """What this installation adds to the declarations of policy. Times are in microseconds."""

    audience: str  # this decision point, or its trust domain
    environment: str | None = None
    lasting_us: int = 300_000_000  # where nobody says for how long: five minutes, or what the kind allows if that is less
    pending_us: int = 3_600_000_000  # a request that was not answered by then has lapsed
    approval_us: int = 3_600_000_000  # how long an approval can count
    deeper: int = 3  # levels of delegation below a root
    freshness_us: int = 5_000_000  # what is known of grants is good for so long after the store confirmed it
