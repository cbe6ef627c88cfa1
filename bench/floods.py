"""Whether one caller can stop the others: `python -m bench.floods [--only NAME …] [--seconds 4] [--workers 1]`.

A gate asks by ext_authz at an even pace, on a connection that stays and on new ones, while a flood of `flood_kinds` comes
from another process. None of the gate's calls may fail or take longer than Envoy waits, and the memory must come back.
What grpc-core does by itself is listed with its figure: it cannot be mended here.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

from bench.flood_kinds import CALLER, FLOODS, STRANGER, Place
from bench.load import family, resident_kib
from bench.report import Detail, Report, finish, number
from pdp.identity import split_pem
from pdp.wire.messages import ENVOY
from tools.programs import Document, Server
from tools.programs import pdp as verb

DOMAIN, GATE = "prod.acme", "gate"
ENVOY_CHECK = "/envoy.service.auth.v3.Authorization/Check"
DEADLINE_S = 0.2  # what the shipped configuration of Envoy waits for us
EVERY_S, ANEW_S = 0.02, 0.25
BACK_S, BACK_WITHIN = 30.0, 1.2
#: Done by grpc-core before we see a call; listed, and no failure of ours.
OF_GRPC = frozenset({"CONTINUATION", "HPACK bomb"})

POLICY = """language 1
package app
entity Document
action read on Document
allow reads { who anyone do read on Document }
routes http "api.test" { GET /{id} -> read on Document(path.id) }
"""


@dataclass
class Probe:
    """What one gate saw."""

    took_ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # calls that ended without an answer
    denied: list[str] = field(default_factory=list)  # answers that should have been an allow


@dataclass(frozen=True)
class Flooded:
    name: str
    stays: Probe
    anew: Probe
    before_mib: float
    most_mib: float
    after_mib: float

    @property
    def hurt(self) -> str:
        """Why this flood is a failure, or nothing."""
        said = []
        for which, probe in (("", self.stays), (" on new connections", self.anew)):
            if probe.failed:
                said.append(f"{len(probe.failed)} of {len(probe.took_ms)} calls{which} failed ({_kinds(probe.failed)})")
            if probe.denied:
                said.append(f"{len(probe.denied)} of {len(probe.took_ms)} answers{which} were {_kinds(probe.denied)}")
        if self.after_mib > self.before_mib * BACK_WITHIN:
            said.append(f"memory {self.before_mib:.0f} -> {self.after_mib:.0f} MiB after {BACK_S:.0f} s")
        return "; ".join(said)


def _kinds(found: Sequence[str]) -> str:
    return ", ".join(f"{found.count(each)} {each}" for each in sorted(set(found)))


def measure(*, only: Sequence[str] = tuple(FLOODS), seconds: float = 4.0, workers: int = 1) -> Report:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        stand = _Stand(Path(name), workers, stack)
        found = []
        for flood in only:
            print(f"{flood} …", end=" ", flush=True)
            found.append(stand.flood(flood, seconds))
            print(found[-1].hurt or "held", flush=True)
    rows = [
        (each.name, *_of(each.stays), *_of(each.anew), *map(number, (each.before_mib, each.most_mib, each.after_mib)))
        for each in found
    ]
    head = ("flood", "calls", "failed", "p50 ms", "max ms", "new", "failed", "p50 ms", "max ms", "MiB", "most", "after")
    note = f"{seconds:g} s each; a gate asks every {EVERY_S * 1000:.0f} ms and waits {DEADLINE_S * 1000:.0f} ms."
    failures = tuple(f"{each.name}: {each.hurt}" for each in found if each.hurt and each.name not in OF_GRPC)
    return Report((), (Detail("One gate beside a flood", head, tuple(rows), note),), failures=failures)


def _of(probe: Probe) -> tuple[str, str, str, str]:
    took = sorted(probe.took_ms) or [0.0]
    bad = len(probe.failed) + len(probe.denied)
    return str(len(probe.took_ms)), str(bad), number(took[len(took) // 2]), number(took[-1])


class _Stand:
    def __init__(self, folder: Path, workers: int, stack: ExitStack) -> None:
        self._folder = folder
        (folder / "policies").mkdir()
        (folder / "policies" / "app.policy").write_text(POLICY)
        verb("dev", "ca", str(folder / "ca"), "--trust-domain", DOMAIN)
        for who in ("pdp", GATE, CALLER, STRANGER):
            out = str(folder / "svids" / who)
            names = ("--dns", "pdp.test") if who == "pdp" else ()
            verb("dev", "svid", f"spiffe://{DOMAIN}/{who}", "--ca", str(folder / "ca"), "--out", out, *names)
        own = folder / "svids" / "pdp"
        config: Document = {
            "name": f"spiffe://{DOMAIN}/pdp",
            "workers": workers,
            "listen": [{"address": "127.0.0.1:0", "trust_domain": DOMAIN}],
            "admin": {"address": ""},
            "tls": {"certificate": str(own / "svid.pem"), "key": str(own / "svid.key")},
            "trust": {DOMAIN: {"file": str(folder / "ca" / "bundle.json")}},
            "peps": {f"spiffe://{DOMAIN}/{GATE}": {"domains": [DOMAIN], "vouches": True}},
            "roles": {"decision": [f"spiffe://{DOMAIN}/{CALLER}"]},
            "policies": {"path": str(folder / "policies")},
            "record": {"directory": str(folder / "record"), "keys": str(folder / "keys")},
        }
        self._server = Server(folder, config)
        stack.callback(self._server.stop)
        self._address = f"127.0.0.1:{self._server.port}"
        self._asked = envoy_question(folder / "svids" / CALLER / "svid.pem", "d1")
        self._beside([sys.executable, "-c", "pass"], 2.0, [])  # so that what is made once is made

    def flood(self, name: str, seconds: float) -> Flooded:
        before = self._mib()
        command = [sys.executable, "-m", "bench.flood_kinds", name, self._address, str(self._folder), str(seconds)]
        most = [before]
        stays, anew = self._beside(command, seconds, most)
        ends = time.monotonic() + BACK_S
        while (after := self._mib()) > before * BACK_WITHIN and time.monotonic() < ends:
            time.sleep(0.5)
        return Flooded(name, stays, anew, before, max(most), after)

    def _beside(self, command: Sequence[str], seconds: float, most: list[float]) -> tuple[Probe, Probe]:
        """Asks while the flood comes, and looks at the memory meanwhile."""
        over, probes = threading.Event(), (Probe(), Probe())
        place = Place(self._address, self._folder, seconds + 0.5)  # the flood needs a while to start
        with place.channel(GATE) as channel:
            grpc.channel_ready_future(channel).result(10)
            stay = threading.Thread(target=self._stay, args=(place, channel, probes[0]))
            come = threading.Thread(target=self._come, args=(place, probes[1]))
            with subprocess.Popen(command) as flood:
                for thread in (stay, come):
                    thread.start()
                while stay.is_alive() or come.is_alive():
                    most.append(self._mib())
                    over.wait(0.2)
                try:
                    if (status := flood.wait(seconds + 30)) != 0:
                        raise RuntimeError(f"the flood itself ended with {status}: {command}")
                finally:
                    flood.kill()
        return probes

    def _stay(self, place: Place, channel: grpc.Channel, probe: Probe) -> None:
        due = time.monotonic()
        while place.goes_on:
            self._ask(channel, probe)
            due = max(due + EVERY_S, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))

    def _come(self, place: Place, probe: Probe) -> None:
        while place.goes_on:
            with place.channel(GATE) as channel:
                try:
                    grpc.channel_ready_future(channel).result(1.0)  # what Envoy waits for a connection
                except grpc.FutureTimeoutError:
                    probe.took_ms.append(1_000)
                    probe.failed.append("CONNECT")
                    continue
                self._ask(channel, probe)
            time.sleep(ANEW_S)

    def _ask(self, channel: grpc.Channel, probe: Probe) -> None:
        began = time.perf_counter()
        try:
            answer = ENVOY.CheckResponse.FromString(channel.unary_unary(ENVOY_CHECK)(self._asked, timeout=DEADLINE_S))
        except grpc.RpcError as error:
            probe.failed.append(error.code().name)
        else:
            if answer.status.code or answer.HasField("denied_response"):
                probe.denied.append(answer.status.message)
        probe.took_ms.append((time.perf_counter() - began) * 1_000)

    def _mib(self) -> float:
        return sum(resident_kib(pid) for pid in family(self._server.pid)) / 1024


def envoy_question(certificates: Path, document: str) -> bytes:
    """What Envoy asks about a workload that shows the first of these."""
    asked: Any = ENVOY.CheckRequest()
    leaf = load_der_x509_certificate(split_pem(certificates.read_bytes())[0])
    asked.attributes.source.certificate = quote(leaf.public_bytes(Encoding.PEM).decode(), safe="")
    http = asked.attributes.request.http
    http.method, http.host, http.path, http.scheme = "GET", "api.test", f"/{document}", "https"
    return bytes(asked.SerializeToString())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=FLOODS, nargs="+", default=list(FLOODS), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    finish(measure(only=options.only, seconds=options.seconds, workers=options.workers))
