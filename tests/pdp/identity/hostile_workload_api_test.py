"""Finding F15: a Workload API that says what none would, on a real socket. It is believed in nothing, and ends nothing."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

grpc = pytest.importorskip("grpc")
pytest.importorskip("spiffe")

from pdp.errors import PdpError  # noqa: E402
from pdp.identity import NEVER  # noqa: E402
from pdp.identity.dev.certificates import changed  # noqa: E402
from pdp.identity.dev.malformed_svids import SvidShape  # noqa: E402
from pdp.store.trust.workload_api import MESSAGE_BYTES_MAX, Event, WorkloadApi  # noqa: E402
from tests.pdp.identity.workload_api_test import (  # noqa: E402
    WAIT_S,
    Watched,
    jwt_message,
    own_svid,
    x509_message,
)
from tests.pdp.identity.world import DOMAIN, HOUR, ID, KEY, NOW, SECOND, WORLD, domain  # noqa: E402

X509, JWT = "/SpiffeWorkloadAPI/FetchX509SVID", "/SpiffeWorkloadAPI/FetchJWTBundles"
GOOD_X509, GOOD_JWT = x509_message().SerializeToString(), jwt_message().SerializeToString()

Answers = Callable[[int], Iterator[bytes]]


class Raw(grpc.GenericRpcHandler):  # type: ignore[misc]  # not typed
    """Answers each method with bytes of the test's choice: `answers(n)` for the nth time that it is asked."""

    def __init__(self, **answers: Answers) -> None:
        self._answers = {X509: answers.get("x509", good(GOOD_X509)), JWT: answers.get("jwt", good(GOOD_JWT))}
        self._asked = {X509: itertools.count(), JWT: itertools.count()}

    def service(self, details: Any) -> Any:
        number = next(self._asked[details.method])

        def stream(_: bytes, context: Any) -> Iterator[bytes]:
            over = threading.Event()
            context.add_callback(over.set)
            yield from self._answers[details.method](number)
            over.wait(WAIT_S)

        def ending(_: bytes, context: Any) -> Iterator[bytes]:
            try:
                yield from self._answers[details.method](number)
            except EndOfStream:
                context.abort(grpc.StatusCode.UNAVAILABLE, "as the test wants")

        kept = stream if not getattr(self._answers[details.method], "ends", False) else ending
        return grpc.unary_stream_rpc_method_handler(kept, None, None)


class EndOfStream(Exception):
    pass


def good(message: bytes) -> Answers:
    return lambda _: iter([message])


def first_good(message: bytes, other: bytes) -> Answers:
    """Good once, and never again, however often it is asked."""
    return lambda n: iter([message, other] if n == 0 else [other])


class Watching:
    def __init__(self, folder: Path, raw: Raw) -> None:
        self.trust, self.events = Watched(), queue.Queue[Event]()
        self.server = grpc.server(ThreadPoolExecutor(8), handlers=(raw,), options=[("grpc.max_send_message_length", -1)])
        self.server.add_insecure_port(f"unix:{folder}/agent.sock")
        self.server.start()
        self.clock: Callable[[], int] = lambda: NOW
        self.api = WorkloadApi(f"unix:{folder}/agent.sock", self.trust, report=self.events.put, clock=lambda: self.clock())
        self.api.start()

    def told(self, code: str) -> Event:
        while True:
            found = self.events.get(timeout=WAIT_S)
            if found.code == code:
                return found

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self.api._threads)


@contextmanager
def watching(folder: Path, **answers: Answers) -> Iterator[Watching]:
    found = Watching(folder, Raw(**answers))
    try:
        yield found
    finally:
        found.api.close()
        found.server.stop(None).wait()


def of_shape(**changes: Any) -> bytes:
    """A message with a leaf that differs from a good one."""
    shape = WORLD.shape(ID, NOW, HOUR)
    made = WORLD.issue(SvidShape(changed(shape.leaf, **changes), shape.intermediate), KEY.public_key())
    return bytes(x509_message(own_svid(x509_svid=b"".join(made))).SerializeToString())


def of_intermediate(**changes: Any) -> bytes:
    shape = WORLD.shape(ID, NOW, HOUR)
    made = WORLD.issue(SvidShape(shape.leaf, changed(shape.intermediate, **changes)), KEY.public_key())
    return bytes(x509_message(own_svid(x509_svid=b"".join(made))).SerializeToString())


OTHER = domain("other.test")

