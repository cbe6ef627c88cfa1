"""Our certificate, its key and the authorities of the other side, as files or the Workload API give them now.

They are looked at again and again, since each of them may be another one by then. A pair that stands half written, or cannot
be read, is an error; its caller goes on with the one before.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pdp.errors import PdpError
from pdp.identity import Refused
from pdp.identity.bundles import BUNDLE_BYTES_MAX
from pdp.store.file_state import state_of
from pdp.store.own_certificate import Shown, read_file, read_pair, shown_of
from pdp.store.trust import Trust

if TYPE_CHECKING:
    from pdp.store.trust.workload_api import WorkloadApi


@dataclass(frozen=True, slots=True)
class Tls:
    """Our X509-SVID with its key, the authorities of the other side, and the DNS name in its certificate.

    The first three are files, which are read again when they change; or `workload_api` is the socket that tells them, True
    for the one that SPIFFE_ENDPOINT_SOCKET names. `trust_domain` is then that of the server, if it is not ours. `server_id`
    is refused: no transport can verify it yet.
    """

    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None
    server_name: str | None = None
    workload_api: str | bool = field(default=False, kw_only=True)
    trust_domain: str | None = field(default=None, kw_only=True)
    server_id: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Showing:
    """What a connection shows, and whose certificates it takes."""

    shown: Shown
    authorities_pem: bytes

    def withdraws_from(self, before: Showing | None) -> bool:
        """Whether an authority that was taken before is not any more."""
        return before is not None and not before._authorities() <= self._authorities()

    def _authorities(self) -> set[bytes]:
        return {each.public_bytes(Encoding.DER) for each in x509.load_pem_x509_certificates(self.authorities_pem)}


class Withdrawn(PdpError):
    """Nobody is trusted any more as the other side: what was trusted before is not to be used on."""


class Own(Protocol):
    """Where it comes from. It is opened and closed by who follows it; files are there without."""

    is_there: bool

    def open(self) -> None:
        """Where it fails, nothing is left of it, and it may be tried again."""

    def wait(self, timeout_s: float) -> None:
        """Until it can say something for the first time."""

    def current(self) -> Showing:
        """PdpError where there is nothing to show; Withdrawn where nobody is to be shown it."""

    def close(self) -> None: ...


class Files:
    is_there = True

    def __init__(self, certificate: Path, key: Path, authorities: Path) -> None:
        self._certificate, self._key, self._authorities = certificate, key, authorities
        self._made: tuple[object, Showing] | None = None

    def open(self) -> None:
        pass

    def wait(self, timeout_s: float) -> None:
        pass

    def current(self) -> Showing:
        """Read again when one of the three is another file: to parse a private key takes long, and nobody else runs."""
        seen = tuple(map(state_of, (self._certificate, self._key, self._authorities)))  # before they are read
        made = self._made
        if made is None or made[0] != seen:
            made = self._made = seen, self._read()
        return made[1]

    def _read(self) -> Showing:
        shown, _ = read_pair(self._certificate, self._key)
        authorities = read_file(self._authorities, BUNDLE_BYTES_MAX)
        try:
            x509.load_pem_x509_certificates(authorities)
        except ValueError:
            raise PdpError("invalid_file", f"`{self._authorities}` has no certificates") from None
        return Showing(shown, authorities)

    def close(self) -> None:
        pass


class Agent:
    """The default SVID that the Workload API gives us, and the bundle of the domain of the server."""

    is_there = False

    def __init__(self, socket: str, trust_domain: str | None) -> None:
        self._socket, self._trust_domain = socket, trust_domain
        self._api: WorkloadApi | None = None
        self._made: tuple[object, Showing] | None = None
        self._make()  # an address that is none is told at once

    def _make(self) -> tuple[WorkloadApi, Trust]:
        trust = Trust()
        return _workload_api().WorkloadApi(self._socket, trust, tokens=False), trust

    def open(self) -> None:
        api, self._trust = self._make()
        try:
            api.start()
        except BaseException:  # no thread
            api.close()
            raise
        self._api = api

    def wait(self, timeout_s: float) -> None:
        if self._api is not None:
            self._api.wait_ready(timeout_s)

    def current(self) -> Showing:
        own = () if self._api is None else self._api.own
        if not own:
            raise PdpError("trust_unavailable", "the Workload API has given us no SVID")
        try:
            bundle = self._trust.current.bundle_for(self._trust_domain or own[0].id.trust_domain, time.time_ns() // 1000)
        except Refused as refused:
            raise Withdrawn("trust_unavailable", f"the Workload API has no authorities of the server: {refused}") from None
        told = own[0], bundle.version
        if self._made is None or self._made[0] != told:
            authorities = b"".join(a.public_bytes(Encoding.PEM) for a in bundle.authorities)
            if not authorities:
                raise Withdrawn("trust_unavailable", "the Workload API has no authorities of the server")
            self._made = told, Showing(shown_of(own[0]), authorities)
        return self._made[1]

    def close(self) -> None:
        if self._api is not None:
            self._api.close()


def own_of(tls: Any) -> Own:
    """PdpError where it says too little, too much, or what cannot be kept."""
    if not isinstance(tls, Tls):
        raise PdpError("invalid_argument", f"tls: expected a pdp.Tls, found {type(tls).__name__}")
    if tls.server_id is not None:
        message = "tls: gRPC in Python compares a DNS name and no SPIFFE ID; give the server's SVID one, as `server_name`"
        raise PdpError("server_id_unsupported", message)
    if not isinstance(tls.server_name, str) or not tls.server_name:
        raise PdpError("invalid_argument", "tls: `server_name` is the DNS name in the certificate of the decision point")
    files = tls.certificate, tls.key, tls.authorities
    if tls.workload_api is False:
        if tls.trust_domain is not None:
            raise PdpError("invalid_argument", "tls: `trust_domain` goes with `workload_api`; files say whom they trust")
        try:
            return Files(*(Path(each) for each in files))  # type: ignore[arg-type]  # what is no path is told below
        except TypeError:
            raise PdpError("invalid_argument", "tls: three paths, or `workload_api`") from None
    if files != (None, None, None):
        raise PdpError("invalid_argument", "tls: three paths or `workload_api`, and not both")
    return Agent(_socket(tls.workload_api), tls.trust_domain)


def _socket(told: str | bool) -> str:
    if isinstance(told, str):
        return told
    if told is not True:
        raise PdpError("invalid_argument", "tls: `workload_api` is a socket, or True")
    module = _workload_api()
    found: str | None = module.socket_from_environment()
    if found is None:
        raise PdpError("invalid_argument", f"tls: {module.SOCKET_VARIABLE} names no socket")
    return found


def _workload_api() -> Any:
    """The module that only those have who installed its extra."""
    try:
        from pdp.store.trust import workload_api
    except ImportError:
        raise PdpError("invalid_argument", "tls: the Workload API needs `bulkhead-pdp[spiffe]`") from None
    return workload_api
