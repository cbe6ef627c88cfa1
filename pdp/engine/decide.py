"""Deciding: a snapshot, a request and a moment in; a decision out. No clock and no I/O.

The steps of one check, in order: what is asked is conformed to the vocabulary; what was revoked refuses; records are looked
up and the task is held against the moment; then the cache, or the compiled function; the caller's own end comes last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, NamedTuple
from weakref import ref

from language import Answer, Asked, BadValue, Inputs, Refusal, RequestData, Result, Vocabulary, assemble, conform_request
from pdp.engine.key import Key
from pdp.engine.snapshot import PreparedLeaf, Snapshot
from pdp.errors import PdpError
from pdp.model.decision import Decision, Settled
from pdp.model.request import Credential, Request, credential_of

LONG_AGO = -(2**63)


class Question(NamedTuple):
    """What is asked, understood once; it holds for every world of its vocabulary."""

    vocabulary: Vocabulary
    told: RequestData
    asked: Asked
    credential: Credential | None
    ends: int  # the caller's own bound: of the credential, of the grant
    ended_by: str | None


class Bound:
    """A question bound to one snapshot: everything of a decision but the moment."""

    __slots__ = ("__weakref__", "arguments", "ended_by", "ends", "inputs", "key", "leaf", "opens", "question")

    def __init__(self, question: Question, leaf: PreparedLeaf, inputs: Inputs, opens: int) -> None:
        self.question = question
        self.leaf = leaf
        self.inputs = inputs
        self.arguments = leaf.arguments(inputs)
        self.key: Key = leaf.key(inputs)
        self.opens = opens  # not before this moment
        self.ends = question.ends  # not after it
        self.ended_by = question.ended_by


class Anchor:
    """By it a snapshot knows what it has bound for a request, for as long as the request lives."""

    __slots__ = ("__weakref__",)


class Memo:
    """What a prebuilt request remembers: under which snapshot it was asked last, and what was decided, in which interval.

    INVARIANT: an answer is used for this snapshot only, and a snapshot changes with policy, data and revocations alike.
    It keeps neither the snapshot nor what was bound to it: a request that nobody asks again would hold on to old tables for
    as long as it lives.
    """

    __slots__ = ("anchor", "bound", "closes", "mark", "opens", "question", "settled")

    def __init__(self, snapshot: Snapshot, bound: Bound, anchor: Anchor, settled: Settled, opens: int, closes: int) -> None:
        self.mark = snapshot.mark
        self.bound = ref(bound)
        self.anchor = anchor
        self.question = bound.question
        self.settled = settled
        self.opens = opens
        self.closes = closes

    def bound_in(self, snapshot: Snapshot, now: int) -> Bound | None:
        """The question as it is bound to this snapshot, if it holds at this moment."""
        if self.mark is not snapshot.mark:
            return None
        bound = self.bound()
        return bound if bound is not None and bound.opens <= now < bound.ends else None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with everything that led to it."""

    decision: Decision
    answer: Answer | None  # None when it was refused before policy
    refusal: str | None


class TakesLong(Exception):
    """It would hold up all others where it was asked. Nothing was decided or remembered: it can be asked elsewhere."""


