"""The floods of `bench.floods`, each as a program: `python -m bench.flood_kinds NAME ADDRESS FOLDER SECONDS`.

Each does harm from one process, over mutual TLS on loopback, for so many seconds, with the cores that others leave. A
`stranger` has a certificate of the trust domain and no role; a `caller` may ask for decisions. Frames are written by hand
where no client of gRPC would send them.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from pdp.wire.messages import PDP

DECISIONS = "/pdp.v1.DecisionService"
CHECK, CHECK_MANY = f"{DECISIONS}/Check", f"{DECISIONS}/CheckMany"
STRANGER, CALLER = "stranger", "caller"
CONNECTIONS = 4

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS, NO_FLAGS = 1, 4, 0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def block(path: str, *more: tuple[str, str]) -> bytes:
    """The headers of a call, in HPACK's plainest form."""
    said = [(":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "pdp"), ("te", "trailers")]
    return b"".join(b"\0" + _text(n) + _text(v) for n, v in [*said, ("content-type", "application/grpc"), *more])


def _text(text: str) -> bytes:
    raw = text.encode()
    return _integer(len(raw)) + raw


def _integer(n: int, prefix: int = 127) -> bytes:
    if n < prefix:
        return bytes([n])
    out, n = bytes([prefix]), n - prefix
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def message(raw: bytes, length: int | None = None) -> bytes:
    """A message as gRPC frames it; `length` is what it says of itself, where that is not so."""
    return b"\0" + (len(raw) if length is None else length).to_bytes(4, "big") + raw


# ---- places


class Place:
    """The decision point, and who comes to it."""

    def __init__(self, address: str, folder: Path, seconds: float) -> None:
        self.address, self.folder, self.ends = address, folder, time.monotonic() + seconds

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.ends

    def context(self, who: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca" / "bundle.pem"))
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        if who is not None:
            svid = self.folder / "svids" / who
            context.load_cert_chain(svid / "svid.pem", svid / "svid.key")
        return context

    def tcp(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=5)

    def channel(self, who: str) -> grpc.Channel:
        svid = self.folder / "svids" / who
        read = [(self.folder / "ca" / "bundle.pem"), svid / "svid.key", svid / "svid.pem"]
        credentials = grpc.ssl_channel_credentials(*(each.read_bytes() for each in read))
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(self.address, credentials, [*options, ("grpc.ssl_target_name_override", "pdp.test")])


class Connection:
    """HTTP/2 by hand. What comes is read, and forgotten but for the windows."""

    def __init__(self, place: Place, who: str, settings: bytes = b"") -> None:
        self._socket = place.context(who).wrap_socket(place.tcp())
        self._socket.settimeout(5)
        self._stream = -1
        self._window, self._windows = 65_535, dict[int, int]()
        self._changed = threading.Condition()
        self._using = threading.Lock()  # OpenSSL's: one thread at a time
        self.ended = False
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, settings))
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, raw: bytes) -> None:
        if self.ended:
            raise ConnectionResetError
        with self._using:
            self._socket.sendall(raw)

    def next_stream(self) -> int:
        self._stream += 2
        return self._stream

    def send_data(self, stream: int, raw: bytes, flags: int = END_STREAM) -> None:
        """As much at a time as the server lets us."""
        at = 0
        while at < len(raw):
            with self._changed:
                take = min(self._window, self._windows.setdefault(stream, 65_535), 16_384, len(raw) - at)
                if take <= 0:
                    if self.ended or not self._changed.wait(1):
                        raise ConnectionResetError
                    continue
                self._window -= take
                self._windows[stream] -= take
            at += take
            self.send(frame(DATA, flags if at == len(raw) else NO_FLAGS, stream, raw[at - take : at]))

    def close(self) -> None:
        self.ended = True
        with self._using, suppress(OSError):
            self._socket.close()

    def _read(self) -> None:
        rest = b""
        with suppress(OSError, ValueError):
            while more := self._receive():
                rest += more
                while len(rest) >= 9 and len(rest) >= 9 + (length := int.from_bytes(rest[:3], "big")):
                    self._take(rest[3], int.from_bytes(rest[5:9], "big"), rest[9 : 9 + length])
                    rest = rest[9 + length :]
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _receive(self) -> bytes:
        while True:
            select.select([self._socket], [], [], 1)
            with self._using:
                self._socket.settimeout(0)
                try:
                    return self._socket.recv(65_536)
                except ssl.SSLWantReadError:
                    pass
                finally:
                    self._socket.settimeout(5)

    def _take(self, kind: int, stream: int, payload: bytes) -> None:
        if kind != WINDOW_UPDATE:
            return
        with self._changed:
            if stream:
                self._windows[stream] = self._windows.get(stream, 65_535) + int.from_bytes(payload, "big")
            else:
                self._window += int.from_bytes(payload, "big")
            self._changed.notify_all()


