"""Check over gRPC beside Cerbos, and what ext_authz adds behind a real Envoy: `python -m bench.service [--quick]`.

`h2load` (nghttp2) drives all of them: so many callers, each with a connection of its own and one call at a time. Cerbos 0.55 is
the neighbour (npm `@cerbos/cerbos-linux-x64`, `--cerbos PATH`), `nghttpd` with a file of 100 bytes the floor. All answer the same
question, whether ada may read her document; each has its policy in its own language, and all were asked once before.

Behind Envoy, 1,000 requests a second are sent at an even pace through two gates in turns: one asks, one does not. A third Envoy
stands on the callers' side and brings the client's certificate, as a sidecar would; it is the same for both.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

import pdp
from bench.report import Detail, Figure, Report, finish, machine, number
from bench.timing import Spread, median, spread
from pdp.wire.client import read_decision, write_request
from tools.programs import Document, Envoy, Program, Server, free_port, pdp as verb, shipped  # fmt: skip

CALLERS = (1, 8, 64)
RATE_PER_S, CONNECTIONS = 1_000, 10
ADDED_P50_US, ADDED_P99_US = 150.0, 800.0
OURS, FRESH, ALONE, CERBOS, FLOOR = "pdp", "pdp, nothing remembered", "pdp, one process", "Cerbos", "nghttpd"
WORKERS = os.cpu_count() or 1

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
#: In every process of the server that is started with it: nothing is remembered.
FORGETFUL = "from pdp.sdk.engine import Engine\nEngine.load.__func__.__kwdefaults__['cache_entries'] = 0\n"


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    url: str
    body: Path | None
    pids: Callable[[], list[int]]


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of h2load found."""

    per_s: float
    took: Spread
    processor_us: float  # of the server's, for each call


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
        added, detail = _behind_envoy(folder, stack, rounds, 3_000 if quick else 10_000)
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


def drive(contender: Contender, callers: int, calls: int, folder: Path, *, per_s: int | None = None) -> Load:
    log = folder / "calls.log"
    log.unlink(missing_ok=True)
    command = ["h2load", "-c", str(callers), "-m", "1", "-n", str(calls), f"--log-file={log}"]
    if contender.body is not None:
        command += ["-d", str(contender.body), "-H", "content-type: application/grpc", "-H", "te: trailers"]
    if per_s is not None:
        command += [f"--rps={per_s // callers}", "-H", ":authority: api.acme.internal"]
    before = sum(map(_processor_us, contender.pids()))
    told = subprocess.run([*command, contender.url], capture_output=True, text=True, check=True).stdout
    after = sum(map(_processor_us, contender.pids()))
    rate = re.search(r"([0-9.]+) req/s", told)
    good = re.search(r"status codes: (\d+) 2xx", told)
    if rate is None or good is None or int(good[1]) != calls:
        raise RuntimeError(f"{contender.name}: not every call was answered:\n{told}")
    took = [int(line.split("\t")[2]) * 1_000 for line in log.read_text().splitlines()]
    return Load(float(rate[1]), spread(took), (after - before) / calls)


