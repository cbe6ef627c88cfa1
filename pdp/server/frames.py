"""Messages between the processes of one server: a length, a kind, a number, and bytes. No pickles: bytes stay bytes."""

from __future__ import annotations

import asyncio
import struct
from enum import IntEnum

FRAME_BYTES_MAX = 64 << 20
_HEAD = struct.Struct(">IBQ")


class Kind(IntEnum):
    HELLO = 1  # follower: its number
    SNAPSHOT = 2  # writer: when it was sent, and the whole state
    CHANGE = 3  # writer: a step; its number is acknowledged
    ACK = 4
    BEAT = 5  # writer: when it was sent
    CALL = 6  # follower: a call that writes
    ANSWER = 7
    REFUSED = 8
    ASK = 9  # writer: the figures, please
    FIGURES = 10
    NOTE = 11  # either way: something to be known; it is not answered, and may be lost
    CONFIG = 12  # writer: the configuration in force; its number is acknowledged once it is taken


def frame(kind: Kind, number: int = 0, body: bytes = b"") -> bytes:
    return _HEAD.pack(len(body), kind, number) + body


async def read_frame(reader: asyncio.StreamReader) -> tuple[Kind, int, bytes]:
    """The next message; ConnectionError or IncompleteReadError when there is none any more."""
    size, kind, number = _HEAD.unpack(await reader.readexactly(_HEAD.size))
    if size > FRAME_BYTES_MAX:
        raise ConnectionError("a frame is too large")
    try:
        known = Kind(kind)
    except ValueError:
        raise ConnectionError("a frame of no known kind") from None
    return known, number, await reader.readexactly(size)
