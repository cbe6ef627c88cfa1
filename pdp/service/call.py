"""A question with the credentials that came with it. Nothing here is verified: `check.py` does that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pdp.model.request import NOTHING, EntityLike, Resource


@dataclass(frozen=True, slots=True)
class Credentials:
    """What was presented, as it came. Tokens are never shown by `repr`, logged or kept."""

    certificates: tuple[bytes, ...] = field(default=(), repr=False)  # DER, its own first
    path_by_gate: bool = False  # only the leaf is here, and the gate says that it verified the rest (E-3)
    principal: str | None = None  # who the gate says this is; it must be who the certificate says (E-2)
    token: str | None = field(default=None, repr=False)  # a JWT-SVID
    handles: tuple[str, ...] = field(default=(), repr=False)  # every value of `task-grant`
    proofs: tuple[str, ...] = field(default=(), repr=False)  # every value of `task-proof`
    user: str | None = field(default=None, repr=False)  # the token of a person of a configured issuer


@dataclass(frozen=True, slots=True)
class Place:
    """Where the call is, by the word of a gate that was authenticated, and by its entry in the configuration."""

    gate: str | None = None  # the gate's SPIFFE ID
    environment: str | None = None
    destination: str | None = None
    session: str | None = None
    process: str | None = None  # as a node's attestor vouched for it


@dataclass(frozen=True, slots=True)
class Message:
    """What a proof of a request is held against, in the words of our configuration: never a Host header."""

    target: str
    method: str
    url: str  # as configured, with the path of the request, without a query
    body: bytes | None = field(default=None, repr=False)
    body_required: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    action: str
    resource: Resource
    credentials: Credentials = Credentials()
    place: Place = Place()
    message: Message | None = None
    context: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    location: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    process: Mapping[str, Any] | None = None  # of the workload, as attested
    user: EntityLike | None = None  # whom a gate that may assert users says this is for
