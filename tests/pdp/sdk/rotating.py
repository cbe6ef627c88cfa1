"""An SVID of seconds of life in files, replaced at half of it as an agent does; and callers that never stop asking."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pdp
from tests.pdp.server.world import Identities, now_us, wait_until

LIFE_S = 4


class Rotating:
    """The files of one workload. `ends_us` is when the certificate in them ends."""

    def __init__(self, identities: Identities, spiffe_id: str, folder: str = "rotating") -> None:
        self._identities, self._id, self._folder = identities, spiffe_id, folder
        self.authorities = identities.folder / folder / "authorities.pem"
        self.rotations = -1
        self.rotate()
        self.authorities.write_bytes(identities.domain.bundle_pem())

    @property
    def tls(self) -> pdp.Tls:
        return pdp.Tls(self.certificate, self.key, self.authorities, "pdp")

    def rotate(self, life_s: float = LIFE_S) -> None:
        self.certificate, self.key = self._identities.write(self._id, self._folder, life_s)
        self.ends_us = now_us() // 1_000_000 * 1_000_000 + int(life_s * 1e6)
        self.rotations += 1

    def wait_for_half(self) -> None:
        wait_until(lambda: now_us() > self.ends_us - LIFE_S * 500_000, "half of its life is over")

    def wait_for_end(self) -> None:
        wait_until(lambda: now_us() > self.ends_us + 200_000, "it has ended")


class Asked:
    """How calls ended: `allowed`, or the code of an error."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._lock, self._going_on = threading.Lock(), True

    def note(self, how: str) -> None:
        with self._lock:
            self.counts[how] += 1

    @property
    def goes_on(self) -> bool:
        return self._going_on

    def stop(self) -> None:
        self._going_on = False


def ended(ask: Callable[[], pdp.Decision]) -> str:
    try:
        return "allowed" if ask().allowed else "denied"
    except pdp.PdpError as error:
        return str(error)


@contextmanager
def asking_from_threads(client: pdp.Client, request: pdp.Request, count: int = 3) -> Iterator[Asked]:
    asked = Asked()

    def run() -> None:
        while asked.goes_on:
            asked.note(ended(lambda: client.check(request, timeout_s=10)))

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        asked.stop()
        for thread in threads:
            thread.join()


@contextmanager
def asking_from_tasks(make: Callable[[], pdp.AsyncClient], request: pdp.Request, count: int = 3) -> Iterator[Asked]:
    asked = Asked()

    async def one(client: pdp.AsyncClient) -> None:
        while asked.goes_on:
            try:
                decision = await client.check(request, timeout_s=10)
                asked.note("allowed" if decision.allowed else "denied")
            except pdp.PdpError as error:
                asked.note(str(error))

    async def run() -> None:
        async with make() as client:
            await asyncio.gather(*(one(client) for _ in range(count)))

    failed: list[BaseException] = []

    def thread_main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001  # for the test to see
            failed.append(error)

    thread = threading.Thread(target=thread_main)
    thread.start()
    try:
        yield asked
    finally:
        asked.stop()
        thread.join()
    assert not failed, failed


def pdp_threads() -> set[str]:
    """The threads of this library's clients."""
    return {t.name for t in threading.enumerate() if t.name.startswith(("pdp-watch", "pdp-own", "workload-api"))}


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """In one step, as it should be done."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    beside.chmod(mode)
    beside.replace(path)
