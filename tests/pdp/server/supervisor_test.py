"""Finding S8: whatever keeps a process from being started, the supervisor goes on or ends; it never gives up in silence."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pdp.errors import PdpError
from pdp.server.background import Background, within
from pdp.server.frames import Kind, frame
from pdp.server.parts import make_parts
from pdp.server.state import NoState
from pdp.server.supervisor import AGAIN_S, AGAIN_S_MAX, STEADY_S, Pauses, Supervisor
from pdp.server.writer import Writer
from tests.pdp.server.workers_test import several
from tests.pdp.server.world import WAIT_S, development, wait_until

FAULTY = "tests.pdp.server.faulty_worker"


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Nothing more can be opened in this process than what is open."""
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_that_could_not_be_started_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    with several(development(tmp_path, workers=2)) as two:
        with no_descriptors():
            os.kill(two.supervisor.processes[number], signal.SIGKILL)
            wait_until(lambda: caplog.text.count(f"worker {number} could not be started") > 1)
        assert two.read(number) == []


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("fault", "says"),
    [("no JSON", "could not be started"), ("x" * 100_000, "could not be started"), ("stop", "says nothing while it starts")],
    ids=["another first line", "a long first line", "hangs before it"],
)
def test_a_process_that_starts_wrongly_is_killed_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int, fault: str, says: str
) -> None:
    with several(development(tmp_path, workers=2), FAULTY) as two:
        two.supervisor._start_s = WAIT_S / 2
        at_start = two.supervisor._runtime / f"fault-{number}"
        at_start.write_text(fault)
        os.kill(two.supervisor.processes[number], signal.SIGKILL)
        wait_until(lambda: not at_start.exists())
        wait_until(lambda: f"worker {number} {says}" in caplog.text)
        two.supervisor._start_s = None  # the machine of the test may be slow
        assert two.read(number) == []
        assert two.supervisor.restarts >= 2


def kept(
    tmp_path: Path,
    fault: str | None,
    then: Callable[[Supervisor, asyncio.Event], None],
    began: bool = True,
    number: int = 0,
) -> list[Any]:
    """What a supervisor said when it began, if it did; `then` is done once it has begun, or once worker 0 is there."""
    runtime = tmp_path / "run"
    runtime.mkdir()
    if fault is not None:
        (runtime / f"fault-{number}").write_text(fault)
    told: list[Any] = []

    async def run() -> None:
        supervisor, stop = Supervisor(development(tmp_path, workers=2), runtime, FAULTY), asyncio.Event()
        running = asyncio.ensure_future(supervisor.run(stop, told.append))
        while not (told if began else supervisor.processes):
            await asyncio.sleep(0.005)
        then(supervisor, stop)
        try:
            await asyncio.wait_for(running, WAIT_S)
        finally:
            assert all(p.returncode is not None for p in supervisor._processes.values())

    asyncio.run(run())
    return told


def test_a_supervisor_that_cannot_keep_a_process_any_more_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of its own: it forgets who is up. It ends with an error, and says which."""

    def forget(supervisor: Supervisor, stop: asyncio.Event) -> None:
        del supervisor._up
        supervisor._processes[1].kill()

    with pytest.raises(PdpError, match="worker 1 ended, and should go on") as refusal:
        kept(tmp_path, None, forget)
    assert refusal.value.code == "server_error"
    assert [r.levelname for r in caplog.records if "the keeping of worker 1" in r.message] == ["CRITICAL"]


def test_a_first_start_that_hangs_can_be_ended(tmp_path: Path) -> None:
    assert kept(tmp_path, "wait", lambda _, stop: stop.set(), began=False) == []


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_that_dies_at_its_first_start_is_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """Finding S8, its brother: it says nothing about the next start."""
    assert kept(tmp_path, "die", lambda _, stop: stop.set(), number=number)
    assert f"worker {number} could not be started, and is tried again: WorkerFailed" in caplog.text


def test_the_first_process_is_watched_while_the_others_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Finding S8, its brother: worker 0 died while worker 1 started. Nobody noticed, and worker 1 waited for ever."""

    async def run() -> None:
        supervisor, stop = Supervisor(development(tmp_path, workers=2), tmp_path / "run", FAULTY), asyncio.Event()
        running = asyncio.ensure_future(supervisor.run(stop, lambda _: stop.set()))
        while 1 not in supervisor.processes:
            await asyncio.sleep(0.001)
        os.kill(supervisor.processes[0], signal.SIGKILL)
        await asyncio.wait_for(running, 2 * WAIT_S)

    (tmp_path / "run").mkdir()
    asyncio.run(run())
    assert "worker 0 ended with -9, and is started again" in caplog.text


