"""Our own certificate, and the credentials of a port: both may change without a restart.

grpcio asks for the certificate at every new connection, so what a file or the Workload API says now is what is shown next.
A file that is half there, or does not fit its key, changes nothing: what was shown before is shown on, and it is logged.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import grpc
from cryptography.hazmat.primitives.serialization import Encoding

from pdp.errors import PdpError
from pdp.identity import Refused, Side, TrustStore, verify_x509_svid
from pdp.store.file_state import state_of
from pdp.store.own_certificate import UNREADABLE, Shown, has_dns_name, read_pair, shown_of
from pdp.store.trust.workload_messages import OwnSvid

_log = logging.getLogger("pdp.server")


class OwnCertificate(Protocol):
    def current(self) -> Shown:
        """What to show now; PdpError when there is nothing."""


class FilesCertificate:
    """A certificate in files, read again when either of them is another file or was changed."""

    def __init__(self, certificate: Path, key: Path, trust: Callable[[], TrustStore], clock: Callable[[], int]) -> None:
        self._certificate, self._key = certificate, key
        self._trust, self._clock = trust, clock
        self._lock = threading.Lock()
        self._seen: object = None
        self._shown: Shown | None = None
        self._failing = ""  # whoever connects makes us look, so it is said once

    def current(self) -> Shown:
        with self._lock:
            try:
                seen = state_of(self._certificate), state_of(self._key)
                if self._shown is None or seen != self._seen:
                    self._shown = self._read()
                    self._seen = seen
                self._failing = ""
            except PdpError as error:
                if self._shown is None:
                    raise
                if str(error) != self._failing:
                    _log.error("our certificate was not read again; what was shown before is shown on: %s", error)
                self._failing = str(error)
            return self._shown

    def _read(self) -> Shown:
        refuse_readable(self._key)
        shown, presented = read_pair(self._certificate, self._key)
        try:
            own = verify_x509_svid(presented, self._trust(), self._clock(), side=Side.SERVER)
        except Refused as refused:
            raise PdpError("invalid_file", f"`{self._certificate}` is no SVID that we trust: {refused}") from None
        except UNREADABLE as error:
            raise PdpError("invalid_file", f"`{self._certificate}` with `{self._key}`: {type(error).__name__}") from None
        return replace(shown, name=str(own.id), not_after_us=own.not_after_us)


class WorkloadApiCertificate:
    """The default SVID that the Workload API gives us."""

    def __init__(self, own: Callable[[], tuple[OwnSvid, ...]]) -> None:
        self._own = own
        self._made: tuple[OwnSvid, Shown] | None = None

    def current(self) -> Shown:
        svids = self._own()
        if not svids:
            raise PdpError("trust_unavailable", "the Workload API has given us no SVID")
        made = self._made
        if made is None or made[0] is not svids[0]:
            made = self._made = (svids[0], shown_of(svids[0]))
        return made[1]


def port_credentials(
    own: OwnCertificate, trust_domain: str, trust: Callable[[], TrustStore], clock: Callable[[], int]
) -> object:
    """For a port that takes callers of one domain (L-1). Without a certificate no client gets through the handshake."""

    def made() -> tuple[object, object]:
        shown = own.current()
        bundle = trust().bundle_for(trust_domain, clock())
        roots = b"".join(a.public_bytes(Encoding.PEM) for a in bundle.authorities)
        if not roots:
            raise Refused("untrusted_issuer", "the bundle has no authority for certificates")
        name = (shown.chain_pem, bundle.version)
        return name, grpc.ssl_server_certificate_configuration([(shown.key_pem, shown.chain_pem)], roots)

    try:
        name, first = made()
    except Refused as refused:
        raise PdpError("trust_unavailable", f"`{trust_domain}`: {refused}") from None
    last, failing = [name], [""]
    if not has_dns_name(own.current().chain_pem):
        _log.warning(
            "our certificate has no DNS name: pdp.Client and the verbs of `pdp` cannot verify us; see docs/server.md"
        )

    def fetch() -> object | None:
        """Asked at every new connection; None goes on with what there is. Who is let in wrongly meets the next check:
        every call verifies its caller under what is trusted then."""
        try:
            name, configuration = made()
        except (Refused, PdpError) as error:
            if str(error) != failing[0]:
                _log.error("the credentials of a port stay as they were: %s", error)
            failing[0] = str(error)
            return None
        failing[0] = ""
        if name == last[0]:
            return None
        last[0] = name
        return configuration

    return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=True)


def refuse_readable(key: Path) -> None:
    """A private key that others can read is not ours alone."""
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise PdpError("invalid_file", f"`{key}` cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise PdpError("invalid_file", f"`{key}`: others may read it; `chmod 600` it, and think about a new key")
