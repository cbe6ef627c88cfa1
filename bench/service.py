"""Check over gRPC beside Cerbos, and what ext_authz adds behind a real Envoy: `python -m bench.service [--quick]`.

`h2load` (nghttp2) drives all of them. Cerbos 0.55 is the neighbour (npm `@cerbos/cerbos-linux-x64`, `--cerbos PATH`),
`nghttpd` with a file of 100 bytes the floor. All answer the same question, whether ada may read her document; each has its
policy in its own language, and all were asked once before. Behind Envoy: `bench/gates.py`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import grpc

import pdp
from bench.gates import behind_envoy
from bench.load import WORKERS, Contender, Load, binary, drive, family, floor
from bench.report import Detail, Figure, Report, finish, machine, number
from bench.timing import median
from pdp.wire.client import read_decision, write_request
from tools.programs import Document, Program, Server, free_port

CALLERS = (1, 8, 64)
OURS, FRESH, ALONE, CERBOS = "pdp", "pdp, nothing remembered", "pdp, one process", "Cerbos"

POLICY = """language 1
package app
entity User
entity Document { owner: User }
action read on Document
allow owners { for User do read on Document when resource.owner == user }
routes http "api.acme.internal" { GET /documents/{id} -> read on Document(path.id) }
allow billing { who spiffe://prod.acme/ns/** do read on Document proof key }
"""
DATA = '[{"type": "User", "id": "ada"}, {"type": "Document", "id": "q1", "attributes": {"owner": ["User", "ada"]}}]'
CERBOS_POLICY = """apiVersion: api.cerbos.dev/v1
resourcePolicy:
  version: default
  resource: document
  rules:
    - actions: [read]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: request.resource.attr.owner == request.principal.id}}
