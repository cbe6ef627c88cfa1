"""Real server processes to do harm to, and a load that notices a wrong answer."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from pdp.wire.messages import ENVOY, PDP
from tests.pdp.server.grants_world import DECISIONS, ENVOY_CHECK
from tests.pdp.server.serve_test import Served, served
from tests.pdp.server.world import call, channel, code_of, wait_until
from tests.pdp.wire.answers import taken

POLICY = """language 1
package app
entity User
entity Document
action read on Document
allow some { for User do read on Document "open" }
routes http "api.test" { GET /{id} -> read on Document(path.id) }
"""


def write_policies(folder: Path, text: str = POLICY) -> Path:
    (folder / "set").mkdir(exist_ok=True)
    path = folder / "set" / "app.policy"
    path.write_text(text)
    return path


@contextmanager
def serving(folder: Path, *arguments: str, **environment: str) -> Iterator[Served]:
    """`pdp serve` with the policies above, and somebody who reads what it logs: a full pipe would stop it."""
    write_policies(folder)
    with served(folder, "--policies", "set", *arguments, **environment) as server:
        stream = server.process.stderr
        assert stream is not None
        threading.Thread(target=lambda: [None for _ in stream], daemon=True).start()
        yield server


def question(document: str = "open") -> bytes:
    message = PDP.CheckRequest(action="read")
    message.resource.type, message.resource.id = "Document", document
    message.subject.user.type, message.subject.user.id = "User", "ada"
    return bytes(message.SerializeToString())


def ask(opened: grpc.Channel, raw: bytes | None = None, **more: Any) -> str:
    """`allowed`, the reason of a denial, or status and code of what is no decision."""
    try:
        answer = call(opened, f"{DECISIONS}Check", question() if raw is None else raw, **more)
    except grpc.RpcError as error:
        return code_of(error)
    decision = PDP.CheckResponse.FromString(answer).decision
    assert decision.allowed == (decision.reason == "allowed")
    return str(decision.reason)


def ask_as_envoy(opened: grpc.Channel, document: str = "open") -> str:
    """By ext_authz, which is answered in words whatever happens; without a certificate, with `no_subject` at best."""
    message = ENVOY.CheckRequest()
    http = message.attributes.request.http
    http.method, http.host, http.path, http.scheme = "GET", "api.test", f"/{document}", "https"
    found = taken(call(opened, ENVOY_CHECK, message.SerializeToString()))
    assert not found.allowed
    return str(found.response.status.message)


class Load:
    """Callers that ask for what is allowed and for what is not, on one connection after the other."""

    def __init__(self, address: str, callers: int = 3) -> None:
        self.told: Counter[tuple[str, str]] = Counter()
        self._address = address
        self._stop, self._counting = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(callers)]

    def _run(self) -> None:
        while not self._stop.is_set():
            with channel(self._address) as opened:
                for document in ("open", "shut") * 10:
                    told = ask(opened, question(document), timeout=5)
                    with self._counting:
                        self.told[document, told] += 1

    @property
    def allowed(self) -> int:
        return self.told["open", "allowed"]

    def goes_on(self, by: int = 60) -> None:
        """Waits until so many more were allowed."""
        wanted = self.allowed + by
        wait_until(lambda: self.allowed >= wanted, f"{by} more that are allowed")

    @property
    def wrong(self) -> dict[tuple[str, str], int]:
        """Whatever is neither the right answer nor a refusal to decide."""
        right = {("open", "allowed"), ("shut", "default_deny")}
        with self._counting:
            told = dict(self.told)
        return {k: n for k, n in told.items() if k not in right and not k[1].startswith("UNAVAILABLE")}

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def workers_of(server: Served) -> dict[int, int]:
    """Process ids of a server's workers, by number."""
    found = {}
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            command = (each / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):
            continue
        if parent == server.process.pid and b"pdp.server.worker" in command:
            found[int(command[command.index(b"pdp.server.worker") + 1])] = int(each.name)
    return found


def memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def figure(server: Served, name: str) -> float:
    """A figure of the admin port, of the process that writes."""
    lines = server.get("/metrics")[1].splitlines()
    return float(next(line for line in lines if line.startswith(name)).rpartition(" ")[2])
