"""What a gate or a client asks, as it came: a question, and credentials that nobody has verified yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pdp.model.request import NOTHING, Resource


@dataclass(frozen=True, slots=True)
class Shown:
    """The credential of a workload, as it was shown to the gate that passes it on."""

    certificates: tuple[bytes, ...] = field(default=(), repr=False)  # in DER, its own first
    whole_path: bool = False  # whether all that was presented came along; else the path is the gate's word (E-3)
    principal: str | None = None  # whom the gate takes it for; when told, it must be right (E-2)
    token: str | None = field(default=None, repr=False)  # a JWT-SVID


@dataclass(frozen=True, slots=True)
class Target:
    """What a proof of possession has to be over."""

    method: str
    uri: str  # without query
    body_sha256: bytes | None  # None: not known, so that nothing can be proven of it


@dataclass(frozen=True, slots=True)
class Ask:
    """A question, before anything in it is verified. Tokens are not shown when it is printed."""

    action: str
    resource: Resource
    context: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    location: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    itself: bool = False  # the subject is the caller; else whoever was shown, and nobody when nobody was
    shown: Shown | None = None
    user: Resource | None = None  # by the gate's word
    user_token: str | None = field(default=None, repr=False)
    grant: str | None = field(default=None, repr=False)
    proof: str | None = field(default=None, repr=False)
    target: Target | None = None
    destination: str | None = None  # whom the gate stands before, where it said so
    consumed: tuple[str, ...] = ()  # headers that must not go further
    correlation: str | None = None