"""
#: In every process of the server that is started with it: nothing is remembered, neither questions nor decisions.
FORGETFUL = """from pdp.sdk.engine import Engine
from pdp.server.hearing import Hearing
Engine.load.__func__.__kwdefaults__["cache_entries"] = 0
Hearing.hear = lambda self, caller, raw, gate, words, values=None: self._read(raw, gate, words, values)
"""


# ---- gRPC


def measure(*, quick: bool = False, cerbos: Path | None = None) -> Report:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        contenders = _start(folder, stack, cerbos)
        rounds = 2 if quick else 5
        found: dict[tuple[str, int], list[Load]] = {}
        for callers in CALLERS:
            calls = min(200 * callers + 1_000, 8_000) // (2 if quick else 1)
            for contender in contenders:
                drive(contender, callers, calls // 4, folder)
            for _ in range(rounds):  # in turns, so that what else the machine does meets all
                for contender in contenders:
                    found.setdefault((contender.name, callers), []).append(drive(contender, callers, calls, folder))
        added, detail = behind_envoy(folder, stack, rounds, 3_000 if quick else 10_000)
    return Report((*_figures(found, cerbos is not None), *added), (_detail(found), detail))


def _figures(found: dict[tuple[str, int], list[Load]], beside: bool) -> list[Figure]:
    figures = []
    for callers in CALLERS:
        for ours in (OURS, FRESH):
            who = f"{callers} caller{'s' if callers > 1 else ''}{', uncached' if ours is FRESH else ''}"
            for what, of in (
                ("time per call", lambda load: 1e6 / load.per_s),
                ("p50", lambda load: load.took.p50),
                ("p99", lambda load: load.took.p99),
            ):
                mine = median(map(of, found[ours, callers]))
                peers = median(map(of, found[CERBOS, callers])) if beside else None
                peer, times = ("Cerbos", 1.0) if beside else ("", None)
                figures.append(Figure(f"gRPC Check, {who}: {what}", mine, "us", None, peer, peers, times))
    return figures


def _detail(found: dict[tuple[str, int], list[Load]]) -> Detail:
    head = ("server", "callers", "calls/s", "p50 us", "p99 us", "processor us/call")
    rows = []
    for (name, callers), loads in found.items():
        figures = (
            median(load.per_s for load in loads),
            median(load.took.p50 for load in loads),
            median(load.took.p99 for load in loads),
            median(load.processor_us for load in loads),
        )
        rows.append((name, str(callers), *map(number, figures)))
    note = (
        f"Medians of the rounds, in turns. `{OURS}` and `{FRESH}` are {WORKERS} processes; Cerbos and nghttpd use as many "
        f"threads as they like. h2load takes part of the same {os.cpu_count()} cores from all of them."
    )
    return Detail("Check over gRPC", head, tuple(rows), note)


# ---- who is measured


def _start(folder: Path, stack: ExitStack, cerbos: Path | None) -> list[Contender]:
    policies = folder / "policies"
    (policies / "data").mkdir(parents=True)
    (policies / "app.policy").write_text(POLICY)
    (policies / "data" / "data.json").write_text(DATA)
    ask = write_request(pdp.Request("read", ("Document", "q1"), user=("User", "ada")), None)
    body = _frame(folder / "ask", ask)
    contenders = [floor(folder, stack)]
    if cerbos is not None:
        contenders.append(_cerbos(folder, stack, cerbos))
    for name, workers, forgets in ((OURS, WORKERS, False), (FRESH, WORKERS, True), (ALONE, 1, False)):
        contenders.append(_ours(folder, stack, name, workers, body, forgets=forgets))
        _demand(read_decision(_call(contenders[-1].url, ask)).allowed, name)
    return contenders


def _ours(folder: Path, stack: ExitStack, name: str, workers: int, body: Path, *, forgets: bool) -> Contender:
    config: Document = {
        "listen": [{"address": "127.0.0.1:0"}],
        "admin": {"address": ""},
        "workers": workers,
        "policies": {"path": str(folder / "policies"), "watch": False},
        "development": {"enabled": True},
    }
    before: list[Path] = []
    if forgets:
        before.append(folder / "forgetful")
        before[0].mkdir()
        (before[0] / "sitecustomize.py").write_text(FORGETFUL)
    server = Server(folder, config, re.sub(r"\W+", "-", name), before)
    stack.callback(server.stop)
    return Contender(name, f"http://127.0.0.1:{server.port}/pdp.v1.DecisionService/Check", body, lambda: family(server.pid))


def _cerbos(folder: Path, stack: ExitStack, program_path: Path) -> Contender:
    (folder / "cerbos").mkdir()
    (folder / "cerbos" / "document.yaml").write_text(CERBOS_POLICY)
    port = free_port()
    config = folder / "cerbos.yaml"
    config.write_text(
        f"server: {{grpcListenAddr: '127.0.0.1:{port}', httpListenAddr: '127.0.0.1:{free_port()}'}}\n"
        f"storage: {{driver: disk, disk: {{directory: {folder / 'cerbos'}, watchForChanges: false}}}}\n"
        "telemetry: {disabled: true}\n"
    )
    program = Program("cerbos", folder, [str(program_path), "server", f"--config={config}", "--log-level=error"])
    stack.callback(program.stop)
    ask = _cerbos_ask()
    url = f"http://127.0.0.1:{port}/cerbos.svc.v1.CerbosService/CheckResources"
    answer = program.wait_for(lambda: _try(url, ask))
    _demand(b"\x0a\x04read\x10\x01" in answer, "Cerbos")  # EFFECT_ALLOW, which is 1, for `read`
    return Contender(CERBOS, url, _frame(folder / "cerbos-ask", ask), lambda: family(program.pid))


def _cerbos_ask() -> bytes:
    """cerbos.request.v1.CheckResourcesRequest, by hand: five fields are no reason for a package."""
    owner = _field(1, b"owner") + _field(2, _field(3, b"ada"))  # map entry: google.protobuf.Value with a string
    resource = _field(1, b"document") + _field(3, b"q1") + _field(4, owner)
    principal = _field(1, b"ada") + _field(3, b"user")
    return _field(1, b"1") + _field(3, principal) + _field(4, _field(1, b"read") + _field(2, resource))


def _field(number_: int, content: bytes) -> bytes:
    return bytes((number_ << 3 | 2, len(content))) + content


def _frame(path: Path, message: bytes) -> Path:
    """A message of gRPC, as it stands in the body."""
    path.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    return path


def _call(url: str, message: bytes) -> bytes:
    host, _, method = url.removeprefix("http://").partition("/")
    with grpc.insecure_channel(host) as channel:
        answer: bytes = channel.unary_unary(f"/{method}")(message, timeout=10)
        return answer


def _try(url: str, message: bytes) -> bytes | None:
    try:
        return _call(url, message)
    except grpc.RpcError:
        return None


def _demand(allowed: bool, who: str) -> None:
    if not allowed:
        raise RuntimeError(f"{who} does not allow what all of them should")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds")
    parser.add_argument("--cerbos", type=Path, help="the neighbour's binary; without it, there is none")
    options = parser.parse_args()
    binary("h2load")
    print(f"{machine()}\n", file=sys.stderr)
    finish(measure(quick=options.quick, cerbos=options.cerbos))


if __name__ == "__main__":
    main()
