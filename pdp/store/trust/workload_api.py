"""The SPIFFE Workload API as a source of trust and of our own SVID, as two streams that never end by themselves (B-9).

The `spiffe` package brings the protocol's messages and stubs, and that is what is used of it. Its client would parse keys by
rules laxer than ours, hide revocation lists, and retry a denial without telling anyone. Here every message is the whole
state, read by the same readers as any other document, and is taken as a whole or not at all.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from spiffe._proto import workload_pb2, workload_pb2_grpc

from pdp.errors import PdpError
from pdp.identity import STRICT, Options, Refused, TrustBundle, VerifiedToken, make_bundle, stale_after_us
from pdp.identity.trust import NEVER
from pdp.store.trust.holder import Trust
from pdp.store.trust.workload_messages import OwnSvid, TokenState, X509State, read_tokens_message, read_x509_message

SOURCE = "workload-api"
METADATA = (("workload.spiffe.io", "true"),)
SOCKET_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
MESSAGE_BYTES_MAX = 4 << 20

_BACKOFF_S, _BACKOFF_S_MAX = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that an operator should know: which stream, a code, and words."""

    stream: str
    code: str
    message: str = ""


def socket_from_environment() -> str | None:
    return os.environ.get(SOCKET_VARIABLE) or None


class WorkloadApi:
    """Keeps `trust` and `own` as the Workload API says. Start it after forking, and close it."""

    def __init__(
        self,
        socket: str,
        trust: Trust,
        *,
        report: Callable[[Event], None] = lambda _: None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        options: Options = STRICT,
        stale_us: int | None = None,
        domains: Collection[str] | None = None,
        tokens: bool = True,
    ) -> None:
        """`domains` are those whose bundles are taken; all that it tells of where none are named. Without `tokens` it is
        asked about certificates alone."""
        self._wants_tokens = tokens
        self._domains = None if domains is None else frozenset(domains)
        self._target = _target(socket)
        self._trust = trust
        self._report = report
        self._clock = clock
        self._options = options
        self._stale_us = stale_after_us(None) if stale_us is None else stale_us
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._told = threading.Condition(self._lock)
        self._x509: X509State | None = None
        self._tokens: TokenState | None = None
        self._retrieved_us = 0
        self._silent: dict[str, int] = {}  # streams in doubt, and until when what they said may be relied on
        self._channel: Any = None
        self._calls: dict[str, Any] = {}
        self._threads: list[threading.Thread] = []

    @property
    def own(self) -> tuple[OwnSvid, ...]:
        """Our own SVIDs of now, the default one first; none before the first message or after a denial."""
        state = self._x509
        return () if state is None else state.own

    def knows(self, trust_domain: str) -> bool:
        """Whether it has told a bundle of this domain, wanted or not."""
        x509, tokens = self._x509, self._tokens
        return (x509 is not None and trust_domain in x509.authorities) or (
            tokens is not None and trust_domain in tokens.keys
        )

    def want(self, domains: Collection[str]) -> None:
        """From now on the bundles of these domains are taken, and of no others."""
        with self._told:
            self._domains = frozenset(domains)
            self._put(self._x509, self._tokens, self._silent)

    def start(self) -> None:
        self._channel = grpc.insecure_channel(
            self._target,
            options=[("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)],
        )
        stub = workload_pb2_grpc.SpiffeWorkloadAPIStub(self._channel)  # type: ignore[no-untyped-call]  # generated code
        streams = {
            "x509": (lambda: stub.FetchX509SVID(workload_pb2.X509SVIDRequest(), metadata=METADATA), self._take_x509),
            "jwt": (lambda: stub.FetchJWTBundles(workload_pb2.JWTBundlesRequest(), metadata=METADATA), self._take_tokens),
        }
        if not self._wants_tokens:
            del streams["jwt"]
        for name, (call, take) in streams.items():
            thread = threading.Thread(target=self._follow, args=(name, call, take), name=f"workload-api-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)  # one that could not be started is not waited for

    def close(self) -> None:
        self._closing.set()
        for call in list(self._calls.values()):
            call.cancel()
        if self._channel is not None:
            self._channel.close()
        for thread in self._threads:
            thread.join()

    def wait_ready(self, timeout_s: float) -> bool:
        """Whether each stream has said what it knows within this time."""
        with self._told:
            return self._told.wait_for(self._is_ready, timeout_s)

    def _is_ready(self) -> bool:
        return self._x509 is not None and (self._tokens is not None or not self._wants_tokens)

    def confirm(self, token: str, audience: str, verified: VerifiedToken, timeout_s: float = 5.0) -> None:
        """J-10: asks the Workload API, too, about a token that our own rules accept."""
        stub = workload_pb2_grpc.SpiffeWorkloadAPIStub(self._channel)  # type: ignore[no-untyped-call]  # generated code
        request = workload_pb2.ValidateJWTSVIDRequest(audience=audience, svid=token)
        try:
            told = stub.ValidateJWTSVID(request, metadata=METADATA, timeout=timeout_s).spiffe_id
        except grpc.RpcError as error:
            status = _status(error)
        else:
            status = None
        if status is not None and status is not grpc.StatusCode.INVALID_ARGUMENT:
            raise PdpError("trust_unavailable", f"the Workload API answers {status.name}")
        if status is not None or told != str(verified.id):
            raise Refused("workload_api_disagrees")

    # ---- one stream, forever

    def _follow(self, name: str, call: Callable[[], Any], take: Callable[[Any], None]) -> None:
        """INVARIANT: as long as this thread is needed it does not end, or what it said would be believed for ever."""
        backoff_s = _BACKOFF_S
        while not self._closing.is_set():
            taken = False
            try:
                self._calls[name] = stream = call()
                for message in _until_closed(stream, self._closing):
                    taken = self._take(name, take, message)
                    if not taken:  # what is wrong only now, as by the clock, is told again to who asks again
                        stream.cancel()
                        break
                status = grpc.StatusCode.UNAVAILABLE
            except grpc.RpcError as error:
                status = _status(error)
            except Exception as error:  # noqa: BLE001  # the clock, or a channel that was closed under us
                status = self._broken(name, error)
            if self._closing.is_set() or not self._goes_on(name, status):
                return
            if taken:
                backoff_s = _BACKOFF_S
            self._closing.wait(backoff_s)
            backoff_s = min(2 * backoff_s, _BACKOFF_S_MAX)

    def _broken(self, name: str, error: Exception) -> grpc.StatusCode:
        """A message may be lost with this, so the stream is ended: the next one begins with the whole state."""
        if not self._closing.is_set():
            self._report(_failed(name, error))
        if name in self._calls:
            self._calls[name].cancel()
        return grpc.StatusCode.INTERNAL

    def _goes_on(self, name: str, status: grpc.StatusCode) -> bool:
        try:
            return self._lost(name, status)
        except Exception as error:  # noqa: BLE001  # the clock: nothing is decided until it goes on
            self._report(_failed(name, error))
            return True

    def _take(self, name: str, take: Callable[[Any], None], message: Any) -> bool:
        """A message is taken whole; one that is wrong is discarded, and what was known stays. Whether it was taken."""
        try:
            take(message)
        except Exception as error:  # noqa: BLE001  # a bundle, the clock, or a fault of ours
            self._report(_failed(name, error))
        else:
            return True
        return False

    def _lost(self, name: str, status: grpc.StatusCode) -> bool:
        """What the end of a stream means for what we hold, and whether to try again."""
        self._report(Event(name, status.name.lower()))
        if status is grpc.StatusCode.PERMISSION_DENIED:  # we are nobody here any more
            with self._lock:
                self._x509 = self._tokens = None
                self._silent.clear()
                self._trust.replace_source(SOURCE, ())
            return True
        self._doubt(name)
        return status is not grpc.StatusCode.INVALID_ARGUMENT

    def _doubt(self, name: str) -> None:
        """A stream is down, or says what cannot be taken: what it said before is relied on for a while, and no longer."""
        try:
            now = self._clock()
        except PdpError as problem:  # the next attempt that fails asks it again
            self._report(Event(name, problem.code, str(problem)))
            return
        with self._lock:
            bound_us = self._silent.setdefault(name, now + self._stale_us)
            self._trust.bound_source(SOURCE, bound_us)

    # ---- what a message changes

    def _take_x509(self, message: Any) -> None:
        state = read_x509_message(message, self._clock(), self._options)
        with self._told:
            self._swap("x509", state, self._tokens)

    def _take_tokens(self, message: Any) -> None:
        state = read_tokens_message(message)
        with self._told:
            self._swap("jwt", self._x509, state)

    def _swap(self, stream: str, x509: X509State | None, tokens: TokenState | None) -> None:
        """Both streams together are the state of this source. A domain keeps one bundle, made of what each says; it is as
        fresh as can be while both are up, and bounded by one that is down."""
        silent = {name: bound_us for name, bound_us in self._silent.items() if name != stream}
        self._put(x509, tokens, silent)
        self._x509, self._tokens, self._silent = x509, tokens, silent
        self._told.notify_all()

    def _put(self, x509: X509State | None, tokens: TokenState | None, silent: Mapping[str, int]) -> None:
        self._retrieved_us = max(self._retrieved_us + 1, self._clock())
        told = _bundles(x509, tokens, self._retrieved_us, min(silent.values(), default=NEVER))
        wanted = self._domains
        self._trust.replace_source(SOURCE, (b for b in told if wanted is None or b.trust_domain in wanted))


def _bundles(
    x509: X509State | None, tokens: TokenState | None, retrieved_us: int, fresh_until_us: int
) -> Iterator[TrustBundle]:
    certificates: Mapping[str, Any] = {} if x509 is None else x509.authorities
    keys: Mapping[str, Any] = {} if tokens is None else tokens.keys
    for domain in sorted({*certificates, *keys}):
        yield make_bundle(
            domain,
            SOURCE,
            retrieved_us,
            certificates=certificates.get(domain, ()),
            token_keys=keys.get(domain, {}),
            revocation_lists=() if x509 is None else x509.revocation_lists,
            fresh_until_us=fresh_until_us,
        )


def _until_closed(stream: Any, closing: threading.Event) -> Iterator[Any]:
    for message in stream:
        if closing.is_set():
            return
        yield message


def _failed(stream: str, error: Exception) -> Event:
    """A fault of ours is told by its type alone: its words may hold what was presented."""
    if isinstance(error, (Refused, PdpError)):
        return Event(stream, error.code, str(error))
    return Event(stream, "fault", type(error).__name__)


def _status(error: grpc.RpcError) -> grpc.StatusCode:
    code = error.code() if isinstance(error, grpc.Call) else None
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN


def _target(socket: str) -> str:
    """A Unix socket as a gRPC target. Others are refused: over TCP nobody knows who asks."""
    path = socket.removeprefix("unix:")
    if not path.startswith("/"):
        raise PdpError("invalid_argument", "the Workload API is asked on a Unix socket: `unix:///run/…/agent.sock`")
    return "unix:/" + path.lstrip("/")