def on_connections(place: Place, who: str, act: Callable[[Connection], None], settings: bytes = b"") -> None:
    """Does it again and again on some connections at a time, and on new ones when these are closed."""

    def run() -> None:
        while place.goes_on:
            with suppress(OSError):
                connection = Connection(place, who, settings)
                try:
                    while place.goes_on:
                        act(connection)
                finally:
                    connection.close()

    in_threads(CONNECTIONS, run)


def in_threads(count: int, run: Callable[[], None]) -> None:
    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def again(who: str, raw: Callable[[Connection], bytes]) -> Callable[[Place], None]:
    """A flood of the same bytes."""
    return lambda place: on_connections(place, who, lambda connection: connection.send(raw(connection)))


def held(who: str, open_one: Callable[[Place], Any], most: int) -> Callable[[Place], None]:
    """Connections that are opened and say no more."""

    def run(place: Place) -> None:
        kept = []
        while place.goes_on:
            if len(kept) >= most:
                time.sleep(0.05)
                continue
            with suppress(OSError):
                kept.append(open_one(place))
        for each in kept:
            each.close()

    return run


# ---- frames


def _calls(connection: Connection, flags: int, then: Callable[[int], bytes], count: int = 50) -> bytes:
    out, headers = [], block(CHECK)
    for _ in range(count):
        stream = connection.next_stream()
        out += [frame(HEADERS, END_HEADERS | flags, stream, headers), then(stream)]
    return b"".join(out)


def _reset(stream: int) -> bytes:
    return frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))


def _whole_and_reset(stream: int) -> bytes:
    return frame(DATA, END_STREAM, stream, message(question("d1"))) + _reset(stream)


def continuation(place: Place, payload: bytes) -> None:
    def act(connection: Connection) -> None:
        stream = connection.next_stream()
        connection.send(frame(HEADERS, NO_FLAGS, stream, block(CHECK)))
        more = frame(CONTINUATION, NO_FLAGS, stream, payload) * (4 if payload else 1_000)
        while place.goes_on:
            connection.send(more)

    on_connections(place, STRANGER, act)


def hpack_bomb(connection: Connection) -> bytes:
    """One long header is remembered, and then said a thousand times in one byte each."""
    first = b"\x40" + _text("x-bomb") + _text("b" * 3_900)
    stream = connection.next_stream()
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block(CHECK) + first + b"\xbe" * 4_000)


def half_messages(size: int) -> Callable[[Place], None]:
    def run(place: Place) -> None:
        def act(connection: Connection) -> None:
            stream = connection.next_stream()
            connection.send(frame(HEADERS, END_HEADERS, stream, block(CHECK)))
            connection.send_data(stream, message(b"\0" * (size - 1), size), NO_FLAGS)

        on_connections(place, CALLER, act)

    return run


def zero_window(place: Place) -> None:
    """Batches whose answers may not be sent."""
    body = message(many(1_000))

    def act(connection: Connection) -> None:
        stream = connection.next_stream()
        connection.send(frame(HEADERS, END_HEADERS, stream, block(CHECK_MANY)))
        connection.send_data(stream, body)

    on_connections(place, CALLER, act, settings=(4).to_bytes(2, "big") + bytes(4))


# ---- connections