def _processor_us(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e6


# ---- who is measured


def _start(folder: Path, stack: ExitStack, cerbos: Path | None) -> list[Contender]:
    policies = folder / "policies"
    (policies / "data").mkdir(parents=True)
    (policies / "app.policy").write_text(POLICY)
    (policies / "data" / "data.json").write_text(DATA)
    ask = write_request(pdp.Request("read", ("Document", "q1"), user=("User", "ada")), None)
    body = _frame(folder / "ask", ask)
    contenders = [_floor(folder, stack)]
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
    return Contender(name, f"http://127.0.0.1:{server.port}/pdp.v1.DecisionService/Check", body, lambda: _family(server.pid))


def _cerbos(folder: Path, stack: ExitStack, binary: Path) -> Contender:
    (folder / "cerbos").mkdir()
    (folder / "cerbos" / "document.yaml").write_text(CERBOS_POLICY)
    port = free_port()
    config = folder / "cerbos.yaml"
    config.write_text(
        f"server: {{grpcListenAddr: '127.0.0.1:{port}', httpListenAddr: '127.0.0.1:{free_port()}'}}\n"
        f"storage: {{driver: disk, disk: {{directory: {folder / 'cerbos'}, watchForChanges: false}}}}\n"
        "telemetry: {disabled: true}\n"
    )
    program = Program("cerbos", folder, [str(binary), "server", f"--config={config}", "--log-level=error"])
    stack.callback(program.stop)
    ask = _cerbos_ask()
    url = f"http://127.0.0.1:{port}/cerbos.svc.v1.CerbosService/CheckResources"
    answer = program.wait_for(lambda: _try(url, ask))
    _demand(b"\x0a\x04read\x10\x01" in answer, "Cerbos")  # EFFECT_ALLOW, which is 1, for `read`
    return Contender(CERBOS, url, _frame(folder / "cerbos-ask", ask), lambda: _family(program.pid))


def _floor(folder: Path, stack: ExitStack) -> Contender:
    pages = folder / "pages"
    (pages / "documents").mkdir(parents=True)
    (pages / "documents" / "q1").write_bytes(b"x" * 100)
    port = free_port()
    command = [_binary("nghttpd"), "--no-tls", "-a", "127.0.0.1", "-n", str(WORKERS), "-d", str(pages), str(port)]
    program = Program("nghttpd", folder, command)
    stack.callback(program.stop)
    return Contender(FLOOR, f"http://127.0.0.1:{port}/documents/q1", None, lambda: _family(program.pid))


def _family(pid: int) -> list[int]:
    """A process with the processes that it started."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for path in children for child in path.read_text().split()]
    return [pid, *(each for child in found for each in _family(child))]


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


def _binary(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise RuntimeError(f"`{name}` is not here; Debian has it in nghttp2-client and nghttp2-server")
    return found


# ---- behind Envoy


def _behind_envoy(folder: Path, stack: ExitStack, rounds: int, calls: int) -> tuple[list[Figure], Detail]:
    gates = _gates(folder, stack)
    for gate in gates:
        drive(gate, CONNECTIONS, calls // 4, folder, per_s=RATE_PER_S)
    loads: list[list[Load]] = [[], []]
    for _ in range(rounds):
        for gate, found in zip(gates, loads, strict=True):
            found.append(drive(gate, CONNECTIONS, calls, folder, per_s=RATE_PER_S))
    p50, p99 = ([median(of(load) for load in found) for found in loads] for of in (_p50, _p99))
    rows = [(gate.name, number(p50[i]), number(p99[i])) for i, gate in enumerate(gates)]
    note = (
        f"{RATE_PER_S:,} requests a second on {CONNECTIONS} connections, {calls:,} in each of {rounds} rounds in turns. Mutual TLS "
        f"from the client and to the decision point, which is one process; every check verifies, decides and answers."
    )
    detail = Detail("Requests through Envoy 1.39", ("", "p50 us", "p99 us"), tuple(rows), note)
    return [
        Figure("ext_authz through Envoy at 1,000/s adds: p50", p50[1] - p50[0], "us", ADDED_P50_US),
        Figure("ext_authz through Envoy at 1,000/s adds: p99", p99[1] - p99[0], "us", ADDED_P99_US),
    ], detail


def _p50(load: Load) -> float:
    return load.took.p50


def _p99(load: Load) -> float:
    return load.took.p99


def _gates(folder: Path, stack: ExitStack) -> list[Contender]:
    ca, domain = folder / "ca", "prod.acme"
    verb("dev", "ca", str(ca), "--trust-domain", domain)

    def svid(path: str) -> Path:
        out = folder / "svids" / path
        verb("dev", "svid", f"spiffe://{domain}/{path}", "--ca", str(ca), "--out", str(out))
        return out

    own, gate, behind, client = svid("pdp"), svid("gate"), svid("ns/api"), svid("ns/billing")
    entry = {"domains": [domain], "destinations": [f"spiffe://{domain}/ns/api"], "xfcc": "sanitize_set", "leaf_only": False}
    config: Document = {
        "name": f"spiffe://{domain}/pdp",
        "listen": [{"address": "127.0.0.1:0", "trust_domain": domain}],
        "admin": {"address": ""},
        "tls": {"certificate": str(own / "svid.pem"), "key": str(own / "svid.key")},
        "trust": {domain: {"file": str(ca / "bundle.json")}},
        "peps": {f"spiffe://{domain}/gate": entry},
        "policies": {"path": str(folder / "policies"), "watch": False},
    }
    server = Server(folder, config, "behind-envoy")
    stack.callback(server.stop)
    values: dict[str, Any] = {
        "LISTEN_ADDRESS": "127.0.0.1", "LISTEN_PORT": 0, "TRUST_DOMAIN": domain, "BUNDLE": ca / "bundle.pem",
        "SVID": behind / "svid.pem", "SVID_KEY": behind / "svid.key",
        "GATE_SVID": gate / "svid.pem", "GATE_SVID_KEY": gate / "svid.key",
        "PDP_ADDRESS": "127.0.0.1", "PDP_PORT": server.port, "PDP_ID": config["name"],
        "BACK_END_ADDRESS": "127.0.0.1", "BACK_END_PORT": _floor(folder / "behind", stack).url.split(":")[2].split("/")[0],
    }  # fmt: skip
    found = []
    for name, asks in (("without ext_authz", False), ("with ext_authz", True)):
        document = shipped("http.yaml", values)
        if not asks:
            _unasked(document)
        before = Envoy(folder, document, name.replace(" ", "-"))
        stack.callback(before.stop)
        sidecar = Envoy(folder, _sidecar(before.port, client, ca), f"sidecar-{before.port}")
        stack.callback(sidecar.stop)
        found.append(Contender(name, f"http://127.0.0.1:{sidecar.port}/documents/q1", None, lambda: []))
    return found


def _unasked(document: Document) -> None:
    (listener,) = document["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = manager["http_filters"][1:]
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        route.pop("typed_per_filter_config", None)


def _sidecar(port: int, svid: Path, ca: Path) -> Document:
    """HTTP/2 in, HTTP/2 with the client's certificate out."""
    tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

    def at(number_: int) -> Document:
        return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": number_}}}

    certificate = {"certificate_chain": {"filename": str(svid / "svid.pem")}, "private_key": {"filename": str(svid / "svid.key")}}
    common = {
        "alpn_protocols": ["h2"],
        "tls_certificates": [certificate],
        "validation_context": {"trusted_ca": {"filename": str(ca / "bundle.pem")}},
    }
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "gate"}}]
    filters = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": manager,
            "stat_prefix": "client",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
        },
    }
    cluster = {
        "name": "gate",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": "gate", "endpoints": [{"lb_endpoints": [{"endpoint": at(port)}]}]},
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": tls, "common_tls_context": common},
        },
    }
    listener = {"name": "client", **at(0), "filter_chains": [{"filters": [filters]}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds")
    parser.add_argument("--cerbos", type=Path, help="the neighbour's binary; without it, there is none")
    options = parser.parse_args()
    _binary("h2load")
    print(f"{machine()}\n", file=sys.stderr)
    finish(measure(quick=options.quick, cerbos=options.cerbos))


if __name__ == "__main__":
    main()