def test_a_follower_that_hangs_at_its_first_start_is_killed_and_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finding S8, its brother: how long a first start may take was not known before all had started."""
    monkeypatch.setattr(Supervisor, "_patience_s", lambda *_: WAIT_S / 4)
    assert kept(tmp_path, "stop", lambda _, stop: stop.set(), number=1)
    assert "worker 1 says nothing while it starts, and is killed" in caplog.text


def test_pauses_grow_only_for_a_process_that_dies_again_and_again() -> None:
    """A process that is killed once is back at once; so is one that is killed now and then."""
    pauses = Pauses()
    assert [pauses.after(lasted) for lasted in (1, 1, 1, STEADY_S, 1)] == [0, AGAIN_S, 2 * AGAIN_S, 0, AGAIN_S]
    assert max(pauses.after(0) for _ in range(20)) == AGAIN_S_MAX


# ---- tasks that nobody awaits


async def breaks() -> None:
    raise ValueError("broken")


async def ends() -> None:
    pass


@pytest.mark.parametrize("work", [breaks, ends])
def test_work_that_should_go_on_and_ends_ends_the_rest(work: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        background = Background()
        background.keep("the work", work())
        try:
            await asyncio.wait_for(background.until(asyncio.Event()), WAIT_S)
        finally:
            await background.close()

    with pytest.raises(PdpError, match="the work ended"):
        asyncio.run(run())
    assert "the work ended, and should go on" in caplog.text
    assert ("broken" in caplog.text) == (work is breaks)


def test_work_that_fails_is_told_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        background, stop = Background(), asyncio.Event()
        background.let("a call", breaks())
        background.let("another", ends())
        background.keep("the rest", asyncio.sleep(WAIT_S))
        while "a call failed" not in caplog.text:
            await asyncio.sleep(0)
        stop.set()
        await background.until(stop)
        await background.close()

    asyncio.run(run())
    assert "broken" in caplog.text
    assert "another" not in caplog.text
    assert "the rest" not in caplog.text


def test_a_cancellation_is_not_forgotten_where_the_awaited_has_just_ended() -> None:
    """A supervisor that was stopped while a process said that it listens went on for ever: `asyncio.wait_for` forgot it."""

    async def run() -> None:
        said: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(within(WAIT_S, said))
        await asyncio.sleep(0)
        said.set_result(None)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        with pytest.raises(TimeoutError):
            await within(0, asyncio.sleep(WAIT_S))

    asyncio.run(run())


@pytest.mark.parametrize("name", ["pdp-trust", "another"])
def test_a_thread_of_ours_that_raises_ends_the_rest(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others began is theirs."""
    others: list[str] = []

    async def run() -> None:
        background, stop = Background(), asyncio.Event()
        background.keep_threads()
        thread = threading.Thread(target=lambda: asyncio.run(breaks()), name=name)
        thread.start()
        thread.join()
        if others:
            stop.set()
        await asyncio.wait_for(background.until(stop), WAIT_S)

    monkeypatch.setattr(threading, "excepthook", lambda told: others.append(told.thread.name))
    if name == "another":
        asyncio.run(run())
        assert others == [name]
        return
    with pytest.raises(PdpError, match="the thread pdp-trust ended"):
        asyncio.run(run())
    assert "broken" in caplog.text
    assert others == []


def test_a_process_that_hangs_leaves_nothing_of_the_figures_that_it_was_asked_for(tmp_path: Path) -> None:
    """Finding S11: each scrape left a future, for as long as the process that hangs did."""

    async def run() -> None:
        config = development(tmp_path)
        parts = make_parts(config)
        threads = ThreadPoolExecutor(1)
        writer, background = Writer(tmp_path / "s", NoState(), {}, parts.callers, threads), Background()
        await writer.start(background)
        _, stream = await asyncio.open_unix_connection(tmp_path / "s")
        stream.write(frame(Kind.HELLO, 1))
        while not writer.followers:
            await asyncio.sleep(0.005)
        assert [await writer.figures() for _ in range(3)] == [{}, {}, {}]
        assert writer._asked == {}
        stream.write(frame(Kind.FIGURES, 4, b"{}"))  # late: it is asked no more
        await stream.drain()
        assert writer.followers == 1
        stream.close()
        await background.close()
        await writer.close()
        threads.shutdown()
        parts.close()

    asyncio.run(run())
