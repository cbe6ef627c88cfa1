"""A call that takes a step -> the `Caller` of the service: every word of it is verified here, and nothing else gets in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from language import is_spiffe_id
from pdp.grants.people import Role, verify_person
from pdp.grants.proof import Asked, ProvenRequest, verify_task_proof
from pdp.grants.refusals import Refused
from pdp.server.config import Service
from pdp.server.desk import Desk
from pdp.server.peer import Peer, Transport
from pdp.service.caller import Caller, Vouched
from pdp.tokens.compact import base64url, digest


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof in the message of a step: over this call, with this key."""

    token: str | None = field(repr=False)
    key: str | None  # the thumbprint that it has to be of; None where the grant names no task key


@dataclass(frozen=True, slots=True)
class Step:
    """The call that proofs have to be over."""

    method: str  # its full name, `/package.Service/Method`
    names: str = field(default="", repr=False)  # the field `grant`, as it was sent
    covered: bytes = hashlib.sha256(b"").digest()  # SHA-256 of the message without its proofs


def caller_of(peer: Peer) -> Caller:
    """Who calls, by the connection alone."""
    leaf = None if peer.workload is None else peer.workload.leaf_sha256
    return Caller(
        workload_of(peer),
        frozenset() if leaf is None else frozenset({leaf}),
        gate=peer.name if peer.gate is not None and is_spiffe_id(peer.name) else None,
        operator=Service.ADMIN in peer.roles,
    )


def workload_of(peer: Peer) -> str | None:
    if peer.workload is not None:
        return str(peer.workload.id)
    if peer.transport is Transport.DEVELOPMENT and is_spiffe_id(peer.name):
        return peer.name  # nothing is proven there, and it was said loudly
    return None


def with_person(desk: Desk, caller: Caller, token: str | None, role: Role) -> Caller:
    """With a person, by a token of a configured issuer. There is no other way to one."""
    if token is None or desk.grants is None:
        return caller
    person = verify_person(token, role, desk.grants.people, desk.parts.clock())
    return replace(caller, person=person.reference, vouched=Vouched.TOKEN)


def with_proofs(desk: Desk, caller: Caller, step: Step, proofs: Iterable[Proof]) -> Caller:
    """With the task keys that signed a proof over this very call; each proof is good once."""
    proven = [_proven(desk, step, proof) for proof in proofs if proof.token is not None]
    if not proven:
        return caller
    return replace(caller, keys=frozenset(each.key for each in proven), proof=proven[0].id)


def _proven(desk: Desk, step: Step, proof: Proof) -> ProvenRequest:
    audience = desk.names.audience
    asked = Asked(
        audience, "POST", f"grpc://{audience}{step.method}", digest(step.names), proof.key, step.covered, body_required=True
    )
    if proof.key is None:
        raise Refused("proof_key_unbound")
    return verify_task_proof((proof.token or "",), asked, desk.proofs, desk.parts.clock())


def ids_for(caller: Caller, method: str, key: str, of: str) -> tuple[str, str]:
    """The ids of the grant and the task that an idempotency key makes: the same for the same caller, step and key; the
    second one only where the message is the same as well."""
    grant = _name("grant", caller.workload, method, key)
    return grant, _name("task", grant, of)


def _name(*parts: str | None) -> str:
    return base64url(hashlib.sha256(json.dumps(parts).encode()).digest())