#: Messages that arrive whole, and what they are refused for.
REFUSED: dict[str, tuple[str, bytes]] = {
    "another domain in the leaf": ("no_bundle", of_shape(uris=("spiffe://other.test/x",))),
    "an intermediate of another domain": ("issuer_of_other_domain", of_intermediate(uris=("spiffe://other.test",))),
    "an intermediate that is none": ("issuer_not_ca", of_intermediate(is_ca=False, path_length=None)),
    "a leaf that is a CA": ("leaf_is_ca", of_shape(is_ca=True)),
    "an authority of another domain": (
        "untrusted_issuer",
        x509_message(own_svid(bundle=OTHER.root.der)).SerializeToString(),
    ),
    "no text for an id": ("bundle_wrong_domain", x509_message(own_svid(spiffe_id="spiffe://\x00/")).SerializeToString()),
    "empty": ("update_incomplete", b""),
    "fields that nobody knows": ("update_incomplete", b"\xfa\x7f\x03abc" * 10),
    "a million certificates": (
        "bundle_too_large",
        x509_message(own_svid(bundle=b"\x30\x00" * 1_000_000)).SerializeToString(),
    ),
    "a message of the other stream": ("update_incomplete", GOOD_JWT),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_bounds_what_was_said_before(name: str, tmp_path: Path) -> None:
    code, message = REFUSED[name]
    with watching(tmp_path, x509=first_good(GOOD_X509, message)) as found:
        assert found.told(code).stream == "x509"
        store = found.trust.wait(lambda s: bool(s.bundles) and s.bundles[DOMAIN].fresh_until_us == NOW + 900 * SECOND)
        assert store.bundles[DOMAIN].authorities == (WORLD.root.certificate,)
        assert found.alive()


#: Bytes that are no message: the stream is lost, and asked for again.
LOST: dict[str, tuple[str, bytes]] = {
    "garbage": ("internal", b"\xff" * 50),
    "cut off": ("internal", GOOD_X509[:-7]),
    "huge": ("resource_exhausted", x509_message(own_svid(hint="a" * MESSAGE_BYTES_MAX)).SerializeToString()),
}


@pytest.mark.parametrize("name", LOST)
def test_bytes_that_are_no_message(name: str, tmp_path: Path) -> None:
    code, raw = LOST[name]
    with watching(tmp_path, x509=lambda n: iter([raw] if n < 2 else [GOOD_X509])) as found:
        assert found.told(code).stream == "x509"
        assert found.told(code).stream == "x509"
        assert found.api.wait_ready(WAIT_S)
        found.trust.wait(lambda s: DOMAIN in s.bundles and s.bundles[DOMAIN].fresh_until_us == NEVER)
        assert found.alive()


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    with watching(tmp_path, x509=lambda _: iter([])) as found:
        found.trust.wait(lambda s: DOMAIN in s.bundles)
        assert not found.api.wait_ready(0.01)
        assert found.api.own == ()
        assert not found.trust.current.bundles[DOMAIN].authorities


def test_streams_that_end_at_once(tmp_path: Path) -> None:
    """They are asked again, and what they said goes stale if they end for good."""

    def ends(number: int) -> Iterator[bytes]:
        yield GOOD_X509
        raise EndOfStream

    ends.ends = True  # type: ignore[attr-defined]
    with watching(tmp_path, x509=ends) as found:
        for _ in range(3):
            assert found.told("unavailable").stream == "x509"
        assert found.alive()
        assert found.api.own


def test_one_that_is_right_again_is_believed_again(tmp_path: Path) -> None:
    """It is asked again, without waiting for a message that may come in half an hour."""
    answers = {0: [GOOD_X509, b""], 1: [b"\xfa\x7f\x03abc"], 2: [GOOD_X509, GOOD_JWT, GOOD_X509]}
    last = x509_message(federated={}).SerializeToString()
    with watching(tmp_path, x509=lambda n: iter(answers.get(n, [GOOD_X509, last]))) as found:
        found.trust.wait(lambda s: set(s.bundles) == {DOMAIN} and s.bundles[DOMAIN].fresh_until_us == NEVER)
        assert found.alive()


@pytest.mark.parametrize("error", [PdpError("clock_stepped_back", "the wall clock is behind"), RuntimeError("x")])
def test_a_failure_while_a_message_is_taken_ends_no_thread(error: Exception, tmp_path: Path) -> None:
    """It ended the thread: what the stream had said was fresh for ever, whatever it said next."""
    gate = threading.Event()

    def messages(_: int) -> Iterator[bytes]:
        yield GOOD_X509
        gate.wait(WAIT_S)
        yield GOOD_X509
        yield x509_message(federated={}).SerializeToString()

    with watching(tmp_path, x509=messages) as found:
        assert found.api.wait_ready(WAIT_S)
        fails = iter([error])

        def clock() -> int:
            for each in fails:
                raise each
            return NOW

        found.clock = clock
        gate.set()
        found.told(error.code if isinstance(error, PdpError) else "fault")
        found.trust.wait(lambda s: set(s.bundles) == {DOMAIN})
        assert found.alive()