def slow_tls(place: Place) -> socket.socket:
    opened = place.tcp()
    opened.sendall(bytes.fromhex("1603010200010001fc0303"))  # the beginning of a ClientHello
    return opened


def tls_alone(place: Place) -> ssl.SSLSocket:
    return place.context(STRANGER).wrap_socket(place.tcp())


def without_certificate(place: Place) -> None:
    def run() -> None:
        while place.goes_on:
            with suppress(OSError), place.context(None).wrap_socket(place.tcp()) as opened:
                opened.recv(1)

    in_threads(CONNECTIONS, run)


def garbage(place: Place) -> None:
    def run() -> None:
        while place.goes_on:
            with suppress(OSError), place.context(STRANGER).wrap_socket(place.tcp()) as opened:
                opened.sendall(os.urandom(4_096))
                opened.recv(1)

    in_threads(CONNECTIONS, run)


def churn(place: Place) -> None:
    def run() -> None:
        while place.goes_on:
            with suppress(grpc.RpcError), place.channel(CALLER) as channel:
                channel.unary_unary(CHECK)(question("d1"), timeout=2)

    in_threads(CONNECTIONS, run)


# ---- calls of a client of gRPC


def question(document: str) -> bytes:
    asked = PDP.CheckRequest(action="read")
    asked.resource.type, asked.resource.id = "Document", document
    return bytes(asked.SerializeToString())


def many(count: int) -> bytes:
    asked = [PDP.CheckRequest.FromString(question(f"d{n}")) for n in range(count)]
    return bytes(PDP.CheckManyRequest(requests=asked).SerializeToString())


def many_values() -> bytes:
    """A question of 240 KB: names that no vocabulary knows, with lists of booleans."""
    asked = PDP.CheckRequest.FromString(question("d1"))
    for name in "abcdef":
        values = asked.context[f"unknown_{name}"].list_value.values
        for _ in range(9_900):
            values.add().bool_value = True
    return bytes(asked.SerializeToString())


def asked_at_once(
    method: str,
    requests: Callable[[int], bytes],
    at_once: int,
    timeout: float = 5.0,
    *,
    cancel: bool = False,
    who: str = CALLER,
) -> Callable[[Place], None]:
    """So many calls in flight, on a few channels."""

    def run(place: Place) -> None:
        room, channels = threading.Semaphore(at_once), [place.channel(who) for _ in range(CONNECTIONS)]
        calls, number = [channel.unary_unary(method) for channel in channels], 0
        while place.goes_on:
            if not room.acquire(timeout=1):
                continue
            future = calls[number % CONNECTIONS].future(requests(number), timeout=timeout)
            future.add_done_callback(lambda _: room.release())
            if cancel:
                future.cancel()
            number += 1
        for channel in channels:
            channel.close()

    return run


def streams(
    method: str, requests: Callable[[Place], Iterator[bytes]], count: int, *, unary: bool = False, read: bool = True
) -> Callable[[Place], None]:
    """So many streams at a time."""

    def run(place: Place) -> None:
        channels = [place.channel(CALLER) for _ in range(min(count, 100))]
        calls = []
        for number in range(count):
            if not place.goes_on:
                break
            channel = channels[number % len(channels)]
            if unary:
                calls.append(channel.unary_stream(method)(b"", timeout=60))
            else:
                calls.append(channel.stream_stream(method)(requests(place), timeout=60))

        def follow(call: Any) -> None:
            with suppress(grpc.RpcError):
                for _ in call:
                    pass

        if read and count <= 200:
            for call in calls:
                threading.Thread(target=follow, args=(call,), daemon=True).start()
        while place.goes_on:
            time.sleep(0.05)
        for channel in channels:
            channel.close()

    return run


def _endless(raw: bytes) -> Callable[[Place], Iterator[bytes]]:
    def requests(place: Place) -> Iterator[bytes]:
        while place.goes_on:
            yield raw

    return requests


def _once(raw: bytes) -> Callable[[Place], Iterator[bytes]]:
    def requests(place: Place) -> Iterator[bytes]:
        yield raw
        while place.goes_on:
            time.sleep(0.1)

    return requests


