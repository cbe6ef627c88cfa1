"""Who calls: as TLS or the system has proven it, with what the configuration lets that caller do."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pdp.identity import VerifiedWorkload
from pdp.server.config import Pep, Service


class Transport(StrEnum):
    TLS = "tls"
    UNIX = "unix"
    DEVELOPMENT = "development"  # loopback, and nothing is proven


@dataclass(frozen=True, slots=True)
class Peer:
    """A caller. `workload` is verified anew with every call that it makes, so it holds now."""

    name: str  # a SPIFFE ID, `uid:1000`, or `development`
    transport: Transport
    roles: frozenset[Service]
    gate: Pep | None = None  # what it may assert about others; None: it speaks for itself alone
    workload: VerifiedWorkload | None = None
    uid: int | None = None
    presented: tuple[bytes, ...] = field(default=(), repr=False)  # its certificates in DER, leaf first
    configured: object = field(default=None, repr=False, compare=False)  # the configuration that says all this
