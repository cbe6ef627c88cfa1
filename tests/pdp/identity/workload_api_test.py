"""B-9, X-13, J-10: the Workload API, against a real gRPC server on a Unix socket that says what a test wants."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

grpc = pytest.importorskip("grpc")
pytest.importorskip("spiffe")

from spiffe._proto import workload_pb2 as pb  # noqa: E402
from spiffe._proto import workload_pb2_grpc  # noqa: E402

from pdp.errors import PdpError  # noqa: E402
from pdp.identity import NEVER, Refused, TrustStore, verify_jwt_svid, verify_x509_svid  # noqa: E402
from pdp.identity.dev.certificates import revocation_list  # noqa: E402
from pdp.identity.dev.domain import DevDomain  # noqa: E402
from pdp.identity.dev.tokens import bundle_document, public_jwk  # noqa: E402
from pdp.store.trust import Trust  # noqa: E402
from pdp.store.trust.workload_api import SOURCE, Event, WorkloadApi, socket_from_environment  # noqa: E402
from tests.pdp.identity.world import AUDIENCE, DOMAIN, HOUR, ID, KEY, NOW, SECOND, WORLD, domain, key, refused  # noqa: E402

WAIT_S = 20
PARTNER = domain("partner.test")
OWN_KEY = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
ROTATED = domain()


class Agent(workload_pb2_grpc.SpiffeWorkloadAPIServicer):  # type: ignore[misc]  # generated code
    """Each stream sends what is put into its queue: a message, or a status that ends it."""

    def __init__(self) -> None:
        self.x509: queue.Queue[Any] = queue.Queue()
        self.jwt: queue.Queue[Any] = queue.Queue()
        self.confirms = ID
        self.calls: list[tuple[str, bool]] = []
        self.called = threading.Condition()

    def asked(self, stream: str) -> int:
        """How many times a stream was asked for."""
        return [name for name, _ in self.calls].count(stream)

    def _stream(self, name: str, source: queue.Queue[Any], context: Any) -> Iterator[Any]:
        with self.called:
            self.calls.append((name, ("workload.spiffe.io", "true") in context.invocation_metadata()))
            self.called.notify_all()
        context.add_callback(lambda: source.put(None))
        while True:
            told = source.get()
            if not context.is_active():
                if told is not None:
                    source.put(told)  # it was for the stream after this one
                return
            if told is None:
                continue
            if isinstance(told, grpc.StatusCode):
                context.abort(told, "as the test wants")
            yield told

    def FetchX509SVID(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802  # the protocol's name
        yield from self._stream("x509", self.x509, context)

    def FetchJWTBundles(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802  # the protocol's name
        yield from self._stream("jwt", self.jwt, context)

    def ValidateJWTSVID(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        if not self.confirms:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        if self.confirms == "down":
            context.abort(grpc.StatusCode.UNAVAILABLE, "no")
        return pb.ValidateJWTSVIDResponse(spiffe_id=self.confirms)


class Watched(Trust):
    """Tells when it was changed, so that a test can wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def _swap(self, change: Callable[[TrustStore], TrustStore]) -> None:
        super()._swap(change)
        with self.changed:
            self.changed.notify_all()

    def wait(self, holds: Callable[[TrustStore], bool]) -> TrustStore:
        with self.changed:
            assert self.changed.wait_for(lambda: holds(self.current), WAIT_S)
        return self.current


class Stage:
    def __init__(self, folder: Path) -> None:
        self.agent, self.trust, self.events = Agent(), Watched(), queue.Queue[Event]()
        self.server = grpc.server(ThreadPoolExecutor(8))
        workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(self.agent, self.server)
        self.socket = f"unix://{folder}/agent.sock"
        self.server.add_insecure_port(f"unix:{folder}/agent.sock")
        self.server.start()
        self.now = NOW
        self.api = WorkloadApi(self.socket, self.trust, report=self.events.put, clock=lambda: self.now)
        self.api.start()

    def ready(self) -> None:
        self.agent.x509.put(x509_message())
        self.agent.jwt.put(jwt_message())
        assert self.api.wait_ready(WAIT_S)

    def event(self, code: str) -> Event:
        """The next event with this code."""
        while True:
            found = self.events.get(timeout=WAIT_S)
            if found.code == code:
                return found

    def close(self) -> None:
        self.api.close()
        self.server.stop(None).wait()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    try:
        yield made
    finally:
        made.close()


