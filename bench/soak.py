"""Whether `pdp serve` lives through everything at once, and its memory stays: `python -m bench.soak [--minutes 10]`.

Everything that could leave something behind, all the while: questions that repeat and questions that nobody repeats, over
mutual TLS, on connections that stay and on ones that go; a gate that asks by ext_authz at its own pace; batches; a client
that uses answers again; tasks that are opened, shown and ended; policies that are written anew. With a store and a record on
disk, and with garbage collected at random moments: that is what showed finding S1. No call may fail.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pdp
from bench.flood_kinds import CHECK_MANY, Place, many
from bench.floods import ENVOY_CHECK, envoy_question
from bench.load import resident_kib
from bench.report import Detail, Figure, Report, finish, number
from pdp.identity import split_pem, thumbprint
from pdp.sdk.remote.steps import Steps
from pdp.wire.messages import ENVOY, PDP
from tools.programs import Document, Server
from tools.programs import pdp as verb

DOMAIN, SERVER = "prod.acme", "pdp.test"
API, CI, GATE = (f"spiffe://{DOMAIN}/{path}" for path in ("ns/api", "ci/main", "gate"))
DOCUMENTS, OFTEN = 5_000, 200  # all of them have been asked about, and are remembered, while it warms up
ASKERS, OF_A_CONNECTION = 2, 2_000
STEP_S, RELOAD_S, LOOK_S = 0.25, 20.0, 2.0
GATE_S, BATCH_S, BATCH = 0.01, 0.2, 100
LASTING_S, KEEP_ENDED_S = 5, 30  # short, so that tasks are forgotten while somebody looks
WARM = 1 / 3  # of the time; by then what is bounded should be full
DAY_MIN = 1_440

#: What Python runs first in the server: a thread that collects garbage at random moments.
COLLECTOR = """
import gc, random, threading, time

def collect():
    while True:
        time.sleep(random.random() / 5)
        gc.collect(random.randrange(3))

