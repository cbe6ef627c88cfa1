"""The stream of epochs, as any client may use it: answers to questions, and news."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from pdp.server.desk import Desk, Turn
from pdp.server.peer import Peer
from pdp.server.services.decisions import decision_handlers
from pdp.server.table import make_handlers
from pdp.wire.messages import PDP
from tests.pdp.server.grants_world import API, CI, DECISIONS, Client, Place, asking, bound
from tests.pdp.server.world import GATE, STRANGER, Running, channel, code_of, running, wait_until

METHOD = f"{DECISIONS}WatchEpoch"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def server(place: Place) -> Iterator[Running]:
    with running(place.config(), make_handlers) as found:
        yield found


class Stream:
    def __init__(self, opened: grpc.Channel) -> None:
        self._questions: queue.Queue[bytes | None] = queue.Queue()
        self.call = opened.stream_stream(METHOD)(iter(self._questions.get, None))

    def ask(self, number: int) -> None:
        self.say(PDP.WatchEpochRequest(number=number).SerializeToString())

    def say(self, raw: bytes | None) -> None:
        self._questions.put(raw)

    def next(self) -> Any:
        return PDP.WatchEpochResponse.FromString(next(self.call))


@contextmanager
def watching(place: Place, server: Running, who: str = GATE) -> Iterator[Stream]:
    with channel(server.address, place.credentials(who)) as opened:
        stream = Stream(opened)
        yield stream
        stream.say(None)
        stream.call.cancel()


def test_each_question_is_answered_and_news_come_unasked(place: Place, server: Running) -> None:
    with watching(place, server) as stream, place.calling(server.address, CI) as ci, gate(place, server) as asker:
        stream.ask(5)
        first = stream.next()
        assert (first.number, first.epoch) == (5, epoch(asker, place))
        assert abs(first.now.ToMicroseconds() - server.parts.clock()) < 60_000_000
        stream.ask(-7)
        assert (stream.next().number, first.epoch) == (-7, epoch(asker, place))
        ci.grants("Open", bound(place))
        told = stream.next()
        assert (told.number, told.epoch) == (-7, epoch(asker, place))
        process, _, number = told.epoch.rpartition("-")
        assert first.epoch.rpartition("-")[0] == process
        assert int(number) > int(first.epoch.rpartition("-")[2])
        stream.say(None)  # no more questions: nothing more is told
        with pytest.raises(StopIteration):
            stream.next()
    wait_until(lambda: server.parts.counters.streams == 0, "the stream has ended")


def test_a_confirmation_of_the_store_is_no_news(place: Place) -> None:
    store = {"path": str(place.folder / "store" / "grants.sqlite"), "freshness": "1s"}
    with running(place.config(store=store), make_handlers) as server, watching(place, server) as stream:
        stream.ask(0)
        first = stream.next().epoch
        before = server.parts.engine.snapshot
        confirmed: Callable[[], int] = lambda: fresh_until(asker, place)  # noqa: E731
        with gate(place, server) as asker:
            then = confirmed()
            wait_until(lambda: confirmed() > then, "the store was confirmed")
        stream.ask(1)
        assert (stream.next().epoch, server.parts.engine.snapshot) == (first, before)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "INVALID_ARGUMENT missing_field"),
        (b"\x08", "INVALID_ARGUMENT malformed"),
        (b"\x08\x01\x08\x02", "INVALID_ARGUMENT not_canonical"),
        (b"\xa0\x06\x01", "INVALID_ARGUMENT must_understand"),
    ],
)
def test_what_is_no_question_ends_the_stream(place: Place, server: Running, raw: bytes, code: str) -> None:
    with watching(place, server) as stream:
        stream.say(raw)
        with pytest.raises(grpc.RpcError) as caught:
            stream.next()
        assert code_of(caught.value) == code


def test_it_is_for_those_who_may_ask_for_decisions(place: Place, server: Running) -> None:
    with watching(place, server, STRANGER) as stream:
        stream.ask(0)
        with pytest.raises(grpc.RpcError) as caught:
            stream.next()
        assert code_of(caught.value) == "PERMISSION_DENIED not_permitted"
    with watching(place, server, API) as stream:
        stream.ask(0)
        assert stream.next().epoch


# ---- parts of tests


@contextmanager
def gate(place: Place, server: Running) -> Iterator[Client]:
    with place.calling(server.address, GATE) as found:
        yield found


def decided(asker: Client, place: Place) -> Any:
    raw = asker.channel.unary_unary(f"{DECISIONS}Check")(asking(place, "").SerializeToString())
    return PDP.CheckResponse.FromString(raw).decision


def epoch(asker: Client, place: Place) -> str:
    return str(decided(asker, place).epoch)


def fresh_until(asker: Client, place: Place) -> int:
    return int(decided(asker, place).fresh_until.ToMicroseconds())


def test_a_question_is_read_and_decided_by_one_standing_whatever_changes_meanwhile(place: Place) -> None:
    """What a caller may say is told by the vocabulary: an answer never has the epoch of another than it was read by."""
    began: list[str] = []

    class Interrupted(Desk):
        def hear(self, raw: bytes, peer: Peer, turn: Turn, *more: Any) -> Any:
            found = super().hear(raw, peer, turn, *more)
            began.append(turn.standing.epoch)
            self.parts.engine.change_revocations(lambda now: now)  # another snapshot
            return found

    with (
        running(place.config(), lambda parts: decision_handlers(Interrupted(parts))) as server,
        gate(place, server) as asker,
    ):
        assert [epoch(asker, place) for _ in range(2)] == began
        assert began[0] != began[1]


def test_no_epoch_is_told_to_a_caller_who_was_met_by_another_configuration(place: Place) -> None:
    """What it may say may have changed since."""

    class Reloaded(Desk):
        def turn(self, peer: Peer) -> Turn:
            self.parts.config = replace(self.parts.config)
            return super().turn(peer)

    with (
        running(place.config(), lambda parts: decision_handlers(Reloaded(parts))) as server,
        gate(place, server) as asker,
    ):
        assert epoch(asker, place) == ""
