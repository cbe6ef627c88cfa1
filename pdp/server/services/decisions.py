"""`pdp.v1.DecisionService`: one question, many, a stream of them, and why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from pdp.errors import PdpError
from pdp.server.config import Service
from pdp.server.desk import Desk, Turn
from pdp.server.epochs import Asked
from pdp.server.handlers import CallRefused, Deadline, Handlers, Method, PassOn, StreamMethod, edge_refusal
from pdp.server.hearing import Heard
from pdp.server.peer import Peer
from pdp.service.rest import Rest
from pdp.wire import decision as wire
from pdp.wire.explanation import write_explanation
from pdp.wire.refusals import Unfit
from pdp.wire.values import MESSAGE_VALUES_MAX, Values

_SERVICE = "/pdp.v1.DecisionService/"
_QUICK_BYTES = 8_192  # of a question that is read where it arrives
_TURN_NS = 10_000_000  # of a batch, before others have theirs


def decision_handlers(desk: Desk) -> Handlers:
    def check(raw: bytes, peer: Peer, deadline: Deadline) -> bytes:
        turn = desk.turn(peer)
        try:
            answered = _answered(desk, raw, peer, turn, quick=True)
        except Rest as rest:
            raise rest.then(partial(_written, turn)) from None
        return _written(turn, answered)

    def check_many(raw: bytes, peer: Peer, deadline: Deadline) -> bytes:
        turn, questions = desk.turn(peer), wire.split_many(raw)
        if isinstance(questions, Unfit):
            raise unfit(questions)
        results: list[wire.Answered | Unfit | PdpError] = []
        left, values = iter(questions), Values(MESSAGE_VALUES_MAX)

        def go_on() -> bytes:
            ends_ns = time.monotonic_ns() + _TURN_NS
            for each in left:
                if deadline.is_over:
                    raise edge_refusal("deadline_passed")
                results.append(_result(desk, each, peer, turn, Values(of=values)))
                if time.monotonic_ns() >= ends_ns:  # all of it by what was in force when it began
                    raise Rest(go_on)
            return wire.write_many(results, explain=explains(turn))

        return go_on()

    async def check_stream(raws: AsyncIterator[bytes], peer: Peer, deadline: Deadline) -> AsyncGenerator[bytes, None]:
        def one(raw: bytes) -> bytes:
            turn = desk.turn(peer)
            return wire.write_result(_result(desk, raw, peer, turn), explain=explains(turn))

        async for raw in raws:
            try:  # not on the loop, which has to hear of what is revoked, and to tell others
                answer: bytes = await desk.parts.in_turn(peer.name, len(raw), partial(one, raw))
            except PassOn:
                answer = await _passed_on(desk, raw, peer)
            yield answer

    async def watch_epoch(raws: AsyncIterator[bytes], peer: Peer, deadline: Deadline) -> AsyncGenerator[bytes, None]:
        with desk.epochs.watched() as woken:
            asked = Asked(woken, _read_watch)
            asked.begin(raws)
            try:
                while (number := await asked.next()) is not None:
                    yield wire.write_epoch(desk.standing().epoch, number, desk.parts.clock())
            finally:
                await asked.end()

    def explain(raw: bytes, peer: Peer, deadline: Deadline) -> bytes:
        turn = desk.turn(peer)
        if not explains(turn):
            raise CallRefused("PERMISSION_DENIED", "explain_not_permitted", "the caller may not be told why")
        ask = wire.read_explain(raw, turn.place.gate, desk.words(turn))
        if isinstance(ask, Unfit):
            raise unfit(ask)
        return write_explanation(desk.explain(ask, turn), ask.correlation)

    return {
        f"{_SERVICE}Check": Method(check, Service.DECISION, passes=True, quick_bytes=_QUICK_BYTES),
        # Not where calls arrive: there can be a thousand, and no gate that asks for one may wait for them.
        f"{_SERVICE}CheckMany": Method(check_many, Service.DECISION, waits=True, computes=True, passes=True),
        f"{_SERVICE}CheckStream": StreamMethod(check_stream, Service.DECISION, computes=True),
        f"{_SERVICE}WatchEpoch": StreamMethod(watch_epoch, Service.DECISION),
        f"{_SERVICE}Explain": Method(explain, Service.DECISION, waits=True, computes=True, passes=True),
    }


async def _passed_on(desk: Desk, raw: bytes, peer: Peer) -> bytes:
    """One question of a stream, answered by the process that writes."""
    forward = desk.parts.forward
    if forward is None:
        raise edge_refusal("no_writer")
    deadline = Deadline.after_s(desk.parts.config.limits.deadline / 1e6)
    many = await asyncio.to_thread(forward, f"{_SERVICE}CheckMany", wire.ask_one(raw), peer, deadline)
    return wire.answer_of_one(many)


def _read_watch(raw: bytes) -> int:
    try:
        return wire.read_watch_epoch(raw)
    except Unfit as found:
        raise unfit(found) from None


def unfit(found: Unfit) -> CallRefused:
    """A question that cannot be asked is an error and no decision."""
    status = "PERMISSION_DENIED" if found.rule.status == 403 else "INVALID_ARGUMENT"
    return CallRefused("UNAUTHENTICATED" if found.rule.status == 401 else status, found.code, found.message)


def explains(turn: Turn) -> bool:
    return turn.place.gate is not None and turn.place.gate.explain


def _written(turn: Turn, answered: wire.Answered | Unfit) -> bytes:
    if isinstance(answered, Unfit):
        raise unfit(answered)
    decision, correlation, epoch = answered
    return wire.write_check(decision, correlation, explain=explains(turn), epoch=epoch)


def _answered(
    desk: Desk, raw: bytes, peer: Peer, turn: Turn, values: Values | None = None, *, quick: bool = False
) -> wire.Answered | Unfit:
    heard = desk.hear(raw, peer, turn, values)
    if isinstance(heard, Unfit):
        return heard
    ask, understood = (heard.ask, heard.understood) if isinstance(heard, Heard) else (heard, None)
    try:
        answer = desk.check(ask, turn, understood, quick=quick)
    except Rest as rest:
        raise rest.then(lambda answer: (answer.decision, ask.correlation, answer.epoch and turn.epoch)) from None
    return answer.decision, ask.correlation, answer.epoch and turn.epoch


def _result(
    desk: Desk, raw: bytes, peer: Peer, turn: Turn, values: Values | None = None
) -> wire.Answered | Unfit | PdpError:
    """One of many: what is wrong with it is said in its place."""
    try:
        return _answered(desk, raw, peer, turn, values)
    except PdpError as error:
        return error
