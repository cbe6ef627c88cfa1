"""What a gate may say, and of whom: an entry of `peps:`, under the gate's SPIFFE ID. Nothing else it says is believed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from language import spiffe_segments
from pdp.errors import PdpError
from pdp.model.frozen import frozen


class Xfcc(StrEnum):
    """What the gate does with `x-forwarded-client-cert`."""

    IGNORE = "ignore"  # anything; it is never read
    SANITIZE_SET = "sanitize_set"  # replaces what the client sent by what TLS showed


class Bearer(StrEnum):
    """What a bearer token in `authorization` stands for at this gate."""

    IGNORE = "ignore"  # nothing here: it is not read, and goes on to the back end
    USER = "user"  # a user, by a token of a configured issuer
    WORKLOAD = "workload"  # a workload, by a JWT-SVID


#: What can be told to the back end in a header, or to later filters as metadata.
TELLS = ("workload", "user", "task", "grant", "decision", "rule", "valid_until")

_HEADER = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)
_UID = re.compile(r"uid:(?:0|[1-9][0-9]{0,9})", re.ASCII)
_NOT_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "trailer"})


@dataclass(frozen=True, slots=True)
class UsersFrom:
    """Where Envoy's metadata hold a user that another filter has verified: a namespace, and a path of names in it."""

    path: tuple[str, ...]
    type: str
    namespace: str = "envoy.filters.http.jwt_authn"


@dataclass(frozen=True, slots=True)
class Gate:
    """One enforcement point, with what it may assert."""

    id: str  # a SPIFFE ID, or `uid:NUMBER` on a Unix socket
    environment: str | None = None
    #: Trust domains whose workloads it may show.
    domains: frozenset[str] = frozenset()
    #: SPIFFE IDs in front of which it may stand.
    destinations: frozenset[str] = frozenset()
    #: Types of users that it may name by its own word.
    users: frozenset[str] = frozenset()
    users_from: UsersFrom | None = None
    xfcc: Xfcc = Xfcc.IGNORE
    #: Whether its word is taken for the path above a leaf, where only the leaf came and it does not verify alone (E-3).
    vouches: bool = False
    bearer: Bearer = Bearer.IGNORE
    #: Whether it may say where a request came from.
    location: bool = False
    #: Whether its callers are told rules and errors.
    explain: bool = False
    #: How the back end's URLs begin, for proofs: `https`, whatever TLS there is between gate and back end.
    scheme: str = "https"
    #: Headers that it sets for the back end, each with what it tells (TELLS).
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    header_names: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)
    #: What policy sees as `gate`: nothing of one that has no SPIFFE ID.
    facts: Mapping[str, str] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        known = _is_workload(self.id) or _UID.fullmatch(self.id) is not None
        _demand(known, f"`{self.id[:80]}` is not the name of a gate: a SPIFFE ID, or `uid:NUMBER`")
        for domain in self.domains:
            _demand(spiffe_segments(f"spiffe://{domain}") == (domain,), f"`{domain[:80]}` is not a trust domain")
        for destination in self.destinations:
            _demand(_is_workload(destination), f"`{destination[:80]}` is not the SPIFFE ID of a destination")
        _demand(
            self.users_from is None or self.users_from.type in self.users, "users_from: a type that `users` does not list"
        )
        _demand(self.scheme in ("http", "https"), "scheme: `http` or `https`")
        for name, tells in self.headers.items():
            _demand(
                bool(_HEADER.fullmatch(name)) and name not in _NOT_OURS, f"`{name[:80]}` is not a header that can be set"
            )
            _demand(tells in TELLS, f"{name}: `{tells[:80]}` is not one of {', '.join(TELLS)}")
        object.__setattr__(self, "headers", MappingProxyType(dict(self.headers)))
        object.__setattr__(self, "header_names", frozenset(self.headers))
        told = {"id": self.id} if self.environment is None else {"id": self.id, "environment": self.environment}
        object.__setattr__(self, "facts", None if self.id.startswith("uid:") else frozen(told))


def _is_workload(text: str) -> bool:
    segments = spiffe_segments(text)
    return segments is not None and len(segments) > 1


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise PdpError("invalid_argument", otherwise)
