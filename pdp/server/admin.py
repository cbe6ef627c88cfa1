"""Metrics and health over HTTP, on a port of their own: `/metrics`, `/healthz` (alive), `/readyz` (can decide).

As little HTTP as those three need: GET, no body, one request on a connection. A request must name the host by its number
or as `localhost`: a web page that makes a browser ask us cannot (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from pdp.errors import PdpError
from pdp.server.config import Tcp

_HEAD_BYTES_MAX = 8192
_TIMEOUT_S = 5.0
_CONNECTIONS_MAX = 64
_HOST = re.compile(rb"(?:localhost|[0-9.]+|\[[0-9a-f:.]+\])(?::[0-9]+)?", re.IGNORECASE)
_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    body: bytes
    content_type: str = "application/json"


MakePage = Callable[[], Awaitable[Page]]


def page_of(ready: bool, lacking: Mapping[str, str]) -> Page:
    """`/readyz`: 200, or 503 with what is missing."""
    body = json.dumps({"ready": ready, "lacking": dict(lacking)}).encode() + b"\n"
    return Page(200 if ready else 503, body)


class AdminServer:
    def __init__(self, pages: Mapping[str, MakePage]) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self, address: Tcp) -> Tcp:
        """Listens; returns the address with the port that it got."""
        try:
            self._server = await asyncio.start_server(self._serve, address.host, address.port, limit=_HEAD_BYTES_MAX)
        except OSError as error:
            raise PdpError("address_unavailable", f"`{address}` cannot be bound: {error.strerror}") from None
        return Tcp(address.host, self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _CONNECTIONS_MAX:
                page = await asyncio.wait_for(self._page(reader), _TIMEOUT_S)
                writer.write(_response(page))
                await asyncio.wait_for(writer.drain(), _TIMEOUT_S)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _page(self, reader: asyncio.StreamReader) -> Page:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return Page(400, b'{"error": "too_large"}\n')
        first, *fields = head[:-4].split(b"\r\n")
        words = first.split(b" ")
        hosts = [value.strip() for name, _, value in (f.partition(b":") for f in fields) if name.lower() == b"host"]
        if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            return Page(400, b'{"error": "bad_request"}\n')
        if words[0] != b"GET":
            return Page(405, b'{"error": "only_get"}\n')
        make = self._pages.get(words[1].decode("latin-1"))
        return Page(404, b'{"error": "not_found"}\n') if make is None else await make()


def _response(page: Page) -> bytes:
    head = (
        f"HTTP/1.1 {page.status} {_PHRASES[page.status]}\r\ncontent-type: {page.content_type}\r\n"
        f"content-length: {len(page.body)}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + page.body
