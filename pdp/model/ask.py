"""What a gate or a client asks, as it came: a question, and credentials that nobody has verified yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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


class Ask(NamedTuple):
    """A question, before anything in it is verified. One is made for every request of a gate, so it is a tuple."""

    action: str
    resource: Resource
    context: Mapping[str, Any] = NOTHING
    location: Mapping[str, Any] = NOTHING
    itself: bool = False  # the subject is the caller; else whoever was shown, and nobody when nobody was
    shown: Shown | None = None
    user: Resource | None = None  # by the gate's word
    user_token: str | None = None
    grant: str | None = None
    proof: str | None = None
    target: Target | None = None
    destination: str | None = None  # whom the gate stands before, where it said so
    consumed: tuple[str, ...] = ()  # headers that must not go further
    correlation: str | None = None
    finds_grant: bool = False  # none can be shown here; it is found by certificate, destination and gate (N-3)

    def __repr__(self) -> str:
        """Without tokens: what is printed is logged."""
        told = {name: "…" if name in _SECRET and value else value for name, value in zip(self._fields, self, strict=True)}
        return f"Ask({', '.join(f'{name}={value!r}' for name, value in told.items())})"


_SECRET = frozenset({"user_token", "grant", "proof"})
