"""`pdp.v1.DecisionService`: one question, many, a stream of them, and why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from pdp.errors import PdpError
from pdp.model.ask import Ask
from pdp.model.gates import Gate
from pdp.server.config import Service
from pdp.server.desk import Desk
from pdp.server.epochs import Asked
from pdp.server.handlers import CallRefused, Deadline, Handlers, Method, PassOn, StreamMethod, edge_refusal
from pdp.server.hearing import Heard
from pdp.server.peer import Peer
from pdp.service.check import Answer
from pdp.wire import decision as wire
from pdp.wire.explanation import write_explanation
from pdp.wire.refusals import Unfit

_SERVICE = "/pdp.v1.DecisionService/"


def decision_handlers(desk: Desk) -> Handlers:
    def check(raw: bytes, peer: Peer, deadline: Deadline) -> bytes:
        began, gate = desk.standing().epoch, desk.gate(peer)
        heard = desk.hear(raw, peer, gate)
        if isinstance(heard, Unfit):
            raise unfit(heard)
        ask, understood = (heard.ask, heard.understood) if isinstance(heard, Heard) else (heard, None)
        answer = desk.check(ask, peer, gate, understood)
        return wire.write_check(answer.decision, ask.correlation, explain=explains(gate), epoch=_of(answer, began))

    def check_many(raw: bytes, peer: Peer, deadline: Deadline) -> bytes:
        began, gate = desk.standing().epoch, desk.gate(peer)
        asks = wire.read_many(raw, gate, desk.words())
        if isinstance(asks, Unfit):
            raise unfit(asks)
        return wire.write_many([_result(desk, ask, peer, gate, began) for ask in asks], explain=explains(gate))

    async def check_stream(raws: AsyncIterator[bytes], peer: Peer, deadline: Deadline) -> AsyncGenerator[bytes, None]:
        async for raw in raws:
            began, gate = desk.standing().epoch, desk.gate(peer)
            ask = wire.read_check(raw, gate, desk.words())
            try:
                answer = wire.write_result(_result(desk, ask, peer, gate, began), explain=explains(gate))
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
        gate = desk.gate(peer)
        if not explains(gate):
            raise CallRefused("PERMISSION_DENIED", "explain_not_permitted", "the caller may not be told why")
        ask = wire.read_explain(raw, gate, desk.words())
        if isinstance(ask, Unfit):
            raise unfit(ask)
        return write_explanation(desk.explain(ask, peer, gate), ask.correlation)

    return {
        f"{_SERVICE}Check": Method(check, Service.DECISION, passes=True),
        f"{_SERVICE}CheckMany": Method(check_many, Service.DECISION, passes=True),
        f"{_SERVICE}CheckStream": StreamMethod(check_stream, Service.DECISION),
        f"{_SERVICE}WatchEpoch": StreamMethod(watch_epoch, Service.DECISION),
        f"{_SERVICE}Explain": Method(explain, Service.DECISION, waits=True, passes=True),
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


def explains(gate: Gate | None) -> bool:
    return gate is not None and gate.explain


def _of(answer: Answer, began: str) -> str:
    """The epoch of an answer whose question was read in the same: what a caller may say is told by the vocabulary, too."""
    return answer.epoch if answer.epoch == began else ""


def _result(desk: Desk, ask: Ask | Unfit, peer: Peer, gate: Gate | None, began: str) -> wire.Answered | Unfit | PdpError:
    if isinstance(ask, Unfit):
        return ask
    try:
        answer = desk.check(ask, peer, gate)
        return answer.decision, ask.correlation, _of(answer, began)
    except PdpError as error:
        return error
