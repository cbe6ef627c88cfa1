"""What stands in the record: one frozen type for each family of entries. Values only; `encode.py` makes them lines.

A decision and a failed binding are told by the same type, since the second is a decision too: what sets it apart is its
kind, so that whoever looks for a breach looks for one word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from language import Bundle, Inputs
from pdp.model.decision import Decision
from pdp.model.request import Request


class Kind(StrEnum):
    DECISION = "decision"
    REUSE_ATTEMPT = "reuse_attempt"  # a decision, or a step, that failed because of binding: the breach signal
    GRANT = "grant"  # a step of a grant's life
    INCIDENT = "incident"  # freeze, thaw, revoke
    START = "start"
    STOP = "stop"
    DROP = "drop"  # entries that were lost because the queue was full
    ADOPTED = "adopted"  # entries that nobody had signed when the writer started, and that it signs from here on
    REPAIR = "repair"  # what a restart found at the end of the record, and took away
    SEGMENT = "segment"  # the first line of a file
    CHECKPOINT = "checkpoint"  # a signature over everything before it


#: Reasons that say: somebody showed a credential, grant or proof that was not made for them. They make a `reuse_attempt`.
BINDING_REASONS = frozenset({
    "task_misheld",
    "wrong_holder",
    "wrong_key",
    "wrong_process",
    "wrong_session",
    "wrong_gate",
    "wrong_destination",
    "wrong_audience",
    "wrong_environment",
    "proof_missing",
    "proof_replayed",
    "proof_wrong_key",
    "proof_signature_wrong",
    "proof_wrong_target",
    "proof_wrong_method",
    "proof_wrong_url",
    "proof_of_other_grant",
    "proof_body_wrong",
    "proof_wrong_nonce",
    "handle_wrong_issuer",
    "audience_wrong",
    "grant_consumed",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What was verified around a decision and is not part of the request. Digests of credentials, never credentials."""

    txn: str | None = None
    chain: tuple[str, ...] = ()  # ids of the grants, the oldest first
    approvers: tuple[str, ...] = ()
    certificate: str | None = None  # SHA-256 of the certificate, hex
    serial: str | None = None
    proof: str | None = None  # digest of the proof's id
    destination: str | None = None
    bindings: tuple[str, ...] = ()  # proven facts that the request itself does not list
    presented: Mapping[str, str] | None = None  # of a refusal: the grant, task and holder of a genuine handle that was shown


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, with the question as it was asked. `bundle` and `inputs`, where given, make it replayable."""

    request: Request
    decision: Decision
    at_us: int
    took_ns: int
    bundle: Bundle | None = None
    inputs: Inputs | None = None
    around: Circumstances | None = None

    @property
    def kind(self) -> Kind:
        return kind_of(self.decision)


def kind_of(decision: Decision) -> Kind:
    return Kind.REUSE_ATTEMPT if decision.reason in BINDING_REASONS else Kind.DECISION


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a grant's life, an incident, or a reuse that failed before there was anything to decide."""

    kind: Kind  # GRANT, INCIDENT or REUSE_ATTEMPT
    what: str  # opened, approved, ended, freeze, wrong_key, …
    at_us: int
    id: str = ""  # of the grant, task, workload: of what it happened to
    task: str | None = None
    txn: str | None = None
    chain: tuple[str, ...] = ()
    holder: str | None = None
    opener: str | None = None
    actor: str | None = None  # who did it
    approvers: tuple[str, ...] = ()
    gate: str | None = None
    state: str | None = None  # what it is in now
    reason: str | None = None
    ends_us: int | None = None
    certificate: str | None = None
    proof: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notice:
    """What happened to the record itself."""

    kind: Kind  # START, STOP, DROP, ADOPTED or REPAIR
    at_us: int
    details: Mapping[str, Any] = field(default_factory=dict)


Entry = Decided | Step | Notice