def own_svid(of: DevDomain = WORLD, name: str = ID, **changes: Any) -> Any:
    fields = {
        "spiffe_id": name,
        "x509_svid": b"".join(of.certificates(name, KEY.public_key(), NOW, HOUR)),
        "x509_svid_key": OWN_KEY,
        "bundle": of.root.der,
        "hint": "internal",
    }
    return pb.X509SVID(**{**fields, **changes})


def x509_message(*svids: Any, federated: dict[str, bytes] | None = None, crl: tuple[bytes, ...] = ()) -> Any:
    partner = {"spiffe://partner.test": PARTNER.root.der} if federated is None else federated
    return pb.X509SVIDResponse(svids=svids or (own_svid(),), federated_bundles=partner, crl=crl)


def jwt_message(**bundles: bytes) -> Any:
    named = {f"spiffe://{k.replace('_', '.')}": v for k, v in bundles.items()}
    return pb.JWTBundlesResponse(bundles=named or {f"spiffe://{DOMAIN}": WORLD.bundle_document()})


def test_what_both_streams_say(stage: Stage) -> None:
    stage.ready()
    store = stage.trust.current
    assert set(store.bundles) == {DOMAIN, "partner.test"}
    assert {b.source for b in store.bundles.values()} == {SOURCE}
    assert verify_x509_svid(WORLD.certificates(ID, KEY.public_key(), NOW, HOUR), store, NOW)
    assert verify_x509_svid(PARTNER.certificates("spiffe://partner.test/x", KEY.public_key(), NOW, HOUR), store, NOW)
    assert verify_jwt_svid(WORLD.token(ID, AUDIENCE, NOW, HOUR), AUDIENCE, store, NOW)
    assert sorted(stage.agent.calls) == [("jwt", True), ("x509", True)]
    (own,) = stage.api.own
    assert (str(own.id), own.not_after_us, own.hint) == (ID, NOW + HOUR, "internal")
    assert OWN_KEY.hex()[:40] not in repr(own)
    assert repr(OWN_KEY)[2:40] not in repr(own)


def test_keys_without_use_are_for_tokens_here(stage: Stage) -> None:
    """B-2: the channel says what they are for."""
    import json

    document = json.loads(WORLD.bundle_document())
    entries = [{k: v for k, v in e.items() if k != "use"} for e in document["keys"] if e["use"] == "jwt-svid"]
    stage.agent.x509.put(x509_message())
    stage.agent.jwt.put(jwt_message(dev_test=json.dumps({"keys": entries}).encode()))
    assert stage.api.wait_ready(WAIT_S)
    assert verify_jwt_svid(WORLD.token(ID, AUDIENCE, NOW, HOUR), AUDIENCE, stage.trust.current, NOW)


def test_rotation_is_one_swap(stage: Stage) -> None:
    stage.ready()
    before = stage.trust.current
    stage.agent.x509.put(x509_message(own_svid(ROTATED)))
    after = stage.trust.wait(lambda s: s.bundles[DOMAIN].version != before.bundles[DOMAIN].version)
    assert after.epoch == before.epoch + 1
    old = WORLD.certificates(ID, KEY.public_key(), NOW, HOUR)
    refused("untrusted_issuer", lambda: verify_x509_svid(old, after, NOW))
    assert verify_x509_svid(old, before, NOW), "who holds the snapshot keeps it"
    with stage.api._told:
        assert stage.api._told.wait_for(lambda: stage.api.own[0].certificates[1] == ROTATED.intermediate.der, WAIT_S)