BIG_METADATA = (("x-big", "m" * 14_000),)
MANY_VALUES = many_values()
BATCH = many(1_000)

FLOODS: dict[str, Callable[[Place], None]] = {
    "rapid reset of half a call": again(STRANGER, lambda c: _calls(c, NO_FLAGS, _reset)),
    "rapid reset of an empty call": again(STRANGER, lambda c: _calls(c, END_STREAM, _reset)),
    "rapid reset of a whole call": again(CALLER, lambda c: _calls(c, NO_FLAGS, _whole_and_reset)),
    "CONTINUATION": lambda place: continuation(place, (b"\0" + _text("x-more") + _text("m" * 4_000)) * 4),
    "empty CONTINUATION": lambda place: continuation(place, b""),
    "SETTINGS": again(STRANGER, lambda _: frame(SETTINGS, 0, 0, b"\0\4\0\0\xff\xff") * 100),
    "empty SETTINGS": again(STRANGER, lambda _: frame(SETTINGS, 0, 0) * 100),
    "PING": again(STRANGER, lambda _: frame(PING, 0, 0, bytes(8)) * 100),
    "PRIORITY": again(STRANGER, lambda c: frame(PRIORITY, 0, c.next_stream(), bytes(5)) * 100),
    "WINDOW_UPDATE": again(STRANGER, lambda _: frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4, "big")) * 100),
    "unknown frames": again(STRANGER, lambda _: frame(0x42, 0, 0, bytes(100)) * 100),
    "empty DATA": again(CALLER, lambda c: _calls(c, NO_FLAGS, lambda s: frame(DATA, 0, s) * 100, 1)),
    "HPACK bomb": again(STRANGER, hpack_bomb),
    "half-open calls of a stranger": again(STRANGER, lambda c: _calls(c, NO_FLAGS, lambda _: b"", 100)),
    "half-open calls of a caller": again(CALLER, lambda c: _calls(c, NO_FLAGS, lambda _: b"", 100)),
    "half messages": half_messages(1_000),
    "half messages of 4 MiB": half_messages(4 << 20),
    "zero window": zero_window,
    "endless CheckStream": streams(f"{DECISIONS}/CheckStream", _endless(question("d1")), 8, read=False),
    "unknown methods": asked_at_once("/no.Such/Method", lambda _: b"", 50, who=STRANGER),
    "big metadata": again(STRANGER, lambda c: frame(HEADERS, 5, c.next_stream(), block(CHECK, *BIG_METADATA))),
    "garbage": garbage,
    "9,000 idle connections": held(STRANGER, lambda place: place.tcp(), 9_000),
    "3,000 slow handshakes": held(STRANGER, slow_tls, 3_000),
    "TLS without a certificate": without_certificate,
    "720 idle TLS connections": held(STRANGER, tls_alone, 720),
    "churn": churn,
    "CheckMany of 1,000": asked_at_once(CHECK_MANY, lambda _: BATCH, 70),
    "WatchEpoch, 150 that ask on": streams(f"{DECISIONS}/WatchEpoch", _endless(b""), 150),
    "WatchEpoch, 500 idle": streams(f"{DECISIONS}/WatchEpoch", _once(b""), 500),
    "Health/Watch, 10,800": streams("/grpc.health.v1.Health/Watch", _once(b""), 10_800, unary=True),
    "cancels": asked_at_once(CHECK, lambda n: question(f"d{n % 100}"), 100, cancel=True),
    "tiny deadlines": asked_at_once(CHECK, lambda n: question(f"d{n % 100}"), 100, timeout=0.001),
    "distinct questions": asked_at_once(CHECK, lambda n: question(f"q{n}"), 32),
    "many values": asked_at_once(CHECK, lambda _: MANY_VALUES, 20),
}


if __name__ == "__main__":
    name, address, folder, seconds = sys.argv[1:]
    os.nice(10)  # an attacker has a machine of its own: it takes no core from the server or from the gate
    FLOODS[name](Place(address, Path(folder), float(seconds)))
    os._exit(0)  # without waiting for what is still open