class Decider:
    """Makes decisions and numbers them."""

    def __init__(self, numbers: Iterator[int] | None = None, *, quick: bool = False) -> None:
        """One that is `quick` raises `TakesLong` rather than take more than a millisecond or two."""
        self.numbers: Iterator[int] = count(1) if numbers is None else numbers
        self._evaluate = evaluate_quickly if quick else evaluate

    def decide(self, snapshot: Snapshot, request: Request, now: int) -> Decision:
        """A decision about a prebuilt request, which remembers what was worked out for it."""
        memo: Any = request.memo
        try:
            # `bound_in`, without its call: this is the way of an engine that remembers nothing.
            if memo.mark is snapshot.mark and (bound := memo.bound()) is not None and bound.opens <= now < bound.ends:
                if snapshot.policy.cache is None:
                    return Decision(settle_quickly(snapshot, bound, now), next(self.numbers))
            else:
                bound = bind(snapshot, _question(snapshot, request), now)
            settled, opens, closes = self._settle(snapshot, bound, now)
        except Refusal as refusal:
            return self._number(snapshot.policy.refused(refusal))
        _remember(request, snapshot, bound, settled, opens, closes)
        return Decision(settled, next(self.numbers))

    def decide_and_tell(self, snapshot: Snapshot, request: Request, now: int) -> tuple[Decision, Inputs | None]:
        """The same, with what was decided from; None when it was refused before policy."""
        memo = request.memo
        try:
            bound = memo.bound_in(snapshot, now)
            if bound is None:
                bound = bind(snapshot, _question(snapshot, request), now)
            elif memo.opens <= now < memo.closes:
                snapshot.policy.count_hit()
                return self._number(memo.settled), bound.inputs
            settled, opens, closes = self._settle(snapshot, bound, now)
        except Refusal as refusal:
            return self._number(snapshot.policy.refused(refusal)), None
        _remember(request, snapshot, bound, settled, opens, closes)
        return self._number(settled), bound.inputs

    def decide_once(self, snapshot: Snapshot, told: RequestData, credential: Credential | None, now: int) -> Decision:
        """A decision about a question that nobody keeps."""
        return self.decide_told(snapshot, told, credential, now)[0]

    def decide_told(
        self, snapshot: Snapshot, told: RequestData, credential: Credential | None, now: int
    ) -> tuple[Decision, Inputs | None]:
        """The same, with what was decided from."""
        try:
            bound = bind(snapshot, understand(snapshot, told, credential), now)
            return self._number(self._settle(snapshot, bound, now)[0]), bound.inputs
        except Refusal as refusal:
            return self._number(snapshot.policy.refused(refusal)), None

    def refuse(self, snapshot: Snapshot, refusal: Refusal) -> Decision:
        """A denial before policy, by whoever verified what the request stands on."""
        return self._number(snapshot.policy.refused(refusal))

    def explain(self, snapshot: Snapshot, request: Request, now: int) -> Explanation:
        """The decision, and by the plain evaluator every rule that was considered."""
        policy = snapshot.policy
        try:
            question = understand(snapshot, request.data(), credential_of(request.workload))
            bound = bind(snapshot, question, now)
        except Refusal as refusal:
            return Explanation(self._number(policy.refused(refusal)), None, refusal.message)
        decision = self._number(policy.settle(evaluate(snapshot, bound, now), question.ends, question.ended_by))
        pair = (question.asked.action, question.asked.resource.type)
        return Explanation(decision, policy.bundle.explain(*pair, bound.inputs, steps=policy.steps), None)

    def _settle(self, snapshot: Snapshot, bound: Bound, now: int) -> tuple[Settled, int, int]:
        """What is decided now, and the interval in which it may be said again without asking."""
        policy, question, cache = snapshot.policy, bound.question, snapshot.policy.cache
        if cache is None:
            return settle_quickly(snapshot, bound, now), 0, 0
        entry = cache.find(bound.key, now)
        if entry is None:
            result = self._evaluate(snapshot, bound, now)
            entry = cache.keep(bound.key, now, result)
            if entry is None:
                return policy.settle(result, question.ends, question.ended_by), 0, 0
        settled = policy.settle(entry.result, question.ends, question.ended_by)
        return settled, max(entry.decided_at, bound.opens), min(entry.until, question.ends)

    def _number(self, settled: Settled) -> Decision:
        return Decision(settled, next(self.numbers))


def _question(snapshot: Snapshot, request: Request) -> Question:
    """As it was understood before, when that was by the same vocabulary."""
    memo = request.memo
    if isinstance(memo, Memo) and memo.question.vocabulary is snapshot.world.vocabulary:
        return memo.question
    return understand(snapshot, request.data(), credential_of(request.workload))


