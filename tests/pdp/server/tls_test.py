"""Who calls: over real handshakes, with what is trusted now (L-1 to L-3), and over Unix sockets."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from pdp.errors import PdpError
from pdp.identity.dev.malformed_svids import MALFORMED_SVIDS
from pdp.server.config import Config
from pdp.server.tls import FilesCertificate
from pdp.store.dev_domain import new_key, private_pem
from tests.pdp.server.world import (
    DOMAIN,
    GATE,
    SERVER,
    STRANGER,
    Identities,
    Running,
    _pem,
    call,
    channel,
    code_of,
    development,
    now_us,
    production,
    refused,
    running,
    wait_until,
)

WHO = "/test.Echo/Echo", b"who"


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    return Identities(tmp_path)


@pytest.fixture
def config(tmp_path: Path, identities: Identities) -> Config:
    return production(tmp_path, identities)


def test_a_gate_is_known_by_its_certificate(config: Config, identities: Identities) -> None:
    with running(config) as server, channel(server.address, identities.credentials(GATE)) as opened:
        answer = call(opened, *WHO).decode()
        assert answer.startswith(f"{GATE} tls ")
        assert answer.endswith(" True")
        assert call(opened, "/test.Echo/Gate", b"x") == b"x"
        known = server.parts.callers.by_certificate(_chain(identities, GATE), DOMAIN).workload
        assert known is not None
        assert known.verified_by == "pdp"  # the whole path, and not the leaf alone
        assert known.path_length == 3


def _chain(identities: Identities, name: str) -> bytes:
    return (identities.folder / "callers" / name.rsplit("/", 1)[-1] / "svid.pem").read_bytes()


def figures(server: Running) -> dict[str, float]:
    return {name: value for name, _, value in server.parts.counters.gauges()}


def test_a_certificate_that_is_spoiled_is_said_once_however_often_somebody_connects(
    config: Config, identities: Identities, caplog: pytest.LogCaptureFixture
) -> None:
    with running(config) as server:
        bundle, certificate, key = server.parts.trust, config.tls.certificate, config.tls.key
        assert certificate is not None
        assert key is not None
        own = FilesCertificate(certificate, key, lambda: bundle.current, server.parts.clock)
        shown, good = own.current(), certificate.read_bytes()
        for _ in range(2):
            certificate.write_bytes(b"x")
            assert [own.current() for _ in range(3)] == [shown] * 3
            certificate.write_bytes(good)
            assert own.current() == shown
    assert [r.levelname for r in caplog.records if "was not read again" in r.message] == ["ERROR", "ERROR"]


@pytest.mark.parametrize("named", [True, False])
def test_a_certificate_that_cannot_be_called_by_name_is_said(
    config: Config, identities: Identities, named: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Finding S13: as SPIRE issues it, Python's gRPC clients end with `Hostname Verification Check failed`."""
    if not named:
        key = new_key()
        chain = identities.domain.certificates(SERVER, key.public_key(), now_us(), 3_600_000_000)
        own = identities.folder / "own"
        (own / "svid.pem").write_bytes(b"".join(map(_pem, chain)))
        (own / "svid.key").write_bytes(private_pem(key))
    with running(config):
        pass
    assert ("has no DNS name" in caplog.text) is not named


def test_how_long_our_own_certificate_lasts_is_a_figure(config: Config, identities: Identities) -> None:
    with running(config) as server:
        assert 3_000 < figures(server)["certificate_fresh_seconds"] <= 3_600
        identities.write(SERVER, "own", ttl_s=600)
        assert 0 < figures(server)["certificate_fresh_seconds"] <= 600
        ended = server.parts.clock() + 3_600_000_000
        server.parts.clock = lambda: ended
        assert figures(server)["certificate_fresh_seconds"] == 0


