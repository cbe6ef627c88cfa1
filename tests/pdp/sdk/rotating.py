"""An SVID in files, which is replaced as an agent does it; and callers that never stop asking."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pdp
from tests.pdp.sdk.kinds import Kind
from tests.pdp.server.world import Identities, now_us, wait_until


class Rotating:
    """The files of one workload. `ends_us` is when the certificate in them ends."""

    def __init__(self, identities: Identities, spiffe_id: str, folder: str = "rotating") -> None:
        self._identities, self._id, self._folder = identities, spiffe_id, folder
        self.authorities = identities.folder / folder / "authorities.pem"
        self.rotate()
        self.authorities.write_bytes(identities.domain.bundle_pem())

    @property
    def tls(self) -> pdp.Tls:
        return pdp.Tls(self.certificate, self.key, self.authorities, "pdp")

    def rotate(self, life_s: float = 3600) -> None:
        self.certificate, self.key = self._identities.write(self._id, self._folder, life_s)
        self.ends_us = now_us() // 1_000_000 * 1_000_000 + int(life_s * 1e6)
        self._made_us = now_us()

    def wait_for_half(self) -> None:
        half_us = (self.ends_us - self._made_us) // 2
        wait_until(lambda: now_us() > self.ends_us - half_us, "half of its life is over")

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
def asking(kind: Kind, request: pdp.Request, count: int = 3) -> Iterator[Asked]:
    """Several callers that ask one client until the block ends."""
    client, run = kind
    asked = Asked()

    def one() -> None:
        while asked.goes_on:
            asked.note(ended(lambda: run(client.check(request, timeout_s=10))))

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        asked.stop()
        for thread in threads:
            thread.join()


def pdp_threads() -> set[str]:
    """The threads of this library's clients."""
    return {t.name for t in threading.enumerate() if t.name.startswith(("pdp-watch", "pdp-own", "workload-api"))}
