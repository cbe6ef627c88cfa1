"""The other side of `pdp.v1`: a `pdp.Request` -> bytes, and bytes -> a `pdp.Decision`.

An answer without a decision is no denial: it is an error, since somebody other than a decision point may have made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from language import FOREVER, Outcome, RuleError, Source, Span
from pdp.errors import PdpError
from pdp.model.ask import Shown, Target
from pdp.model.decision import Decision, Settled
from pdp.model.request import Request, Resource
from pdp.model.told import ToldConjunct, ToldExplanation, ToldRule
from pdp.wire.messages import PDP, DecodeError
from pdp.wire.refusals import Unfit
from pdp.wire.values import moment_of, put_entity, put_record

_CheckRequest, _CheckManyRequest = PDP.CheckRequest, PDP.CheckManyRequest
_CheckResponse, _CheckManyResponse = PDP.CheckResponse, PDP.CheckManyResponse
_UNPLACED = Span(Source("", ""), 0, 0)


def write_request(
    request: Request,
    shown: Shown | None = None,
    grant: str | None = None,
    proof: str | None = None,
    target: Target | None = None,
    correlation: str | None = None,
) -> bytes:
    """A CheckRequest. A workload or a task cannot be named, only shown: a server takes neither from a caller."""
    message = _CheckRequest()
    put_request(message, request, shown)
    if grant is not None:
        message.task.grant = grant
    if proof is not None:
        message.task.proof = proof
    if target is not None:
        message.task.target.method, message.task.target.uri = target.method, target.uri
        if target.body_sha256 is not None:
            message.task.target.body_sha256 = target.body_sha256
    if correlation is not None:
        message.correlation_id = correlation
    return bytes(message.SerializeToString())


def write_requests(requests: Sequence[Request]) -> bytes:
    message = _CheckManyRequest()
    for request in requests:
        put_request(message.requests.add(), request, None)
    return bytes(message.SerializeToString())


def put_request(into: Any, request: Request, shown: Shown | None) -> None:
    if request.workload is not None or request.task is not None or request.gate is not None or request.proof:
        raise PdpError("invalid_request", "workload, task, gate and proof are what a server verifies, and not told to it")
    try:
        _put(into, request, shown)
        return
    except (TypeError, ValueError):  # of protobuf: a number for a text, half of a surrogate pair
        pass
    raise PdpError("invalid_request", "the request holds a value of the wrong type, or a text that is none")


def _put(into: Any, request: Request, shown: Shown | None) -> None:
    into.action = request.action
    put_entity(into.resource, _resource(request.resource))
    put_record(into.context, request.context)
    if request.user is not None:
        put_entity(into.subject.user, _resource(request.user))
    if shown is not None:
        into.subject.certificates.extend(shown.certificates)
        if shown.token is not None:
            into.subject.token = shown.token
    for name, value in request.location.items():
        if name not in _LOCATION or type(value) is not _LOCATION[name]:  # protobuf takes True for a port
            raise PdpError("invalid_request", "a location has an `ip`, which is a text, and a `port`, which is an integer")
        setattr(into.location, name, value)


_LOCATION = {"ip": str, "port": int}


def _resource(entity: Any) -> Resource:
    if isinstance(entity, Resource):
        return entity
    match entity:
        case (str(type_name), str(entity_id)):
            return Resource(type_name, entity_id)
        case _:
            raise PdpError("invalid_request", 'an entity is a pdp.Resource or ("Type", "id")')


def read_decision(raw: bytes) -> Decision:
    """The decision in a CheckResponse."""
    return read_answer(raw)[0]


def read_answer(raw: bytes) -> tuple[Decision, str]:
    """The same with the epoch, which is empty where the answer is for once."""
    message = _parse(_CheckResponse, raw)
    if not message.HasField("decision"):
        raise PdpError("invalid_answer", "the answer has no decision in it")
    return decision_of(message.decision), str(message.decision.epoch)


def write_watch_epoch(number: int) -> bytes:
    return bytes(PDP.WatchEpochRequest(number=number).SerializeToString())


class ToldEpoch(NamedTuple):
    epoch: str
    number: int
    now: int  # by the clock of the decision point


def read_epoch(raw: bytes) -> ToldEpoch:
    message = _parse(PDP.WatchEpochResponse, raw)
    if not message.epoch or not message.HasField("now"):
        raise PdpError("invalid_answer", "an epoch has a name and a time")
    return ToldEpoch(str(message.epoch), int(message.number), _moment(message.now))


def read_decisions(raw: bytes, asked: int) -> list[Decision | PdpError]:
    """The decisions in a CheckManyResponse, in the order of the questions, or why one could not be made."""
    results = _parse(_CheckManyResponse, raw).results
    if len(results) != asked:
        raise PdpError("invalid_answer", f"{asked} questions, {len(results)} answers")
    return [_result(result) for result in results]


def _result(result: Any) -> Decision | PdpError:
    if result.WhichOneof("result") == "decision":
        return decision_of(result.decision)
    if result.WhichOneof("result") == "error":
        return PdpError("invalid_request", f"{result.error.code}: {result.error.message}")
    raise PdpError("invalid_answer", "a result is neither a decision nor an error")


def decision_of(told: Any) -> Decision:
    instance, _, number = told.id.rpartition("-")
    if not told.reason or not instance or not (number.isascii() and number.isdigit()) or len(number) > 20:
        raise PdpError("invalid_answer", "a decision has a reason and an id")
    annotations = tuple(sorted((name, text or None) for name, text in told.annotations.items()))
    outcome = Outcome(told.allowed, told.reason, told.rule or None, told.because or None, None, annotations)
    errors = tuple(RuleError(e.rule, e.code, e.message, _UNPLACED) for e in told.errors)
    until = _moment(told.valid_until) if told.HasField("valid_until") else FOREVER
    fresh = _moment(told.fresh_until) if told.HasField("fresh_until") else FOREVER
    settled = Settled(outcome, errors, told.generation, instance, until, fresh, told.bounded_by or None)
    return Decision(settled, int(number))


def _moment(timestamp: Any) -> int:
    try:
        return min(moment_of(timestamp), FOREVER)
    except Unfit:
        pass
    raise PdpError("invalid_answer", "a time finer than a microsecond")


def _parse(kind: Any, raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError:
        pass
    raise PdpError("invalid_answer", "the answer is not a message of pdp.v1")


def write_explain(request: Request, shown: Shown | None = None, grant: str | None = None, proof: str | None = None) -> bytes:
    message = PDP.ExplainRequest()
    message.request.MergeFromString(write_request(request, shown, grant, proof))
    return bytes(message.SerializeToString())


def read_explanation(raw: bytes) -> ToldExplanation:
    """The decision in an ExplainResponse, with every rule that was considered."""
    message = _parse(PDP.ExplainResponse, raw)
    if not message.HasField("decision"):
        raise PdpError("invalid_answer", "the answer has no decision in it")
    return ToldExplanation(decision_of(message.decision), tuple(_rule_of(rule) for rule in message.rules))


def _rule_of(told: Any) -> ToldRule:
    conjuncts = tuple(
        ToldConjunct(c.clause, c.text, c.truth, tuple((r.source, r.value) for r in c.readings), c.error or None)
        for c in told.conjuncts
    )
    return ToldRule(told.rule, told.effect, told.truth, told.place, told.because or None, conjuncts)