def test_each_message_is_the_whole_state(stage: Stage) -> None:
    stage.ready()
    stage.agent.x509.put(x509_message(federated={}))
    store = stage.trust.wait(lambda s: "partner.test" not in s.bundles)
    refused("no_bundle", lambda: store.bundle_for("partner.test", NOW))


def test_an_emptied_federated_bundle_revokes(stage: Stage) -> None:
    stage.ready()
    stage.agent.x509.put(x509_message(federated={"spiffe://partner.test": b""}))
    store = stage.trust.wait(lambda s: s.bundles["partner.test"].is_empty)
    refused("bundle_revoked", lambda: store.bundle_for("partner.test", NOW))


def _keys(count: int, of: str = "") -> bytes:
    entry = public_jwk(KEY, use="jwt-svid")
    return bundle_document({**entry, "kid": f"{of}{n}"} for n in range(count))


@pytest.mark.parametrize(
    "error", [PdpError("clock_stepped_back", "set back"), ValueError("a fault")], ids=["clock", "fault"]
)
def test_a_stream_goes_on_after_a_message_that_could_not_be_taken(stage: Stage, error: Exception) -> None:
    """A brother of finding S8: the thread of the stream ended without a word, and what it had said was believed for ever."""

    def broken() -> int:
        raise error

    stage.ready()
    before, clock = stage.trust.current.bundles[DOMAIN].version, stage.api._clock
    stage.api._clock = broken
    stage.agent.x509.put(x509_message(own_svid(ROTATED)))
    assert stage.event(getattr(error, "code", "fault")).stream == "x509"
    stage.api._clock = clock
    with stage.agent.called:  # what is put before this may still be sent on the stream that was ended
        assert stage.agent.called.wait_for(lambda: stage.agent.asked("x509") > 1, WAIT_S)
    stage.agent.x509.put(x509_message(own_svid(ROTATED)))
    stage.trust.wait(lambda store: store.bundles[DOMAIN].version != before)


OTHER_KEY = key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

DISCARDED: dict[str, tuple[str, str, Any]] = {
    "no svids": ("x509", "update_incomplete", pb.X509SVIDResponse()),
    "no id": ("x509", "update_incomplete", x509_message(own_svid(spiffe_id=""))),
    "no certificate": ("x509", "update_incomplete", x509_message(own_svid(x509_svid=b""))),
    "no key": ("x509", "update_incomplete", x509_message(own_svid(x509_svid_key=b""))),
    "no bundle": ("x509", "update_incomplete", x509_message(own_svid(bundle=b""))),
    "another id": ("x509", "update_incomplete", x509_message(own_svid(spiffe_id=ID + "x"))),
    "another key": ("x509", "update_incomplete", x509_message(own_svid(x509_svid_key=OTHER_KEY))),
    "no key at all": ("x509", "update_incomplete", x509_message(own_svid(x509_svid_key=b"junk"))),
    "two bundles of a domain": (
        "x509",
        "update_incomplete",
        x509_message(own_svid(), own_svid(ROTATED, ID + "2")),
    ),
    "federated with ourselves": (
        "x509",
        "update_incomplete",
        x509_message(federated={f"spiffe://{DOMAIN}": PARTNER.root.der}),
    ),
    "certificate of another root": ("x509", "untrusted_issuer", x509_message(own_svid(bundle=PARTNER.root.der))),
    "bundle cut off": ("x509", "certificate_malformed", x509_message(own_svid(bundle=WORLD.root.der[:-1]))),
    "federated name": ("x509", "bundle_wrong_domain", x509_message(federated={"spiffe://A/b": PARTNER.root.der})),
    "revocation list": ("x509", "revocation_list_unsigned", x509_message(crl=(b"junk",))),
    "Finding F12: many certificates": (
        "x509",
        "bundle_too_large",
        x509_message(federated={f"d{n}.test": bytes([0x30, 2, 5, n]) * 500 for n in range(3)}),
    ),
    "Finding F12: many svids": ("x509", "bundle_too_large", x509_message(*[own_svid()] * 1001)),
    "Finding F12: many lists": ("x509", "bundle_too_large", x509_message(crl=(b"",) * 1001)),
    "a domain twice": (
        "x509",
        "update_incomplete",
        x509_message(federated={"partner.test": PARTNER.root.der, "spiffe://partner.test": PARTNER.root.der}),
    ),
    "Finding F12: many token bundles": (
        "jwt",
        "bundle_too_large",
        jwt_message(**{f"d{n}_test": b"{}" for n in range(1001)}),
    ),
    "Finding F12: many token keys": (
        "jwt",
        "bundle_too_large",
        jwt_message(a_test=_keys(600, "a"), b_test=_keys(600, "b")),
    ),
    "a token bundle twice": (
        "jwt",
        "update_incomplete",
        pb.JWTBundlesResponse(bundles={"a.test": _keys(1), "spiffe://a.test": _keys(1)}),
    ),
    "no token bundles": ("jwt", "update_incomplete", pb.JWTBundlesResponse()),
    "token bundle broken": ("jwt", "bundle_malformed", jwt_message(dev_test=b"{")),
    "token bundle without keys": ("jwt", "bundle_without_keys", jwt_message(dev_test=b"{}")),
}


