"""A worker whose state is a list of texts: `Add` writes to it, `Read` tells it where the call arrived."""

from __future__ import annotations

import json
import os
import sys

from pdp.server.config import Service
from pdp.server.handlers import CallRefused, Deadline, Handlers, Method
from pdp.server.parts import Parts
from pdp.server.peer import Peer
from pdp.server.worker import main


class Texts:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def snapshot(self) -> bytes:
        return json.dumps(self.texts).encode()

    def restore(self, raw: bytes) -> None:
        self.texts = json.loads(raw)

    def change(self, raw: bytes) -> None:
        text = raw.decode()
        if text not in self.texts:
            self.texts.append(text)


def make(parts: Parts) -> Handlers:
    state = Texts()
    parts.state = state

    def add(request: bytes, peer: Peer, deadline: Deadline) -> bytes:
        if request == b"bad":
            raise CallRefused("FAILED_PRECONDITION", "no_such_thing", "there is none")
        state.change(request)
        parts.publish(request)
        return f"{os.getpid()} {peer.name}".encode()

    def read(request: bytes, peer: Peer, deadline: Deadline) -> bytes:
        return json.dumps([parts.worker, os.getpid(), state.texts]).encode()

    return {
        "/test.Texts/Add": Method(add, Service.GRANTS, waits=True, writes=True),
        "/test.Texts/Read": Method(read, Service.DECISION),
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], make))