threading.Thread(target=collect, name="collector", daemon=True).start()
"""

POLICY = """language 1
package app
entity Document
action read on Document
task reading {
  opened by spiffe://prod.acme/ci/*
  who       spiffe://prod.acme/ns/*
  may       read on Document
  lasts     at most 15m
}
allow reads { who spiffe://prod.acme/ns/* do read on Document when resource != Document "q13" }
allow in-its-task { who spiffe://prod.acme/ns/* do read on Document during reading }
routes http "api.test" { GET /{id} -> read on Document(path.id) }
"""


def measure(*, minutes: float = 10.0) -> Report:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        soak = _Soak(Path(name), stack)
        looks = soak.run(minutes * 60)
    warm = [(at, kib) for at, kib in looks if at >= WARM * minutes * 60]
    slope = _slope(warm)  # KiB a second
    day_mib = slope * 60 * DAY_MIN / 1024
    rows = [(f"{at / 60:.1f}", number(kib / 1024)) for at, kib in looks[:: max(1, len(looks) // 12)]]
    counts = f"{sum(soak.asked):,} questions, {soak.of_gate:,} of a gate, {soak.batches:,} batches, {soak.steps:,} steps"
    asked = f"{counts}, {soak.reloads} reloads in {minutes:g} minutes"
    note = f"{asked}; the slope is of the last {1 - WARM:.0%} of the time: {slope * 60:+.1f} KiB a minute."
    figures = (Figure("memory, a day by the slope of a soak", max(0.0, day_mib), "MiB", 100.0),)
    return Report(
        figures, (Detail("Memory of one process", ("minute", "MiB"), tuple(rows), note),), failures=tuple(soak.errors)
    )


def _slope(points: list[tuple[float, int]]) -> float:
    """By least squares."""
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    up = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return float(up / sum((x - mean_x) ** 2 for x, _ in points))


class _Soak:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.asked = folder, [0] * ASKERS
        self.of_gate = self.batches = self.steps = self.reloads = 0
        self.errors: list[str] = []
        self._over = threading.Event()
        self._policies = folder / "policies"
        self._policies.mkdir()
        self._write_policy()
        verb("dev", "ca", str(folder / "ca"), "--trust-domain", DOMAIN)
        self._tls = {
            name: self._svid(path) for name, path in (("pdp", "pdp"), ("api", "ns/api"), ("ci", "ci/main"), ("gate", "gate"))
        }
        config: Document = {
            "name": f"spiffe://{DOMAIN}/pdp",
            "listen": [{"address": "127.0.0.1:0", "trust_domain": DOMAIN}],
            "admin": {"address": ""},
            "tls": {"certificate": str(self._tls["pdp"].certificate), "key": str(self._tls["pdp"].key)},
            "trust": {DOMAIN: {"file": str(folder / "ca" / "bundle.json")}},
            "peps": {GATE: {"domains": [DOMAIN], "vouches": True}},
            "roles": {"decision": [API], "grants": [CI, API]},
            "policies": {"path": str(self._policies)},
            "store": {"path": str(folder / "grants.db"), "keep_ended": f"{KEEP_ENDED_S}s"},  # an hour if not told
            "record": {"directory": str(folder / "record"), "keys": str(folder / "keys")},
        }
        (folder / "early").mkdir()
        (folder / "early" / "sitecustomize.py").write_text(COLLECTOR)
        self._server = Server(folder, config, imports=[folder / "early"])
        stack.callback(self._server.stop)
        self._address = f"127.0.0.1:{self._server.port}"
        self._place = Place(self._address, folder, 0)

    def run(self, seconds: float) -> list[tuple[float, int]]:
        """The memory of the server, in KiB, by the seconds since it started."""
        threads = [threading.Thread(target=self._guard, args=(self._ask, n)) for n in range(ASKERS)]
        others = self._ask_as_gate, self._ask_many, self._ask_again, self._take_steps, self._reload
        threads += [threading.Thread(target=self._guard, args=(do,)) for do in others]
        for thread in threads:
            thread.start()
        began, looks = time.monotonic(), []
        while (at := time.monotonic() - began) < seconds and not self.errors:
            looks.append((at, resident_kib(self._server.pid)))
            self._over.wait(LOOK_S)
        self._over.set()
        for thread in threads:
            thread.join()
        return looks

    def _guard(self, do, *arguments) -> None:  # type: ignore[no-untyped-def]
        try:
            do(*arguments)
        except Exception as error:  # any of them spoils the measurement
            self.errors.append(f"{do.__name__}: {type(error).__name__}: {error}")

    def _ask(self, number_: int) -> None:
        chosen = random.Random(number_)
        while not self._over.is_set():
            with pdp.Client(self._address, tls=self._tls["api"], timeout_s=5.0) as client:
                for _ in range(OF_A_CONNECTION):
                    if self._over.is_set():
                        return
                    document = chosen.randrange(OFTEN if chosen.random() < 0.5 else DOCUMENTS)
                    decision = client.check(pdp.Request("read", ("Document", f"q{document}")))
                    if decision.allowed != (document != 13):
                        raise RuntimeError(f"q{document}: {decision}")
                    self.asked[number_] += 1

    def _ask_as_gate(self) -> None:
        asked = envoy_question(self._tls["api"].certificate, "q1")
        with self._place.channel("gate") as gate:
            check = gate.unary_unary(ENVOY_CHECK)
            while not self._over.wait(GATE_S):
                answer = ENVOY.CheckResponse.FromString(check(asked, timeout=5))
                if answer.status.code:
                    raise RuntimeError(f"the gate was told {answer.status.message}")
                self.of_gate += 1

    def _ask_many(self) -> None:
        asked = many(BATCH)
        with self._place.channel("ns/api") as api:
            check_many = api.unary_unary(CHECK_MANY)
            while not self._over.wait(BATCH_S):
                answer = PDP.CheckManyResponse.FromString(check_many(asked, timeout=5))
                if not all(each.decision.allowed for each in answer.results):
                    raise RuntimeError("a batch was denied")
                self.batches += 1

    def _ask_again(self) -> None:
        with pdp.Client(self._address, tls=self._tls["api"], timeout_s=5.0, cache_entries=1_000) as client:
            while not self._over.wait(GATE_S):
                if not client.check(pdp.Request("read", ("Document", "q1"))).allowed:
                    raise RuntimeError("a remembered question was denied")

    def _take_steps(self) -> None:
        holder = thumbprint(split_pem(self._tls["api"].certificate.read_bytes())[0])
        with Steps(self._address, self._tls["ci"]) as ci, Steps(self._address, self._tls["api"]) as api:
            while not self._over.wait(STEP_S):
                opening = PDP.find("pdp.v1.OpenRequest")(kind="reading", holder=API)
                opening.bindings.certificate = holder
                opening.lasting.seconds = LASTING_S
                grant = ci.call("/pdp.v1.GrantService", "Open", opening).grant
                handle = api.call("/pdp.v1.GrantService", "Get", PDP.GetRequest(grant=grant.id)).handle
                with pdp.Client(self._address, tls=self._tls["api"], timeout_s=5.0) as client:
                    if not client.check(pdp.Request("read", ("Document", "q13")), grant=handle).allowed:
                        raise RuntimeError("not allowed in its task")
                    ci.call("/pdp.v1.GrantService", "End", PDP.find("pdp.v1.EndRequest")(task=grant.task))
                    if client.check(pdp.Request("read", ("Document", "q13")), grant=handle).allowed:
                        raise RuntimeError("allowed after its task")
                self.steps += 2

    def _reload(self) -> None:
        while not self._over.wait(RELOAD_S):
            self.reloads += 1
            self._write_policy()

    def _write_policy(self) -> None:
        whole = self._policies / ".next"
        whole.write_text(f"{POLICY}# {self.reloads}\n")
        whole.rename(self._policies / "app.policy")

    def _svid(self, path: str) -> pdp.Tls:
        out = self.folder / "svids" / path
        where = "--ca", str(self.folder / "ca"), "--out", str(out), "--dns", SERVER
        verb("dev", "svid", f"spiffe://{DOMAIN}/{path}", *where)
        return pdp.Tls(out / "svid.pem", out / "svid.key", self.folder / "ca" / "bundle.pem", SERVER)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    finish(measure(minutes=parser.parse_args().minutes))