@pytest.mark.parametrize(
    ("caller", "allowed"),
    [
        (GATE, {"Echo", "Gate"}),
        (STRANGER, set()),
        (f"spiffe://{DOMAIN}/ci/build", {"Grants"}),
        (f"spiffe://{DOMAIN}/ci/build/x", set()),
        (f"spiffe://{DOMAIN}/ops/ann", {"Admin"}),
    ],
)
def test_roles_of_services_are_apart(config: Config, identities: Identities, caller: str, allowed: set[str]) -> None:
    with running(config) as server, channel(server.address, identities.credentials(caller)) as opened:
        for method in ("Echo", "Grants", "Admin"):
            if method in allowed:
                assert call(opened, f"/test.Echo/{method}", b"x") == b"x"
            else:
                assert refused(opened, f"/test.Echo/{method}") == "PERMISSION_DENIED not_permitted"
        expected = b"x" if "Gate" in allowed else b"denied: not_permitted"
        assert call(opened, "/test.Echo/Gate", b"x") == expected
        assert call(opened, "/grpc.health.v1.Health/Check") == b"\x08\x01"


def test_without_a_certificate_there_is_no_connection(config: Config, identities: Identities) -> None:
    nobody = grpc.ssl_channel_credentials(identities.domain.bundle_pem())
    with running(config) as server:
        with channel(server.address, nobody) as opened:
            assert refused(opened, *WHO) == "UNAVAILABLE"
        with channel(server.address) as plain:
            assert refused(plain, *WHO) == "UNAVAILABLE"


def test_a_certificate_of_another_domain_opens_nothing(config: Config, identities: Identities) -> None:
    other = Identities(identities.folder, "other.test")
    key, chain = other.write("spiffe://other.test/gate", "other")[::-1]
    credentials = grpc.ssl_channel_credentials(identities.domain.bundle_pem(), key.read_bytes(), chain.read_bytes())
    with running(config) as server, channel(server.address, credentials) as opened:
        assert refused(opened, *WHO) == "UNAVAILABLE"


@pytest.mark.parametrize("kind", [k for k in MALFORMED_SVIDS if k != "weak-key"])
def test_no_malformed_certificate_gets_an_answer(kind: str, tmp_path: Path, shared: tuple[Identities, str]) -> None:
    """Some are refused in the handshake, by other rules than ours; those that are not are refused by ours."""
    identities, address = shared
    try:
        credentials = identities.credentials(GATE, malformed=kind)
    except ValueError:
        pytest.skip("no such certificate can be loaded")
    with channel(address, credentials) as opened:
        assert refused(opened, *WHO, timeout=5).split()[0] in ("UNAUTHENTICATED", "UNAVAILABLE", "DEADLINE_EXCEEDED")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("shared")
    identities = Identities(folder)
    with running(production(folder, identities)) as server:
        with channel(server.address, identities.credentials(GATE)) as opened:
            assert call(opened, *WHO)  # so that a refusal below is about the certificate
        yield identities, server.address


def test_a_connection_lives_no_longer_than_what_made_it(config: Config, identities: Identities, tmp_path: Path) -> None:
    """Trust is taken back while a connection is open: its next call ends, and so does its open stream."""
    with running(config) as server, channel(server.address, identities.credentials(GATE)) as opened:
        stream = opened.stream_stream("/test.Echo/Stream")(_never())
        assert call(opened, *WHO)
        identities.bundle.write_text('{"keys": []}')
        assert wait_until(lambda: server.parts.trust.current.bundles[DOMAIN].is_empty)
        assert refused(opened, *WHO) == "UNAUTHENTICATED unauthenticated"
        assert call(opened, "/test.Echo/Gate") == b"denied: unauthenticated"
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        assert code_of(ended.value) == "UNAUTHENTICATED unauthenticated"


def _never() -> object:
    import threading

    threading.Event().wait(15)
    yield b""


def test_an_expired_certificate_ends_on_an_open_connection(config: Config, identities: Identities) -> None:
    with running(config) as server, channel(server.address, identities.credentials(GATE)) as opened:
        assert call(opened, *WHO)
        at = server.parts.clock
        server.parts.callers._clock = lambda: at() + 3_601_000_000
        assert refused(opened, *WHO) == "UNAUTHENTICATED unauthenticated"


def test_our_certificate_is_rotated_without_a_restart(config: Config, identities: Identities, tmp_path: Path) -> None:
    with running(config) as server:
        before = _shown(server.address, identities)
        identities.write(SERVER, "own")
        after = _shown(server.address, identities)
        assert before.serial_number != after.serial_number
        (tmp_path / "own" / "svid.pem").write_text("half a fi")
        assert _shown(server.address, identities).serial_number == after.serial_number