@pytest.mark.parametrize("name", DISCARDED)
def test_a_message_that_is_wrong_is_discarded_and_told(name: str, stage: Stage) -> None:
    stream, code, message = DISCARDED[name]
    stage.ready()
    before, own = stage.trust.current, stage.api.own
    getattr(stage.agent, stream).put(message)
    event = stage.event(code)
    assert (event.stream, event.message.startswith(code)) == (stream, True)
    bound = NOW + 900 * SECOND  # as with a file that is spoiled
    after = stage.trust.wait(lambda s: {b.fresh_until_us for b in s.bundles.values()} == {bound})
    assert {d: b.version for d, b in after.bundles.items()} == {d: b.version for d, b in before.bundles.items()}
    assert stage.api.own == own
    with stage.agent.called:  # it is told again to who asks again
        assert stage.agent.called.wait_for(lambda: [n for n, _ in stage.agent.calls].count(stream) >= 2, WAIT_S)
    getattr(stage.agent, stream).put({"x509": x509_message, "jwt": jwt_message}[stream]())
    stage.trust.wait(lambda s: {b.fresh_until_us for b in s.bundles.values()} == {NEVER})


def test_a_denial_drops_everything(stage: Stage) -> None:
    stage.ready()
    stage.agent.x509.put(grpc.StatusCode.PERMISSION_DENIED)
    store = stage.trust.wait(lambda s: not s.bundles)
    assert stage.event("permission_denied").stream == "x509"
    assert stage.api.own == ()
    refused("no_bundle", lambda: store.bundle_for(DOMAIN, NOW))
    stage.agent.x509.put(x509_message())  # and it is asked again: the registration may come back
    stage.trust.wait(lambda s: bool(s.bundles))


def test_an_invalid_argument_is_not_asked_again(stage: Stage) -> None:
    stage.ready()
    stage.agent.x509.put(grpc.StatusCode.INVALID_ARGUMENT)
    stage.event("invalid_argument")
    stage.api._threads[0].join(WAIT_S)
    assert not stage.api._threads[0].is_alive()
    assert [name for name, _ in stage.agent.calls].count("x509") == 1


def test_silence_makes_stale_and_a_message_makes_fresh(stage: Stage) -> None:
    stage.ready()
    assert stage.trust.current.bundles[DOMAIN].fresh_until_us == NEVER
    stage.agent.x509.put(grpc.StatusCode.UNAVAILABLE)
    bound = NOW + 900 * SECOND
    store = stage.trust.wait(lambda s: s.bundles[DOMAIN].fresh_until_us == bound)
    refused("bundle_stale", lambda: store.bundle_for(DOMAIN, bound + 1))
    stage.now = NOW + SECOND
    stage.agent.jwt.put(jwt_message())  # the other stream says nothing about certificates
    stage.trust.wait(lambda s: s.bundles[DOMAIN].retrieved_us >= NOW + SECOND)
    assert stage.trust.current.bundles[DOMAIN].fresh_until_us == bound
    with stage.agent.called:
        assert stage.agent.called.wait_for(lambda: [n for n, _ in stage.agent.calls].count("x509") >= 2, WAIT_S)
    stage.agent.x509.put(x509_message())
    store = stage.trust.wait(lambda s: s.bundles[DOMAIN].fresh_until_us == NEVER)
    assert store.bundle_for(DOMAIN, bound + 1)


