"""The server's edge beside a bare grpcio server, driven by `h2load` (nghttp2) at 1, 8 and 64 callers.

`python -m bench.server [--h2load PATH] [--seconds N]`. Beside latency and throughput it prints the processor time of the
server for each call, which other programs on the machine disturb least. Closed loop, one call at a time a connection.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CALLERS = (1, 8, 64)
REQUEST = b"x" * 200

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


@contextmanager
def serving(program: str, *arguments: str) -> Iterator[tuple[int, int]]:
    """The port and the process id of a program that prints its port."""
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def drive(h2load: str, port: int, callers: int, calls: int, body: Path) -> tuple[float, float, float]:
    """Calls a second, and p50 and p99 in microseconds."""
    log = body.with_name("calls.log")
    log.unlink(missing_ok=True)
    command = [h2load, "-c", str(callers), "-m", "1", "-n", str(calls), "-d", str(body), f"--log-file={log}"]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://127.0.0.1:{port}/a.B/C"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"([0-9.]+) req/s", told)
    times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    assert rate
    return float(rate[1]), statistics.median(times), times[int(len(times) * 0.99) - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--h2load", default="h2load")
    parser.add_argument("--calls", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "app.policy").write_text(_POLICY)
        body = folder / "body"
        body.write_bytes(b"\0" + len(REQUEST).to_bytes(4, "big") + REQUEST)
        contenders = {
            "bare, asyncio": (_BARE, "asyncio", "0"),
            "bare, 2 threads": (_BARE, "threads", "2"),
            "bare, 16 threads": (_BARE, "threads", "16"),
            "ours": (_OURS, name),
        }
        print("| server | callers | calls/s | p50 µs | p99 µs | processor µs/call |\n|---|---|---|---|---|---|")
        found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
        for _ in range(given.rounds):  # in turn, so that what else the machine does meets all of them
            for contender, (program, *arguments) in contenders.items():
                with serving(program, *arguments) as (port, pid):
                    drive(given.h2load, port, 8, 1000, body)
                    for callers in CALLERS:
                        before = processor_s(pid)
                        told = drive(given.h2load, port, callers, given.calls, body)
                        cost = (processor_s(pid) - before) / given.calls * 1e6
                        found.setdefault((contender, callers), []).append((*told, cost))
        for (contender, callers), rounds in found.items():
            rate = max(r[0] for r in rounds)
            p50, p99, cost = (min(r[i] for r in rounds) for i in (1, 2, 3))
            print(f"| {contender} | {callers} | {rate:.0f} | {p50:.0f} | {p99:.0f} | {cost:.0f} |")


if __name__ == "__main__":
    main()