def _shown(address: str, identities: Identities) -> x509.Certificate:
    import ssl

    host, _, port = address.rpartition(":")
    certificate, key = identities.write(GATE, "probe")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=identities.domain.bundle_pem().decode())
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    import socket

    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain) as secured:
        return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")


def test_new_roots_are_taken_without_a_restart(config: Config, identities: Identities) -> None:
    """The domain's authority is replaced: callers of the new one come in, those of the old one do not."""
    old = identities.credentials(GATE)
    with running(config) as server:
        shutil.rmtree(identities.folder / f"ca-{DOMAIN}")
        new = Identities(identities.folder)
        assert wait_until(lambda: server.parts.trust.current.epoch > 1)
        roots = new.domain.bundle_pem()
        new.write(SERVER, "own")
        with channel(server.address, new.credentials(GATE)) as opened:
            assert call(opened, *WHO).startswith(GATE.encode())
        with channel(server.address, old) as opened:
            assert refused(opened, *WHO).split()[0] in ("UNAVAILABLE", "UNAUTHENTICATED")
        assert roots


@pytest.mark.parametrize("wrong", ["readable", "other key", "no svid", "untrusted", "missing"])
def test_a_certificate_that_should_not_be_shown_is_refused_at_the_start(
    config: Config, identities: Identities, tmp_path: Path, wrong: str
) -> None:
    own = tmp_path / "own"
    match wrong:
        case "readable":
            (own / "svid.key").chmod(0o644)
        case "other key":
            shutil.copy(identities.write(GATE, "x")[1], own / "svid.key")
        case "no svid":
            identities.write(SERVER, "own", malformed="two-ids")
        case "untrusted":
            other = Identities(tmp_path, "other.test")
            other.write("spiffe://other.test/pdp", "own")
        case "missing":
            (own / "svid.pem").unlink()
    with pytest.raises(PdpError) as refusal, running(config):
        pass
    assert refusal.value.code == "invalid_file"


# ---- Unix sockets


def test_a_unix_socket_is_its_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "run" / "pdp.sock"
    uid = os.geteuid()
    config = development(
        tmp_path,
        development={},
        listen=[{"address": f"unix:{path}"}],
        peps={f"uid:{uid}": {}},
        roles={"grants": [f"uid:{uid}"]},
    )
    with running(config) as server, channel(server.address) as opened:
        assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
        assert call(opened, *WHO).startswith(f"uid:{uid} unix ".encode())
        assert call(opened, "/test.Echo/Grants", b"x") == b"x"
        assert refused(opened, "/test.Echo/Admin") == "PERMISSION_DENIED not_permitted"
        with pytest.raises(PdpError, match="another process listens there"), running(config):
            pass
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a socket away")
def test_a_socket_for_another_user_belongs_to_that_user(tmp_path: Path) -> None:
    path = tmp_path / "run" / "pdp.sock"
    config = development(tmp_path, development={}, listen=[{"address": f"unix:{path}", "uid": 65534}])
    with running(config):
        assert (path.stat().st_uid, path.parent.stat().st_uid) == (65534, 65534)
        assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("wrong", ["open folder", "a file"])
def test_a_socket_in_a_place_that_is_not_ours_is_refused(tmp_path: Path, wrong: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    if wrong == "open folder":
        folder.chmod(0o755)
    else:
        (folder / "pdp.sock").write_text("precious")
    config = development(tmp_path, development={}, listen=[{"address": f"unix:{folder}/pdp.sock"}])
    with pytest.raises(PdpError) as refusal, running(config):
        pass
    assert refusal.value.code == "invalid_file"


def test_a_listener_serves_its_own_services_only(tmp_path: Path, identities: Identities) -> None:
    config = production(
        tmp_path, identities, listen=[{"address": "127.0.0.1:0", "trust_domain": DOMAIN, "services": ["decision"]}]
    )
    ann = identities.credentials(f"spiffe://{DOMAIN}/ops/ann")
    with running(config) as server, channel(server.address, ann) as opened:
        assert refused(opened, "/test.Echo/Admin") == "UNIMPLEMENTED unknown_method"
