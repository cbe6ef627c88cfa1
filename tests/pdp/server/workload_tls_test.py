"""Our own certificate and what we trust, both from a Workload API: a real one on a socket, which says what a test wants."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe._proto import workload_pb2 as pb
from spiffe._proto import workload_pb2_grpc

from pdp.errors import PdpError
from pdp.server import trust_sources
from pdp.server.config import Config, read_config
from pdp.store.dev_domain import new_key
from tests.pdp.identity.workload_api_test import Agent
from tests.pdp.server.world import (
    DOMAIN,
    GATE,
    SERVER,
    WAIT_S,
    Identities,
    Running,
    call,
    channel,
    now_us,
    production,
    refused,
    running,
    wait_until,
)

WHO = "/test.Echo/Echo", b"who"
HOUR_US = 3_600_000_000
PARTNER = "partner.test"


class Workloads:
    """The agent of a node, and what it says of us."""

    def __init__(self, folder: Path) -> None:
        self.agent = Agent()
        self.socket = f"unix://{folder}/agent.sock"
        self._server = grpc.server(ThreadPoolExecutor(8))
        workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(self.agent, self._server)
        self._server.add_insecure_port(f"unix:{folder}/agent.sock")
        self._server.start()

    def tell(
        self, identities: Identities, *also: Identities, roots: bytes = b"", spiffe_id: str = SERVER, life_s: int = 3600
    ) -> bytes:
        """A new SVID, which is returned in DER, with the bundle of its domain and of those federated."""
        domain, key = identities.domain, new_key()
        shape = domain.shape(spiffe_id, now_us(), life_s * 1_000_000)
        chain = domain.issue(replace(shape, leaf=replace(shape.leaf, dns=("pdp",))), key.public_key())
        svid = pb.X509SVID(
            spiffe_id=spiffe_id,
            x509_svid=b"".join(chain),
            x509_svid_key=key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            bundle=domain.root.der + roots,
        )
        federated = {f"spiffe://{other.domain.trust_domain}": other.domain.root.der for other in also}
        self.agent.x509.put(pb.X509SVIDResponse(svids=[svid], federated_bundles=federated))
        return chain[0]

    def tell_tokens(self, *of: Identities) -> None:
        bundles = {f"spiffe://{each.domain.trust_domain}": each.domain.bundle_document() for each in of}
        self.agent.jwt.put(pb.JWTBundlesResponse(bundles=bundles))

    def close(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    return Identities(tmp_path)


@pytest.fixture
def workloads(tmp_path: Path) -> Iterator[Workloads]:
    made = Workloads(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def config(tmp_path: Path, identities: Identities, workloads: Workloads) -> Config:
    return configured(tmp_path, identities, workloads, {DOMAIN: {"workload_api": True}})


def configured(folder: Path, identities: Identities, workloads: Workloads, trust: dict[str, Any]) -> Config:
    return production(folder, identities, tls={"workload_api": workloads.socket, "recheck": "50ms"}, trust=trust)


def shown(server: Running, identities: Identities) -> bytes:
    """The certificate that a new connection is shown, in DER; nothing where it is not of this domain."""
    folder = identities.folder / "callers" / "gate"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=identities.domain.bundle_pem().decode())
    context.load_cert_chain(folder / "svid.pem", folder / "svid.key")
    context.set_alpn_protocols(["h2"])
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=15) as raw:
        try:
            with context.wrap_socket(raw) as secured:
                return secured.getpeercert(binary_form=True) or b""
        except ssl.SSLCertVerificationError:
            return b""


def test_it_is_served_with_what_the_agent_gives_and_rotated_without_a_restart(
    config: Config, identities: Identities, workloads: Workloads
) -> None:
    first = workloads.tell(identities)
    workloads.tell_tokens(identities)
    credentials = identities.credentials(GATE)
    with running(config) as server, channel(server.address, credentials) as opened:
        assert call(opened, *WHO).decode().startswith(f"{GATE} tls ")
        assert shown(server, identities) == first
        second = workloads.tell(identities)
        assert wait_until(lambda: shown(server, identities) == second)
        assert call(opened, *WHO)  # a connection that is open goes on
        with channel(server.address, credentials) as again:
            assert call(again, *WHO)


def test_an_authority_is_rotated_and_the_old_one_ends_on_open_connections(
    config: Config, identities: Identities, workloads: Workloads, tmp_path: Path
) -> None:
    """The usual way: both for a while, then the new one alone."""
    (tmp_path / "new").mkdir()
    renewed = Identities(tmp_path / "new")
    workloads.tell(identities)
    workloads.tell_tokens(identities)
    old, new = identities.credentials(GATE), renewed.credentials(GATE)
    with running(config) as server, channel(server.address, old) as opened:
        assert call(opened, *WHO)
        both = workloads.tell(renewed, roots=identities.domain.root.der)
        assert wait_until(lambda: shown(server, renewed) == both)
        assert call(opened, *WHO)
        with channel(server.address, new) as later:
            assert call(later, *WHO)
            last = workloads.tell(renewed)
            assert wait_until(lambda: shown(server, renewed) == last)
            assert refused(opened, *WHO) == "UNAUTHENTICATED unauthenticated"
            assert call(later, *WHO)


def test_who_the_agent_denies_knows_nobody_any_more(config: Config, identities: Identities, workloads: Workloads) -> None:
    workloads.tell(identities)
    workloads.tell_tokens(identities)
    with running(config) as server, channel(server.address, identities.credentials(GATE)) as opened:
        assert call(opened, *WHO)
        workloads.agent.x509.put(grpc.StatusCode.PERMISSION_DENIED)
        assert wait_until(lambda: not server.parts.sources.workload_api.own)
        assert refused(opened, *WHO) == "UNAUTHENTICATED unauthenticated"
        assert "trust" in server.parts.readiness.lacking()
        workloads.tell(identities)  # and comes back without a hand
        assert wait_until(lambda: server.parts.sources.workload_api.own)
        assert "trust" not in server.parts.readiness.lacking()
        assert call(opened, *WHO)


def test_without_a_certificate_nothing_is_served(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_sources, "_FIRST_ANSWER_S", 0.05)
    with pytest.raises(PdpError, match="has given us no SVID") as refusal, running(config):
        pass
    assert refusal.value.code == "trust_unavailable"


def test_a_certificate_that_is_not_ours_to_show_changes_nothing(
    config: Config, identities: Identities, workloads: Workloads
) -> None:
    """A key that is not the certificate's: the whole message is discarded, and what was shown before is shown on."""
    first = workloads.tell(identities)
    workloads.tell_tokens(identities)
    identities.credentials(GATE)
    with running(config) as server:
        workloads.tell(identities)
        bad = workloads.agent.x509.get()
        bad.svids[0].x509_svid_key = new_key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        workloads.agent.x509.put(bad)
        with workloads.agent.called:  # it asks again: what is put before may still be sent on the stream that was ended
            assert workloads.agent.called.wait_for(lambda: workloads.agent.asked("x509") > 1, WAIT_S)
        second = workloads.tell(identities)
        assert wait_until(lambda: shown(server, identities) != first)
        assert shown(server, identities) == second
        names = {x509.load_der_x509_certificate(der).serial_number for der in (first, second)}
        assert len(names) == 2


