"""How long `pdp serve` takes from its start to its first decision: `python -m bench.start [--quick]`.

With mutual TLS, a store on disk, a decision record and the ledger example's policies; by one process, and by two.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pdp
from bench.report import Detail, Figure, Report, finish, number
from bench.timing import median
from tools.programs import ROOT, Document, Server
from tools.programs import pdp as verb

GOAL_S = 1.5
DOMAIN, CALLER, SERVER = "prod.acme", "spiffe://prod.acme/ns/api", "pdp.test"


def measure(*, quick: bool = False) -> Report:
    rounds, rows, figures = 2 if quick else 7, [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        verb("dev", "ca", str(folder / "ca"), "--trust-domain", DOMAIN)
        for path in ("pdp", "ns/api"):
            where = "--ca", str(folder / "ca"), "--out", str(folder / path)
            verb("dev", "svid", f"spiffe://{DOMAIN}/{path}", *where, "--dns", SERVER)
        for workers in (1, 2):
            took = [_start(folder, workers, number_) for number_ in range(rounds)]
            what = f"{workers} process{'es' if workers > 1 else ''}"
            figures.append(Figure(f"from start to the first decision, {what}", median(took), "s", GOAL_S))
            rows.append((what, number(min(took)), number(median(took)), number(max(took))))
    note = f"{rounds} starts each, until a client over mutual TLS has its first decision."
    return Report(tuple(figures), (Detail("Start", ("s", "least", "median", "most"), tuple(rows), note),))


def _start(folder: Path, workers: int, number_: int) -> float:
    state = folder / f"state-{workers}-{number_}"
    state.mkdir()
    config: Document = {
        "name": f"spiffe://{DOMAIN}/pdp",
        "listen": [{"address": "127.0.0.1:0", "trust_domain": DOMAIN}],
        "admin": {"address": ""},
        "workers": workers,
        "tls": {"certificate": str(folder / "pdp" / "svid.pem"), "key": str(folder / "pdp" / "svid.key")},
        "trust": {DOMAIN: {"file": str(folder / "ca" / "bundle.json")}},
        "roles": {"decision": [CALLER]},
        "policies": {"path": str(ROOT / "policies" / "examples" / "ledger"), "watch": False},
        "store": {"path": str(state / "grants.db")},
    }
    began = time.perf_counter()
    server = Server(state, config)
    try:
        with _client(folder, server.port) as client:
            while True:
                with suppress(pdp.PdpError):  # it listens before it is ready
                    client.check(pdp.Request("select", ("Table", "invoices")))
                    return time.perf_counter() - began
    finally:
        server.stop()


def _client(folder: Path, port: int) -> pdp.Client:
    api = folder / "ns" / "api"
    tls = pdp.Tls(api / "svid.pem", api / "svid.key", folder / "ca" / "bundle.pem", SERVER)
    return pdp.Client(f"127.0.0.1:{port}", tls=tls)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer starts")
    finish(measure(quick=parser.parse_args().quick))
