"""A grant: this workload, holding this key, for this task, on these actions and resources, until then.

Values only. The record in the store is the authority; a handle only names it. A record never changes: each step of its life
makes the next one, with a higher revision (`life.py` says which steps there are, `store.py` how they are kept).

Every moment is in microseconds since the epoch. An end is half open: at `ends` the grant has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

ID_CHARACTERS_MIN = 22  # of base64url: 132 bits. An id is given by whoever has randomness; see `Tasks`
DEPTH_MAX = 8  # of a chain of delegation, the root being 0 (catalogue 72)

#: An entity of the directory, by type and id.
Reference = tuple[str, str]


class State(StrEnum):
    REQUESTED = "requested"  # a holder asked; somebody who may open has to say yes
    PENDING_APPROVAL = "pending_approval"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    ENDED = "ended"  # absorbing


class EndReason(StrEnum):
    COMPLETED = "completed"  # its holder or opener said that the task is done
    REVOKED = "revoked"  # taken away, or never given
    EXPIRED = "expired"
    SUPERSEDED = "superseded"  # another grant stands in its place, or its store is not the one that it was written to


class Source(StrEnum):
    """Who set a fact. What the holder of a grant said of itself is a claim, whatever the declaration hoped for."""

    OPENER = "opener"
    HOLDER = "holder"


@dataclass(frozen=True, slots=True)
class Fact:
    """A carried attribute, as foreign data: bool, int, str, a tuple or a mapping of these. Policy gives it its type."""

    name: str
    value: Any
    source: Source


@dataclass(frozen=True, slots=True)
class Target:
    """Resources: all of a type, one of them, or those below an entity (which counts as below itself)."""

    type: str
    id: str | None = None
    within: Reference | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """Actions on resources. `constraints` narrow it further; one that this version does not understand covers nothing."""

    actions: frozenset[str]
    on: tuple[Target, ...]
    constraints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """What a grant is for: the union of its permits."""

    permits: tuple[Permit, ...]


@dataclass(frozen=True, slots=True)
class Bindings:
    """Whom and what a grant is tied to. One of the two thumbprints makes it more than a bearer right.

    None stands for "not tied"; an empty tuple of gates or destinations is tied to none, and so of no use anywhere.
    """

    certificate: str | None = None  # x5t#S256: base64url of the SHA-256 of the leaf in DER (RFC 8705)
    key: str | None = None  # jkt: the RFC 7638 thumbprint of the task key, which never leaves its process
    gates: tuple[str, ...] | None = None  # SPIFFE IDs, in order
    destinations: tuple[str, ...] | None = None  # SPIFFE IDs, in order
    session: str | None = None  # as the gate names it; gates name sessions each in its own way, so a gate goes with it
    process: str | None = None  # as the node's attestor names it
    unknown: tuple[str, ...] = ()  # kinds of binding that this version does not understand: they match nothing

    @property
    def is_bearer(self) -> bool:
        return self.certificate is None and self.key is None


@dataclass(frozen=True, slots=True)
class Required:
    """Whose approval is needed before the grant is active: so many of these."""

    count: int
    of: Target


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's yes to exactly what `agreement` is the digest of. It permits nothing by itself."""

    id: str
    approver: Reference
    at: int
    until: int  # it counts only before this moment
    agreement: str


@dataclass(frozen=True, slots=True)
class Grant:
    id: str
    task: str  # of the whole tree, also called txn; the `task.id` of policy
    parent: str | None  # the grant that this one was delegated from
    depth: int  # 0 is the root
    kind: str
    holder: str
    opener: str  # of the task: the same in the whole tree
    requester: str  # the workload that asked for this grant
    facts: tuple[Fact, ...]  # in order of name
    scope: Scope
    environment: str | None
    audience: str  # the decision point, or its trust domain, where it is of use
    binding: Bindings
    created: int
    lasting: int  # for how long it was asked; the policy of the moment of activation may give less
    ends: int  # of the authority; before it is active, when the request lapses
    state: State
    generation: str  # of the policy under which it was last evaluated
    started: int | None = None  # the first activation of the task: the same for children, renewals, rebinds
    people: tuple[Reference, ...] = ()  # in whose name it was asked for, with those of its ancestors
    deeper: int = 0  # how many more levels may be delegated from it
    uses: int | None = None  # how often it may be used at all
    required: Required | None = None
    approvals: tuple[Approval, ...] = ()
    holds: tuple[str, ...] = ()  # why it is suspended, in order: each cause is lifted by itself
    ended: EndReason | None = None
    ended_at: int | None = None
    why: str = ""  # in the words of whoever ended or suspended it
    confidential: bool = False  # those words are an operator's, and for operators: an attacker may hold the grant
    revision: int = 0  # of the store, when this record was written; 0 is not written yet

    @property
    def is_over(self) -> bool:
        return self.state is State.ENDED

    @property
    def attributes(self) -> Mapping[str, Any]:
        return {fact.name: fact.value for fact in self.facts}


@dataclass(frozen=True, slots=True)
class Mark:
    """That everything of a noun is refused: a frozen workload, a revoked gate. `lifted` is its tombstone."""

    noun: str  # workload, certificate, gate, trust_domain, opener
    name: str
    why: str
    at: int
    actor: str
    freezes: bool = False  # a freeze, which can be thawed; else a revocation
    lifted: bool = False
    revision: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return self.noun, self.name


@dataclass(frozen=True, slots=True)
class Tombstone:
    """An id that is spent, though its record may be gone or may never have come. Nothing is written under it again."""

    id: str
    at: int
    revision: int = 0