def test_revocation_lists_are_enforced(stage: Stage) -> None:
    """X-13."""
    from cryptography import x509

    chain = WORLD.certificates(ID + "/other", KEY.public_key(), NOW, HOUR)
    serial = x509.load_der_x509_certificate(chain[0]).serial_number
    crl = revocation_list(WORLD.intermediate, {serial: NOW}, NOW - HOUR, NOW + HOUR).public_bytes(Encoding.DER)
    stage.ready()
    assert verify_x509_svid(chain, stage.trust.current, NOW)
    stage.agent.x509.put(x509_message(crl=(crl,)))
    store = stage.trust.wait(lambda s: bool(s.bundles[DOMAIN].revocation_lists))
    refused("certificate_revoked", lambda: verify_x509_svid(chain, store, NOW))


def test_it_can_be_asked_about_a_token(stage: Stage) -> None:
    """J-10."""
    stage.ready()
    token = WORLD.token(ID, AUDIENCE, NOW, HOUR)
    verified = verify_jwt_svid(token, AUDIENCE, stage.trust.current, NOW)
    stage.api.confirm(token, AUDIENCE, verified)
    for answer in (ID + "x", ""):
        stage.agent.confirms = answer
        refused("workload_api_disagrees", lambda: stage.api.confirm(token, AUDIENCE, verified))
    stage.agent.confirms = "down"
    with pytest.raises(PdpError, match="trust_unavailable"):
        stage.api.confirm(token, AUDIENCE, verified)


def test_a_domain_of_another_source_stays_with_it(stage: Stage) -> None:
    """B-1."""
    from pdp.identity import Origin, read_jwks

    stage.trust.put([read_jwks("partner.test", PARTNER.bundle_document(), Origin("file", NOW, NEVER))])
    stage.agent.x509.put(x509_message())
    assert stage.event("bundle_of_other_source").stream == "x509"
    assert stage.trust.current.bundles["partner.test"].source == "file"


def test_only_unix_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("tcp://127.0.0.1:1", "agent.sock", ""):
        with pytest.raises(PdpError, match="invalid_argument"):
            WorkloadApi(address, Trust())
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///run/agent.sock")
    assert socket_from_environment() == "unix:///run/agent.sock"
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET")
    assert socket_from_environment() is None


def test_closing_before_anything_was_said(tmp_path: Path) -> None:
    api = WorkloadApi(f"unix://{tmp_path}/nobody.sock", Trust())
    api.start()
    api.close()
    assert not any(t.is_alive() for t in api._threads)


def test_refused_is_the_only_error_of_readers() -> None:
    from hypothesis import given, settings
    from hypothesis import strategies as st

    from pdp.identity import STRICT
    from pdp.store.trust.workload_messages import read_tokens_message, read_x509_message

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=60), st.text(max_size=20), st.sampled_from(["x509_svid", "x509_svid_key", "bundle"]))
    def any_bytes(raw: bytes, name: str, place: str) -> None:
        for read in (
            lambda: read_x509_message(x509_message(own_svid(**{place: raw})), NOW, STRICT),
            lambda: read_x509_message(x509_message(own_svid(spiffe_id=name)), NOW, STRICT),
            lambda: read_x509_message(x509_message(crl=(raw,)), NOW, STRICT),
            lambda: read_tokens_message(pb.JWTBundlesResponse(bundles={name: raw})),
        ):
            with pytest.raises(Refused):
                read()

    any_bytes()
