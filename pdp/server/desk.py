"""What the handlers of one process decide with: the parts put together once, and the standing of each moment.

    bytes --wire--> Ask --Checks.check(standing, …)--> Answer --wire--> bytes

A check reads `standing()` once. Whatever it is made of is replaced whole by whoever changes it, so it is made anew only when
one of them is another than before.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from dataclasses import replace
from itertools import count
from time import perf_counter_ns
from typing import NamedTuple, cast

from language import Vocabulary
from pdp.engine.decide import Decider, Explanation
from pdp.errors import PdpError
from pdp.grants.handle import Handle, Names
from pdp.grants.handles import Handles
from pdp.grants.replay import Looking, ReplayMemory
from pdp.identity import ShownVerifier, Verifier
from pdp.model.ask import Ask
from pdp.server.config import Config
from pdp.server.epochs import Epochs
from pdp.server.gates import Gates
from pdp.server.grants import GrantBook
from pdp.server.handlers import PassOn
from pdp.server.hearing import Heard, Hearing
from pdp.server.parts import Parts
from pdp.server.peer import Peer
from pdp.server.reuse import ReuseNotes, binding_reason
from pdp.service.check import Answer, Checks, Place, Understood
from pdp.service.recorded import Recording
from pdp.service.rest import Rest
from pdp.service.standing import Standing
from pdp.tokens.refusals import Refused as BadCredential
from pdp.wire.decision import GateWords, read_check
from pdp.wire.envoy_path import Routes
from pdp.wire.refusals import Unfit
from pdp.wire.values import Values


class Turn(NamedTuple):
    """What one call is read and decided by, taken once: all of a batch is decided at one moment and by one standing."""

    standing: Standing
    place: Place
    now: int
    epoch: str  # what may be told of it to a caller who uses answers again


class Desk:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.names = Names(*own_names(parts))
        self.grants = GrantBook.open(parts, self.names.audience)
        self._gates = Gates(self.names.issuer)
        self._hearing = Hearing(read_check)
        self.notes = None if self.grants is None else ReuseNotes(parts, self.grants)
        parts.noted = self._noted
        self.proofs = ReplayMemory(parts.clock(), threading.Lock())
        self._handles = Handles(self.names)
        recording = None if parts.recorder is None else Recording(parts.recorder, perf_counter_ns)
        decider, shown = parts.engine.decider, ShownVerifier(Verifier(self.names.issuer))
        consume = None if self.grants is None else self.grants.consume
        self.checks = Checks(decider, shown, self._handles, self.proofs, consume, recording)
        quick = Decider(decider.numbers, quick=True)
        self._quick = Checks(quick, shown, self._handles, self.proofs, consume, recording)
        self._explaining = Checks(decider, shown, self._handles, Looking(self.proofs), lambda _: None, recording)
        # Each with what it was made of, in one assignment: several threads make them.
        self._routes = parts.engine.bundle, Routes(parts.engine.bundle)
        self._words = self.vocabulary, GateWords.of(self.vocabulary)
        self._process, self._epochs_made = secrets.token_hex(6), count(1)
        self._standing_anew = threading.Lock()
        self._standing = self._stand("")
        self._standing = replace(self._standing, epoch=self._next_epoch())
        self.epochs = Epochs(lambda: self.standing().epoch)

    def turn(self, peer: Peer) -> Turn:
        """Begins a call."""
        standing = self.standing()
        config = cast(Config, standing.configured)
        gate = None if peer.gate is None else self._gates.of(peer, standing.snapshot.world.vocabulary)
        environment = config.environment if gate is None or gate.environment is None else gate.environment
        epoch = standing.epoch if peer.configured is config else ""  # what the caller may say was told by another one
        return Turn(standing, Place(gate, environment, peer.workload), self.parts.clock(), epoch)

    def hear(self, raw: bytes, peer: Peer, turn: Turn, values: Values | None = None) -> Heard | Ask | Unfit:
        """What a CheckRequest asks."""
        return self._hearing.hear(peer.name, raw, turn.place.gate, self.words(turn), values)

    def check(self, ask: Ask, turn: Turn, understood: Understood | None = None, *, quick: bool = False) -> Answer:
        """The one way to a decision, for every service. `PassOn` where only the process that writes can make it: proofs are
        remembered, and uses counted, in one place. One that has to be `quick` raises `Rest` where it would take long."""
        return self._check(self._quick if quick else self.checks, ask, turn, understood)

    def _check(self, checks: Checks, ask: Ask, turn: Turn, understood: Understood | None = None) -> Answer:
        standing, place, now, _ = turn
        gate = place.gate
        if ask.proof is not None and self.grants is not None and not self.parts.writes:
            raise PassOn
        if ask.destination is None and gate is not None and len(gate.destinations) == 1:
            ask = ask._replace(destination=next(iter(gate.destinations)))  # it stands before nothing else
        began, cache = perf_counter_ns(), standing.snapshot.policy.cache
        hits = 0 if cache is None else cache.stats.hits
        try:
            answer = checks.check(standing, ask, place, now, understood)
        except Rest as rest:
            raise rest.then(lambda answer: self._counted(ask, turn, answer, began, from_cache=False)) from None
        return self._counted(ask, turn, answer, began, from_cache=cache is not None and cache.stats.hits != hits)

    def _counted(self, ask: Ask, turn: Turn, answer: Answer, began: int, *, from_cache: bool) -> Answer:
        outcome = "allow" if answer.decision.allowed else "deny"
        self.parts.counters.decided(outcome, answer.decision.reason, from_cache, perf_counter_ns() - began)
        if self.notes is not None and ask.grant is not None and not answer.decision.allowed:
            self._note_reuse(self.notes, ask.grant, answer.decision.reason, turn.now)
        return answer

    def explain(self, ask: Ask, turn: Turn) -> Explanation:
        """The decision with every rule that was considered; without rules, when it was refused before policy.
        It takes no use of a grant and uses no proof up."""
        answer = self._check(self._explaining, ask, turn)
        if answer.inputs is None:
            return Explanation(answer.decision, None, answer.decision.because)
        explained = self.parts.engine.decider.explain(turn.standing.snapshot, answer.request, turn.now)
        return replace(explained, decision=answer.decision)

    def handle(self, token: str) -> Handle:
        """Which grant a handle names, if it is a handle of ours."""
        if self.grants is None:
            raise PdpError("store_unavailable", "there is no store of grants")
        return self._handles.read(token, self.grants.keys, self.parts.clock())

    @property
    def vocabulary(self) -> Vocabulary:
        return self.parts.engine.snapshot.world.vocabulary

    def standing(self) -> Standing:
        now, engine, trust = self._standing, self.parts.engine, self.parts.trust
        grants = self.grants
        if (
            now.snapshot is engine.snapshot
            and now.configured is self.parts.config
            and now.trust is trust.current
            and (grants is None or (now.grants is grants.index and now.issuer_keys is grants.keys))
            and (grants is None or now.people is grants.people)
        ):
            return now
        with self._standing_anew:  # or one that was made of older parts could be put over a newer, under its epoch
            before = self._standing
            made = self._stand(before.epoch)
            self._standing = made if made.decides_as(before) else replace(made, epoch=self._next_epoch())
            return self._standing

    def routes(self, turn: Turn) -> Routes:
        """Of the policy set that this call is decided by."""
        bundle, made = turn.standing.snapshot.policy.bundle, self._routes
        if made[0] is not bundle:
            made = self._routes = bundle, Routes(bundle)
        return made[1]

    def words(self, turn: Turn) -> GateWords:
        """What only a gate can say, by the vocabulary that this call is decided by."""
        vocabulary, made = turn.standing.snapshot.world.vocabulary, self._words
        if made[0] is not vocabulary:
            made = self._words = vocabulary, GateWords.of(vocabulary)
        return made[1]

    def _note_reuse(self, notes: ReuseNotes, token: str, reason: str, now: int) -> None:
        failed = binding_reason(reason)
        if failed is None or self.grants is None:
            return
        with contextlib.suppress(BadCredential):  # what is no handle of ours names no grant
            notes.note(self._handles.read(token, self.grants.keys, now).grant, failed)

    def _noted(self, raw: bytes) -> None:
        """What another process has to say. Quick, since it comes on the loop."""
        match json.loads(raw):
            case {"reuse": [str(grant), str(reason)]} if self.notes is not None:
                self.notes.take(grant, reason)

    def _stand(self, epoch: str) -> Standing:
        config, engine, trust, grants = self.parts.config, self.parts.engine, self.parts.trust, self.grants
        if grants is None:
            return Standing(engine.snapshot, trust.current, configured=config, epoch=epoch)
        index, keys, people = grants.index, grants.keys, grants.people
        return Standing(engine.snapshot, trust.current, index, keys, people, grants.bound_us, config, epoch)

    def _next_epoch(self) -> str:
        return f"{self._process}-{next(self._epochs_made)}"


def own_names(parts: Parts) -> tuple[str, str]:
    """What this decision point is called, and where its grants are of use: its SPIFFE ID and its trust domain."""
    config = parts.config
    domains = [listener.trust_domain for listener in config.listen if listener.trust_domain is not None]
    domain = domains[0] if domains else config.development.trust_domain
    return config.name or f"spiffe://{domain}/pdp", domain
