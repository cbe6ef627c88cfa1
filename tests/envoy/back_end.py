"""Back ends: an HTTP/1.1 server that keeps what it received byte for byte, and a TCP server that sends back what it got."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it stood on the wire."""

    head: bytes
    body: bytes

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")

    def values(self, name: str) -> list[str]:
        """Of a header, every time that it stands there."""
        lines = [line.partition(b":") for line in self.head.split(b"\r\n")[1:]]
        return [v.strip().decode("latin-1") for n, _, v in lines if n.strip().lower() == name.encode()]


class _Listening:
    """A server on a port of its own, its loop in a thread."""

    port: int

    def __enter__(self):  # type: ignore[no-untyped-def]  # Self is of the subclass
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._guarded, "127.0.0.1", 0)

    async def _guarded(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class HttpBackEnd(_Listening):
    """Answers 200 to everything: what must not come through is for the gate to stop."""

    def __init__(self) -> None:
        self.received: list[Received] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            told = Received(head, b"")
            length = told.values("content-length")
            if told.values("transfer-encoding"):
                body = await _chunks(reader)
            else:
                body = await reader.readexactly(int(length[0])) if length else b""
            self.received.append(Received(head, body))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")
            await writer.drain()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


class GreetingBackEnd(_Listening):
    """Speaks first, as mail servers and some databases do."""

    def __init__(self) -> None:
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"version 9, welcome")
        await reader.read()


class EchoBackEnd(_Listening):
    def __init__(self) -> None:
        self.open = 0
        self.received = 0  # bytes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while data := await reader.read(65536):
                self.received += len(data)
                writer.write(data)
                await writer.drain()
        finally:
            self.open -= 1