def test_a_domain_that_has_another_source_is_not_taken_from_the_agent(
    tmp_path: Path, identities: Identities, workloads: Workloads
) -> None:
    """It always tells its own domain, and those federated: only those are taken that the configuration takes from it."""
    stranger = Identities(tmp_path, PARTNER)
    workloads.tell(identities, stranger)
    workloads.tell_tokens(identities, stranger)
    config = configured(tmp_path, identities, workloads, {DOMAIN: {"file": str(identities.bundle)}})
    credentials = identities.credentials(GATE)
    with running(config) as server, channel(server.address, credentials) as opened:
        assert call(opened, *WHO)
        assert {name: b.source for name, b in server.parts.trust.current.bundles.items()} == {DOMAIN: str(identities.bundle)}


def test_where_a_bundle_comes_from_is_changed_while_it_runs(
    tmp_path: Path, identities: Identities, workloads: Workloads
) -> None:
    partner, file = Identities(tmp_path, PARTNER), {"file": str(identities.bundle)}
    workloads.tell(identities, partner)
    workloads.tell_tokens(identities, partner)
    config = configured(tmp_path, identities, workloads, {DOMAIN: {"workload_api": True}})
    credentials = identities.credentials(GATE)
    with running(config) as server, channel(server.address, credentials) as opened:

        def sources(trust: dict[str, Any]) -> dict[str, str]:
            wanted = replace(config, trust=read_config({"trust": trust}, tmp_path).trust)
            server.parts.prepare(wanted)()
            assert call(opened, *WHO)
            return {name: bundle.source for name, bundle in server.parts.trust.current.bundles.items()}

        both = {DOMAIN: file, PARTNER: {"workload_api": True}}
        assert sources(both) == {DOMAIN: str(identities.bundle), PARTNER: "workload-api"}
        workloads.tell(identities, partner)  # and stays so when the agent says something again
        assert wait_until(workloads.agent.x509.empty)
        assert sources({DOMAIN: {"workload_api": True}}) == {DOMAIN: "workload-api"}
        with pytest.raises(PdpError, match=r"trust\[other.test\]") as refusal:
            sources({DOMAIN: file, "other.test": {"workload_api": True}})
        assert refusal.value.code == "trust_unavailable"
        assert sources({DOMAIN: {"workload_api": True}}) == {DOMAIN: "workload-api"}
