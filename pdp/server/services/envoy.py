"""`envoy.service.auth.v3.Authorization`: what a gate asks. Every path ends in a whole answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pdp.errors import PdpError
from pdp.grants.refusals import HANDLE_REFUSALS
from pdp.identity import REFUSALS
from pdp.model.gates import Gate
from pdp.server.config import Service
from pdp.server.desk import Desk
from pdp.server.handlers import Deadline, Handlers, Method, edge_refusal
from pdp.server.peer import Peer
from pdp.service.check import Answer
from pdp.service.rest import Rest
from pdp.wire import envoy_answer
from pdp.wire.envoy import correlation_in, read_check
from pdp.wire.envoy_answer import Told
from pdp.wire.refusals import Unfit

CHECK = "/envoy.service.auth.v3.Authorization/Check"

#: Reasons that say: a credential was not accepted. They are told as 401, others as 403.
CREDENTIAL_REASONS = REFUSALS.keys() | HANDLE_REFUSALS.keys()


def envoy_handlers(desk: Desk) -> Handlers:
    def check(raw: bytes, peer: Peer, deadline: Deadline) -> bytes:
        turn = desk.turn(peer)
        gate = turn.place.gate
        if gate is None:
            return envoy_answer.refuse(Unfit("unknown_gate"))
        ask = read_check(raw, gate, desk.routes(turn))
        if isinstance(ask, Unfit):
            return envoy_answer.refuse(ask, correlation_in(raw))
        try:
            answer = desk.check(ask, turn, quick=True)
        except Rest as rest:
            raise Rest(partial(_rest, rest.go_on, gate, ask.consumed, ask.correlation)) from None
        except PdpError as error:
            return _failed(error, ask.correlation)
        return _answered(answer, gate, ask.consumed, ask.correlation)

    return {CHECK: Method(check, Service.DECISION, refused, for_gates=True, passes=True, names=correlation_in)}


def refused(raw: bytes, code: str) -> bytes:
    """A whole denial for what ended before it was decided, whatever the request was. It is called what the request is, where
    that can be read."""
    return envoy_answer.at_edge(code, correlation_in(raw))


def _rest(go_on: Callable[[], Answer], gate: Gate, consumed: tuple[str, ...], correlation: str | None) -> bytes:
    try:
        answer = go_on()
    except PdpError as error:
        return _failed(error, correlation)
    return _answered(answer, gate, consumed, correlation)


def _failed(error: PdpError, correlation: str | None) -> bytes:
    if error.code == "invalid_request":
        return envoy_answer.refuse(Unfit("malformed_value", error.message), correlation)
    raise edge_refusal("not_ready", str(error)) from None


def _answered(answer: Answer, gate: Gate, consumed: tuple[str, ...], correlation: str | None) -> bytes:
    decision, (workload, user, _, redeemed, _) = answer.decision, answer.verified
    told = Told(
        None if workload is None else str(workload.id),
        None if user is None else f"{user.type}:{user.id}",
        None if redeemed is None else redeemed.task.id,
        None if redeemed is None else redeemed.chain[-1],
        correlation,
        decision.reason in CREDENTIAL_REASONS,
    )
    return envoy_answer.answer(decision, gate, told, consumed)
