"""Clients of both kinds, asked in the same way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import pdp

#: A client, and how to get the answer of a call of it.
Kind = tuple[Any, Callable[[Any], Any]]


@contextmanager
def threaded(address: str, **more: Any) -> Iterator[Kind]:
    with pdp.Client(address, **more) as client:
        yield client, lambda found: found


@contextmanager
def in_a_loop(address: str, **more: Any) -> Iterator[Kind]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(found: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(found, loop).result(20)

    async def make() -> Any:
        return pdp.AsyncClient(address, **more)

    client = run(make())
    try:
        yield client, run
    finally:
        run(client.close())
        run(loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


both = pytest.mark.parametrize("kind", [threaded, in_a_loop], ids=["threads", "asyncio"])
