"""`pdp.v1.DecisionService`: bytes -> what is asked, or why it cannot be; decisions -> bytes.

The subject is the caller, unless the caller is a gate and shows whose credential it was shown. What only a gate can say is
refused from others. Bytes are read in their one form: protobuf believes the last of two equal fields, so a message that
would not be written back at the same length is refused (catalogue 50).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from language import FOREVER, RecordType, Vocabulary
from pdp.errors import PdpError
from pdp.model.ask import Ask, Shown, Target
from pdp.model.decision import Decision
from pdp.model.gates import Gate
from pdp.model.request import NOTHING, Resource
from pdp.wire.messages import PDP
from pdp.wire.refusals import Unfit
from pdp.wire.strict import parse, refuse_not_understood, take_token
from pdp.wire.values import Values, put_moment, take_entity, take_record

MANY_MAX = 1_000
CERTIFICATES_MAX = 8
CERTIFICATE_BYTES_MAX = 16_384
CORRELATION_MAX = 128

_CheckRequest, _CheckManyRequest, _ExplainRequest = PDP.CheckRequest, PDP.CheckManyRequest, PDP.ExplainRequest
_CheckResponse, _CheckManyResponse, _CheckResult = PDP.CheckResponse, PDP.CheckManyResponse, PDP.CheckResult


class GateWords(NamedTuple):
    """What only a gate can say, by the vocabulary of a policy set. Made once for each."""

    types: frozenset[str]
    context: Mapping[str, frozenset[str]]  # by action
    vocabulary: Vocabulary | None = None  # whose names are compared with those that are told

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> GateWords:
        said = {
            name: frozenset(f.name for f in action.context.fields if f.trust.value == "gate")
            for name, action in vocabulary.actions.items()
        }
        types = frozenset(name for name, entity in vocabulary.entities.items() if entity.trust.value == "gate")
        return cls(types, {name: fields for name, fields in said.items() if fields}, vocabulary)


def read_check(raw: bytes, gate: Gate | None, words: GateWords, values: Values | None = None) -> Ask | Unfit:
    """One question; PdpError for a name that the vocabulary does not know. `gate` is the caller's entry in `peps:`, where it
    has one. `values` are what one of many may have."""
    try:
        return _ask(parse(_CheckRequest, raw), gate, words, Values() if values is None else values)
    except Unfit as unfit:
        return unfit


def split_many(raw: bytes) -> list[bytes] | Unfit:
    """Many questions, each as the bytes of a CheckRequest: each is read, and can be unfit, by itself."""
    try:
        requests = parse(_CheckManyRequest, raw).requests
        if len(requests) > MANY_MAX:
            raise Unfit("too_many_items", f"more than {MANY_MAX} requests")
        return [request.SerializeToString() for request in requests]
    except Unfit as unfit:
        return unfit


def read_explain(raw: bytes, gate: Gate | None, words: GateWords) -> Ask | Unfit:
    try:
        message = parse(_ExplainRequest, raw)
        if not message.HasField("request"):
            raise Unfit("missing_field", "request")
        refuse_not_understood(message.request)
        return _ask(message.request, gate, words, Values())
    except Unfit as unfit:
        return unfit


def _ask(message: Any, gate: Gate | None, words: GateWords, values: Values) -> Ask:
    """On the hot path of many: each part of a message that is touched costs as much as its whole parsing."""
    action = message.action
    if not action:
        raise Unfit("missing_field", "action")
    resource = take_entity(message.resource, "resource", values, words.vocabulary)
    told = message.context
    context = take_record(told, values, _context_of(words, action), "context") if told else NOTHING
    if gate is None:
        _refuse_words_of_gates(words, action, resource, context)
    shown, user, user_token, itself = None, None, None, True
    if message.HasField("subject"):
        itself = False
        shown, user, user_token = _subject(message.subject, gate, words, values)
    grant, proof, target = _task(message.task) if message.HasField("task") else (None, None, None)
    return Ask(
        action,
        resource,
        context,
        _location(message.location, gate) if message.HasField("location") else NOTHING,
        itself,
        shown,
        user,
        user_token,
        grant,
        proof,
        target,
        correlation=_correlation(message.correlation_id) if message.HasField("correlation_id") else None,
    )


def _refuse_words_of_gates(words: GateWords, action: str, resource: Resource, context: Mapping[str, Any]) -> None:
    """What the vocabulary declares `from gate` is taken from gates alone (L9). The rest is for the vocabulary to judge."""
    if resource.type in words.types and (resource.attributes is not None or resource.parents is not None):
        raise Unfit("value_not_asserted", "attributes or parents of the resource")
    if action in words.context and not words.context[action].isdisjoint(context):
        raise Unfit("value_not_asserted", "context")


def _context_of(words: GateWords, action: str) -> RecordType | None:
    declared = None if words.vocabulary is None else words.vocabulary.actions.get(action)
    return None if declared is None else declared.context


def _subject(
    subject: Any, gate: Gate | None, words: GateWords, values: Values
) -> tuple[Shown | None, Resource | None, str | None]:
    if gate is None:
        raise Unfit("unknown_gate")
    if len(subject.certificates) > CERTIFICATES_MAX:
        raise Unfit("too_large", "subject.certificates")
    certificates = tuple(subject.certificates)
    token = take_token(subject, "token")
    if any(len(c) > CERTIFICATE_BYTES_MAX for c in certificates):
        raise Unfit("too_large", "subject.certificates")
    if certificates and token is not None:
        raise Unfit("conflicting_fields", "certificates and token")
    user = take_entity(subject.user, "user", values, words.vocabulary) if subject.HasField("user") else None
    user_token = take_token(subject, "user_token")
    if user is not None and user_token is not None:
        raise Unfit("conflicting_fields", "user and user_token")
    if user is not None and user.type not in gate.users:
        raise Unfit("user_not_asserted")
    shown = Shown(certificates, len(certificates) > 1, None, token) if certificates or token is not None else None
    return shown, user, user_token


def _task(task: Any) -> tuple[str | None, str | None, Target | None]:
    grant, proof = take_token(task, "grant"), take_token(task, "proof")
    if grant is None:
        raise Unfit("missing_field", "task.grant")
    if proof is None:
        return grant, None, None
    target = task.target
    if not target.HasField("method") or not target.HasField("uri"):
        raise Unfit("missing_field", "method and uri of task.target")
    digest = target.body_sha256 if target.HasField("body_sha256") else None
    if digest is not None and len(digest) != 32:
        raise Unfit("malformed_value", "task.target.body_sha256")
    return grant, proof, Target(target.method, target.uri, digest)


def _location(location: Any, gate: Gate | None) -> dict[str, Any]:
    if gate is None or not gate.location:
        raise Unfit("location_not_asserted")
    return {name: getattr(location, name) for name in ("ip", "port") if location.HasField(name)}


def _correlation(told: str) -> str:
    if not 0 < len(told) <= CORRELATION_MAX or not told.isascii() or not told.isprintable():
        raise Unfit("bad_correlation_id")
    return told


# ---- answers


def write_check(decision: Decision, correlation: str | None = None, *, explain: bool = False, epoch: str = "") -> bytes:
    """A CheckResponse. `explain` is whether the caller may be told which rules failed."""
    response = _CheckResponse()
    put_decision(response.decision, decision, correlation, explain=explain, epoch=epoch)
    return bytes(response.SerializeToString())


Answered = tuple[Decision, str | None, str]  # with the correlation id that came with the question, and the epoch


def write_many(results: Iterable[Answered | Unfit | PdpError], *, explain: bool = False) -> bytes:
    response = _CheckManyResponse()
    add = response.results.add
    for result in results:
        _put_result(add(), result, explain=explain)
    return bytes(response.SerializeToString())


def write_result(result: Answered | Unfit | PdpError, *, explain: bool = False) -> bytes:
    """One CheckResult of a stream."""
    message = _CheckResult()
    _put_result(message, result, explain=explain)
    return bytes(message.SerializeToString())


def ask_one(raw: bytes) -> bytes:
    """A question as a CheckManyRequest of one."""
    return bytes(_CheckManyRequest(requests=[_CheckRequest.FromString(raw)]).SerializeToString())


def answer_of_one(raw: bytes) -> bytes:
    """The CheckResult of a CheckManyResponse of one."""
    return bytes(_CheckManyResponse.FromString(raw).results[0].SerializeToString())


def _put_result(message: Any, result: Answered | Unfit | PdpError, *, explain: bool) -> None:
    if isinstance(result, Unfit | PdpError):
        message.error.code, message.error.message = result.code, result.message
    else:
        put_decision(message.decision, result[0], result[1], explain=explain, epoch=result[2])


def put_decision(into: Any, decision: Decision, correlation: str | None, *, explain: bool, epoch: str = "") -> None:
    settled = decision.settled
    outcome = settled.outcome
    into.reason = outcome.reason  # never empty, so the message is there even when it says no
    into.id = decision.id
    into.generation = settled.generation
    if outcome.allowed:
        into.allowed = True
    if outcome.rule is not None:
        into.rule = outcome.rule
    if outcome.because is not None:
        into.because = outcome.because
    if settled.valid_until_us < FOREVER:
        put_moment(into.valid_until, settled.valid_until_us)
    if settled.fresh_until_us < FOREVER:
        put_moment(into.fresh_until, settled.fresh_until_us)
    if settled.bounded_by is not None:
        into.bounded_by = settled.bounded_by
    for name, text in outcome.annotations:
        into.annotations[name] = text or ""
    if correlation is not None:
        into.correlation_id = correlation
    if epoch:
        into.epoch = epoch
    if explain:
        _put_errors(into.errors, settled.errors)


def _put_errors(into: Any, errors: Sequence[Any]) -> None:
    for error in errors:
        into.add(rule=error.rule, code=error.code, message=error.message)


# ---- epochs


def read_watch_epoch(raw: bytes) -> int:
    """The number of a WatchEpochRequest."""
    message = parse(PDP.WatchEpochRequest, raw)
    if not message.HasField("number"):
        raise Unfit("missing_field", "number")
    return int(message.number)


def write_epoch(epoch: str, number: int, now: int) -> bytes:
    response = PDP.WatchEpochResponse(epoch=epoch, number=number)
    put_moment(response.now, now)
    return bytes(response.SerializeToString())
