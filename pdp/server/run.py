"""A whole server: one process, or several under a supervisor; from the first warning to the last."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pdp.server.config import Config, Origin
from pdp.server.development import warning, with_domain
from pdp.server.notify import notify
from pdp.server.telemetry import start_logs, start_metrics


async def run(origin: Origin, say: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT, and reads everything again at SIGHUP. `say` is for the person who started it."""
    config = origin.started
    runtime = Path(tempfile.mkdtemp(prefix="pdp-"))  # 0700: ours alone
    try:
        if config.development.enabled:
            config = with_domain(config, runtime)
            say(warning(config))
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

        def started(told: dict[str, Any]) -> None:
            admin = f", metrics and health on http://{told['admin']}" if told["admin"] else ""
            processes = f" in {config.workers} processes" if config.workers > 1 else ""
            say(f"serving on {', '.join(told['addresses'])}{processes}{admin}")
            notify("READY=1")

        start_logs(config.telemetry, 0)
        await (_several if config.workers > 1 else _one)(config, origin, runtime, stop, started)
        notify("STOPPING=1")
    finally:
        shutil.rmtree(runtime, ignore_errors=True)


_Told = Callable[[dict[str, Any]], None]


async def _one(config: Config, origin: Origin, _: Path, stop: asyncio.Event, started: _Told) -> None:
    from pdp.server.background import Background
    from pdp.server.parts import Parts, make_parts
    from pdp.server.process import Started, run_process

    parts: Parts  # the signal is taken by the loop, so not before there are parts
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: parts.reload_aside())
    background = Background()
    background.keep_threads()
    parts = make_parts(config, origin=origin)
    if config.telemetry.metrics:
        start_metrics(parts.counters, 0)

    def told(found: Started) -> None:
        started({"addresses": [str(a) for a in found.addresses], "admin": str(found.admin or "")})

    await run_process(parts, None, stop, told, background=background)


async def _several(config: Config, origin: Origin, runtime: Path, stop: asyncio.Event, started: _Told) -> None:
    from pdp.server.supervisor import Supervisor

    supervisor = Supervisor(config, runtime, origin=origin)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, supervisor.reload)
    await supervisor.run(stop, started)
