"""Bundle endpoints of SPIFFE federation: a document over https, from exactly the server that is configured (B-8).

The standard library's client is used bare: no proxy and no credential of the environment takes part. Redirects are followed
by hand, each to another https address under the same rules, and are forgotten afterwards.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

from cryptography.hazmat.primitives.serialization import Encoding

from pdp.errors import PdpError
from pdp.identity import STRICT, Options, Origin, Refused, Side, SpiffeId, TrustBundle, TrustStore, accept_leaf, read_jwks
from pdp.identity.bundles import BUNDLE_BYTES_MAX
from pdp.store.regular_file import open_regular

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
        url, deadline = self.url, time.monotonic() + self.timeout_s
        for _ in range(REDIRECTS_MAX + 1):
            answer = self._get(_address(url), trust, now, deadline)
            if isinstance(answer, bytes):
                return answer
            url = _next(url, answer)
        raise Refused("endpoint_too_many_redirects")

    def _get(self, address: SplitResult, trust: TrustStore, now: int, deadline: float) -> bytes | str:
        """The document, or where the server sends us."""
        host = address.hostname or ""
        context = _context(self.server, trust, now)
        connection = http.client.HTTPSConnection(host, address.port or 443, timeout=self.timeout_s, context=context)
        target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        try:
            connection.timeout = _left(deadline)
            connection.connect()
            self._refuse_other(connection.sock, trust, now)
            connection.request("GET", target, headers={"Accept": "application/json", "Accept-Encoding": "identity"})
            return _answer(connection, deadline)
        except ssl.SSLCertVerificationError:
            raise Refused("endpoint_wrong_server") from None
        except (OSError, http.client.HTTPException) as error:
            raise PdpError("trust_unavailable", f"`{self.url}`: {type(error).__name__}") from None
        finally:
            connection.close()

    def _refuse_other(self, connected: socket.socket, trust: TrustStore, now: int) -> None:
        """For `https_spiffe`: the path is OpenSSL's work, with this domain's authorities; what makes it an SVID is ours."""
        if isinstance(self.server, WebServer):
            return
        assert isinstance(connected, ssl.SSLSocket)
        shown = connected.getpeercert(binary_form=True)
        if shown is None or accept_leaf(shown, trust, now, self.options, Side.SERVER).id != self.server.id:
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


def _next(url: str, location: str) -> str:
    """Where a redirect leads. One that names a scheme stands by itself: `https:///x` is not the host before."""
    if "://" in location:
        return location
    try:
        return urljoin(url, location)
    except ValueError:
        return ""  # which is no address


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
            context.check_hostname = False  # the name is the SPIFFE ID, checked before anything is sent
            context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(cadata=b"".join(a.public_bytes(Encoding.DER) for a in authorities))
    return context


def _answer(connection: http.client.HTTPSConnection, deadline: float) -> bytes | str:
    response = connection.getresponse()
    if response.status in _REDIRECTS:
        location = response.getheader("Location")
        if location:
            return location
    if response.status != 200 or response.getheader("Content-Encoding", "identity") != "identity":
        raise http.client.HTTPException("not a document")
    parts: list[bytes] = []
    while chunk := response.read1(65_536):
        parts.append(chunk)
        if sum(map(len, parts)) > BUNDLE_BYTES_MAX:
            raise Refused("bundle_too_large")
        left = _left(deadline)
        if connection.sock is not None:  # it is given to the response when the server closes
            connection.sock.settimeout(left)
    if response.length:
        raise http.client.IncompleteRead(b"")
    return b"".join(parts)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