def _remember(request: Request, snapshot: Snapshot, bound: Bound, settled: Settled, opens: int, closes: int) -> None:
    memo = request.memo
    anchor = memo.anchor if isinstance(memo, Memo) else Anchor()
    snapshot.bounds[anchor] = bound
    object.__setattr__(request, "memo", Memo(snapshot, bound, anchor, settled, opens, closes))


def bind(snapshot: Snapshot, question: Question, now: int) -> Bound:
    """The question in this snapshot; a Refusal when it ends before policy."""
    asked = question.asked
    revoked = snapshot.revoked.find(question.told, question.credential)
    if revoked is not None:
        raise Refusal(*revoked)
    credential = question.credential
    if credential is not None and now >= credential.ends:
        raise Refusal("credential_ended", "the workload's credential has ended")
    policy = snapshot.policy
    inputs = assemble(snapshot.world, asked, now, policy.footprint)
    opens = LONG_AGO if asked.task is None else asked.task.told.started
    return Bound(question, policy.leaf(asked.action, asked.resource.type), inputs, opens)


def understand(snapshot: Snapshot, told: RequestData, credential: Credential | None) -> Question:
    """What is asked, of its declared types; PdpError when it is no request at all."""
    vocabulary = snapshot.world.vocabulary
    try:
        asked = conform_request(vocabulary, told)
    except BadValue as error:
        raise PdpError("invalid_request", str(error)) from None
    ends, ended_by = (2**63 - 1, None) if asked.task is None else (asked.task.ends, "task")
    if credential is not None and credential.ends < ends:
        ends, ended_by = credential.ends, "credential"
    return Question(vocabulary, told, asked, credential, ends, ended_by)


def settle_quickly(snapshot: Snapshot, bound: Bound, now: int) -> Settled:
    """Without a cache. An answer that nothing bounds was made when the policy was; another is made here, in one step."""
    leaf = bound.leaf
    try:
        found = leaf.function(now, *bound.arguments) if leaf.takes_now else leaf.function(*bound.arguments)
    except Exception:  # noqa: BLE001  # law L3
        return snapshot.policy.settle(evaluate(snapshot, bound, now), bound.ends, bound.ended_by)
    if not leaf.timed:
        if bound.ended_by is None:
            unbounded: Settled = leaf.settled[found]
            return unbounded
        return snapshot.policy.settle(snapshot.policy.bundle.result(leaf.leaf, found), bound.ends, bound.ended_by)
    number, until, _, bound_by = found
    settled: Settled = leaf.settled[number]
    if bound.ends < until:
        return settled.ending(bound.ends, bound.ended_by)
    return settled.ending(until, leaf.bounds[bound_by])


def evaluate_quickly(snapshot: Snapshot, bound: Bound, now: int) -> Result:
    """As `evaluate` does; raises `TakesLong` where that would hold up the thread of all calls."""
    leaf, policy = bound.leaf, snapshot.policy
    if leaf.effort is not None and leaf.effort.is_long(bound.inputs, snapshot.world.vocabulary):
        raise TakesLong
    try:
        found = leaf.function(now, *bound.arguments) if leaf.takes_now else leaf.function(*bound.arguments)
    except Exception:  # noqa: BLE001  # law L3
        inputs = replace(bound.inputs, now=now)
        settled = policy.bundle.settle_quickly(leaf.leaf.action, leaf.leaf.resource_type, inputs, policy.steps)
        if settled is None:
            raise TakesLong from None
        return settled
    return policy.bundle.result(leaf.leaf, found)


def evaluate(snapshot: Snapshot, bound: Bound, now: int) -> Result:
    """What policy says at this moment, by the compiled function; whatever it raises, the plain evaluator settles it (L3)."""
    leaf, policy = bound.leaf, snapshot.policy
    try:
        found = leaf.function(now, *bound.arguments) if leaf.takes_now else leaf.function(*bound.arguments)
    except Exception:  # noqa: BLE001  # law L3
        inputs = replace(bound.inputs, now=now)
        return policy.bundle.settle(leaf.leaf.action, leaf.leaf.resource_type, inputs, policy.steps)
    return policy.bundle.result(leaf.leaf, found)
