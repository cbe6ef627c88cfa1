"""`h2load` against a server: so many callers, each with a connection of its own and one call at a time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.timing import Spread, spread
from tools.programs import Program, free_port

FLOOR = "nghttpd"
WORKERS = os.cpu_count() or 1


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


def drive(contender: Contender, callers: int, calls: int, folder: Path) -> Load:
    log = folder / "calls.log"
    log.unlink(missing_ok=True)
    command = ["h2load", "-c", str(callers), "-m", "1", "-n", str(calls), f"--log-file={log}"]
    if contender.body is not None:
        command += ["-d", str(contender.body), "-H", "content-type: application/grpc", "-H", "te: trailers"]
    before = sum(map(processor_us, contender.pids()))
    told = subprocess.run([*command, contender.url], capture_output=True, text=True, check=True).stdout
    after = sum(map(processor_us, contender.pids()))
    rate = re.search(r"([0-9.]+) req/s", told)
    good = re.search(r"status codes: (\d+) 2xx", told)
    if rate is None or good is None or int(good[1]) != calls:
        raise RuntimeError(f"{contender.name}: not every call was answered:\n{told}")
    took = [int(line.split("\t")[2]) * 1_000 for line in log.read_text().splitlines()]
    return Load(float(rate[1]), spread(took), (after - before) / calls)


def processor_us(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e6


def resident_kib(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def floor(folder: Path, stack: ExitStack) -> Contender:
    pages = folder / "pages"
    (pages / "documents").mkdir(parents=True)
    (pages / "documents" / "q1").write_bytes(b"x" * 100)
    port = free_port()
    command = [binary("nghttpd"), "--no-tls", "-a", "127.0.0.1", "-n", str(WORKERS), "-d", str(pages), str(port)]
    program = Program("nghttpd", folder, command)
    stack.callback(program.stop)
    return Contender(FLOOR, f"http://127.0.0.1:{port}/documents/q1", None, lambda: family(program.pid))


def family(pid: int) -> list[int]:
    """A process with the processes that it started."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for path in children for child in path.read_text().split()]
    return [pid, *(each for child in found for each in family(child))]


def binary(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise RuntimeError(f"`{name}` is not here; Debian has it in nghttp2-client and nghttp2-server")
    return found
