"""One process of several: `python -m pdp.server.worker NUMBER RUNTIME`, with the effective configuration on standard input.

Where another one was put into force since the server started, that counts; it is kept in the folder of this run. What it
listens on is said on standard output, once it does, or the code of the error that ends it; empty lines say that it goes on.
It ends on SIGTERM, and when standard input is closed: whoever started it is gone then, and nobody would start it again.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

from language import PolicyErrors, render
from pdp.errors import PdpError, RecordIncomplete
from pdp.server.background import Background
from pdp.server.config import Config, Origin, read_config
from pdp.server.parts import Parts, make_parts
from pdp.server.process import Started, run_process
from pdp.server.reloading import KEPT, kept_config
from pdp.server.supervisor import BEAT_S, REFUSED
from pdp.server.table import MakeHandlers, make_handlers
from pdp.server.telemetry import start_logs, start_metrics


def main(arguments: list[str], make: MakeHandlers = make_handlers) -> int:
    worker, runtime = int(arguments[0]), Path(arguments[1])
    told = json.loads(sys.stdin.readline())
    config = read_config(told["config"], Path("/"))
    origin = None if told["origin"] is None else Origin.from_json(told["origin"])
    try:
        asyncio.run(serve(kept_config(runtime / KEPT, config), origin, worker, runtime, make))
    except PolicyErrors as errors:
        print("\n".join(render(d) for d in errors.diagnostics if d.is_error), file=sys.stderr)
        return _refused("invalid_file", 3)
    except PdpError as error:
        print(f"pdp: worker {worker}: {error}", file=sys.stderr)
        return _refused(error.code, 1 if isinstance(error, RecordIncomplete) else 2)
    except Exception:  # noqa: BLE001  # the edge of the process, as it is for the command line
        traceback.print_exc()
        return _refused("server_error", 4)
    return 0


def _refused(code: str, status: int) -> int:
    """For the supervisor, which is the one that ends with it."""
    with suppress(OSError):  # it is gone
        print(json.dumps({REFUSED: code}), flush=True)
    return status


async def serve(config: Config, origin: Origin | None, worker: int, runtime: Path, make: MakeHandlers) -> None:
    start_logs(config.telemetry, worker)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    threading.Thread(target=_wait_for_end, args=(loop, stop), name="pdp-supervisor", daemon=True).start()
    parts: Parts
    if worker == 0:  # the signal is taken by the loop, so not before there are parts
        loop.add_signal_handler(signal.SIGHUP, lambda: parts.reload_aside())
    background = Background()
    background.keep_threads()
    background.keep("the word to the supervisor", _beat())
    try:
        parts = make_parts(config, worker, origin)
        if config.telemetry.metrics:
            start_metrics(parts.counters, worker)
        await run_process(parts, runtime, stop, _tell, make, background)
    finally:
        await background.close()


def _wait_for_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    try:
        while sys.stdin.readline():
            pass
    finally:  # also when it cannot be read any more
        loop.call_soon_threadsafe(stop.set)


def _tell(started: Started) -> None:
    told = {"addresses": [str(a) for a in started.addresses], "admin": str(started.admin or "")}
    print(json.dumps(told), flush=True)


async def _beat() -> None:
    while True:
        print(flush=True)
        await asyncio.sleep(BEAT_S)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
