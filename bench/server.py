"""The server's edge beside a bare grpcio server, driven by `h2load` (nghttp2) at 1, 8 and 64 callers.

`python -m bench.server [--quick]`. Beside latency and throughput it tells the processor time of the server for each call,
which other programs on the machine disturb least. Closed loop, one call at a time a connection.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load import Contender, Load, drive
from bench.report import Detail, Figure, Report, finish, number
from bench.timing import median

CALLERS = (1, 8, 64)
REQUEST = b"x" * 200
OURS, AIO = "ours", "bare, asyncio"

_BARE = """
import asyncio, sys, grpc, grpc.aio
from concurrent.futures import ThreadPoolExecutor
class Echo(grpc.GenericRpcHandler):
    def __init__(self, run): self.handler = grpc.unary_unary_rpc_method_handler(run)
    def service(self, details): return self.handler
def start(server, run):
    server.add_generic_rpc_handlers((Echo(run),))
    return server.add_insecure_port("127.0.0.1:0")
kind, threads = sys.argv[1], int(sys.argv[2])
if kind == "threads":
    server = grpc.server(ThreadPoolExecutor(threads))
    port = start(server, lambda request, context: request)
    server.start(); print(port, flush=True); server.wait_for_termination()
else:
    async def run(request, context): return request
    async def main():
        server = grpc.aio.server()
        port = start(server, run)
        await server.start(); print(port, flush=True); await server.wait_for_termination()
    asyncio.run(main())
"""

_OURS = """
import asyncio, sys
from pathlib import Path
from pdp.server.config import Service, read_config
from pdp.server.handlers import Method
from pdp.server.parts import make_parts
from pdp.server.process import run_process
folder = Path(sys.argv[1])
config = read_config({"policies": {"path": str(folder), "watch": False}, "listen": [{"address": "127.0.0.1:0"}],
                      "admin": {"address": ""}, "development": {"enabled": True}}, folder)
handlers = {"/a.B/C": Method(lambda request, peer, deadline: request, Service.DECISION)}
async def main():
    started = lambda told: print(told.addresses[0].port, flush=True)
    await run_process(make_parts(config), None, asyncio.Event(), started, lambda parts: handlers)
asyncio.run(main())
"""

_POLICY = "language 1\npackage app\nentity Document\naction read on Document\nallow all { who anyone do read on Document }\n"


def measure(*, quick: bool = False) -> Report:
    rounds, calls = (1, 2_000) if quick else (3, 6_000)
    found: dict[tuple[str, int], list[Load]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "app.policy").write_text(_POLICY)
        body = folder / "body"
        body.write_bytes(b"\0" + len(REQUEST).to_bytes(4, "big") + REQUEST)
        contenders = {
            AIO: (_BARE, "asyncio", "0"),
            "bare, 2 threads": (_BARE, "threads", "2"),
            "bare, 16 threads": (_BARE, "threads", "16"),
            OURS: (_OURS, name),
        }
        for _ in range(rounds):  # in turn, so that what else the machine does meets all of them
            for contender, (program, *arguments) in contenders.items():
                with _serving(program, *arguments) as (port, pid):
                    server = Contender(contender, f"http://127.0.0.1:{port}/a.B/C", body, lambda pid=pid: [pid])  # type: ignore[misc]
                    drive(server, 8, 1_000, folder)
                    for callers in CALLERS:
                        found.setdefault((contender, callers), []).append(drive(server, callers, calls, folder))
    figures = []
    for callers in CALLERS:
        who = f"the edge, {callers} caller{'s' if callers > 1 else ''}"
        for what, of in _FIGURES.items():
            ours, theirs = (median(map(of, found[name, callers])) for name in (OURS, AIO))
            figures.append(Figure(f"{who}: {what}", ours, "us", None, AIO, theirs))
    rows = []
    for (contender, callers), loads in found.items():
        medians = (median(map(of, loads)) for of in (_per_s, *_FIGURES.values()))
        rows.append((contender, str(callers), *map(number, medians)))
    head = ("server", "callers", "calls/s", "p50 us", "p99 us", "processor us/call")
    note = f"Medians of {rounds} rounds. One process each, which sends {len(REQUEST)} bytes back; ours with its whole edge."
    return Report(tuple(figures), (Detail("The server's edge beside bare grpcio", head, tuple(rows), note),))


def _per_s(load: Load) -> float:
    return load.per_s


_FIGURES: dict[str, Callable[[Load], float]] = {
    "p50": lambda load: load.took.p50,
    "p99": lambda load: load.took.p99,
    "processor time of a call": lambda load: load.processor_us,
}


@contextmanager
def _serving(program: str, *arguments: str) -> Iterator[tuple[int, int]]:
    """The port and the process id of a program that prints its port."""
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds")
    finish(measure(quick=parser.parse_args().quick))
