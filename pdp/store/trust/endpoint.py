"""Bundle endpoints of SPIFFE federation: a document over https, from exactly the server that is configured (B-8).

The standard library's client is used bare: no proxy and no credential of the environment takes part. Redirects are followed
by hand, within the host and under the same rules, and are forgotten afterwards.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

from pdp.errors import PdpError
from pdp.identity import (
    STRICT,
    Options,
    Origin,
    Refused,
    Side,
    SpiffeId,
    TrustBundle,
    TrustStore,
    read_jwks,
    verify_x509_svid,
)
from pdp.identity.bundles import BUNDLE_BYTES_MAX
from pdp.store.regular_file import open_regular
from pdp.store.trust.connected import Timed, connected, shown_by

REDIRECTS_MAX = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_VISIBLE = re.compile(r"[\x21-\x7e]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class WebServer:
    """`https_web`: the server is who a certificate says, by host name, under the system CAs or those of `ca_file` alone."""

    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class SpiffeServer:
    """`https_spiffe`: the server is exactly this ID, by the newest bundle of its domain."""

    id: SpiffeId


@dataclass(frozen=True, slots=True)
class EndpointSource:
    """The bundle of one domain, which is configured and never learned from what the server says."""

    trust_domain: str
    url: str
    server: WebServer | SpiffeServer
    timeout_s: float = 10.0
    options: Options = field(default=STRICT)

    def __post_init__(self) -> None:
        _address(self.url)

    @property
    def name(self) -> str:
        return self.url

    def read(self, trust: TrustStore, now: int) -> tuple[TrustBundle, ...]:
        document = self._document(trust, now)
        return (read_jwks(self.trust_domain, document, Origin(self.name, now), self.options),)

    def _document(self, trust: TrustStore, now: int) -> bytes:
        address, deadline = _address(self.url), time.monotonic() + self.timeout_s
        for _ in range(REDIRECTS_MAX + 1):
            answer = self._get(address, trust, now, deadline)
            if isinstance(answer, bytes):
                return answer
            address = _next(address, answer)
        raise Refused("endpoint_too_many_redirects")

    def _get(self, address: SplitResult, trust: TrustStore, now: int, deadline: float) -> bytes | str:
        """The document, or where the server sends us."""
        host, port = _place(address)
        context = _context(self.server, trust, now)
        connection = http.client.HTTPSConnection(host, port, context=context)
        target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        try:
            with connected(host, port, context, deadline) as server:
                self._refuse_other(server, trust, now)
                connection.sock = Timed(server, deadline)
                connection.request("GET", target, headers={"Accept": "application/json", "Accept-Encoding": "identity"})
                return _answer(connection)
        except ssl.SSLCertVerificationError:
            raise Refused("endpoint_wrong_server") from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a host that has no spelling in DNS
            raise PdpError("trust_unavailable", f"`{self.url}`: {type(error).__name__}") from None

    def _refuse_other(self, server: ssl.SSLSocket, trust: TrustStore, now: int) -> None:
        """For `https_spiffe`: what the server showed is judged as any SVID is, before anything is said to it."""
        if isinstance(self.server, WebServer):
            return
        if verify_x509_svid(shown_by(server), trust, now, self.options, Side.SERVER).id != self.server.id:
            raise Refused("endpoint_wrong_server")


def _address(url: str) -> SplitResult:
    """https, a host, and nothing that says who we are."""
    try:
        parts = urlsplit(url) if _VISIBLE.fullmatch(url) and "\\" not in url else None
        if parts and parts.scheme == "https" and parts.hostname and "@" not in parts.netloc and not parts.fragment:
            _ = parts.port  # ValueError when it is none
            return parts
    except ValueError:
        pass
    raise Refused("endpoint_not_https")


def _place(address: SplitResult) -> tuple[str, int]:
    return address.hostname or "", address.port or 443


def _next(before: SplitResult, location: str) -> SplitResult:
    """Where a redirect leads: to another path of the same host. One that names a scheme stands by itself: `https:///x` is
    not the host before."""
    try:
        address = _address(location if "://" in location else urljoin(before.geturl(), location))
    except ValueError:
        address = None
    if address is None:
        raise Refused("endpoint_not_https")
    if _place(address) != _place(before):
        raise Refused("endpoint_left_host")
    return address


def _context(server: WebServer | SpiffeServer, trust: TrustStore, now: int) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    match server:
        case WebServer(None):
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        case WebServer(Path() as path):
            try:
                with open_regular(path) as file:  # OpenSSL is to open the very same
                    context.load_verify_locations(cafile=f"/dev/fd/{file.fileno()}")
            except (OSError, ssl.SSLError):
                raise PdpError("invalid_file", f"`{path}` has no certificates") from None
        case SpiffeServer(server_id):
            authorities = trust.bundle_for(server_id.trust_domain, now).authorities
            if not authorities:
                raise Refused("untrusted_issuer", "the bundle has no authority for certificates")
            context.check_hostname = False  # the name is the SPIFFE ID
            context.verify_mode = ssl.CERT_NONE  # the handshake shows possession; the path is ours to judge
    return context


def _answer(connection: http.client.HTTPSConnection) -> bytes | str:
    response = connection.getresponse()
    if response.status in _REDIRECTS:
        location = response.getheader("Location")
        if location:
            return location
    if response.status != 200 or response.getheader("Content-Encoding", "identity") != "identity":
        raise http.client.HTTPException("not a document")
    found = bytearray()
    while chunk := response.read1(65_536):
        found += chunk
        if len(found) > BUNDLE_BYTES_MAX:
            raise Refused("bundle_too_large")
    if response.length:
        raise http.client.IncompleteRead(b"")
    return bytes(found)
