"""One check: who is it, in which task, what does policy say, is it written down. In this order, each step once.

Every way in ends here: ext_authz, gRPC, a Unix socket. What cannot be verified is a denial with the code of the rule that
it broke; nothing that a caller says overrides what was verified (P14).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from language import FOREVER, EntityData, Inputs, Refusal
from pdp.engine.decide import Decider, TakesLong
from pdp.engine.snapshot import Snapshot
from pdp.grants.find import find_grant
from pdp.grants.grant import Grant
from pdp.grants.handles import Handles
from pdp.grants.people import Role, verify_person
from pdp.grants.proof import Asked as Proposed
from pdp.grants.proof import ProofRules, ProvenRequest, verify_task_proof
from pdp.grants.redeem import Fits, Redeemed, redeem
from pdp.grants.redeem import Shown as Proof
from pdp.grants.replay import ProofMemory
from pdp.grants.scope import Ancestors, resource_ancestors
from pdp.grants.store import Consume
from pdp.identity import ShownVerifier, VerifiedToken, VerifiedWorkload
from pdp.model.ask import Ask
from pdp.model.decision import Decision
from pdp.model.gates import Gate
from pdp.model.request import Request, Resource, Task, Workload, credential_of, request_data
from pdp.record import Circumstances
from pdp.service.recorded import Recording, unrecorded
from pdp.service.rest import Rest
from pdp.service.standing import Standing
from pdp.tokens.refusals import Refused as BadCredential

DEFAULT_PROOF_RULES = ProofRules()

Consumer = Callable[[Sequence[Consume]], None]


class Place(NamedTuple):
    """Where a call is, by the word of those who were authenticated, and by our configuration of them."""

    gate: Gate | None = None  # None: the caller speaks for itself
    environment: str | None = None
    caller: VerifiedWorkload | None = None  # who called us, where the question is about the caller itself
    session: str | None = None
    process: str | None = None  # as a node's attestor vouched for it


class Verified(NamedTuple):
    """What was proven of a call before policy was asked."""

    workload: VerifiedWorkload | VerifiedToken | None = None
    user: Resource | None = None
    user_ends: int = FOREVER
    redeemed: Redeemed | None = None
    proven: ProvenRequest | None = None


NOTHING_VERIFIED = Verified()


class Answer(NamedTuple):
    decision: Decision
    ask: Ask
    place: Place
    verified: Verified
    inputs: Inputs | None  # what policy was asked with; None when it was refused before
    epoch: str  # of the standing; empty where it is for this once

    @property
    def request(self) -> Request:
        """The question as it was decided, for those who write it down."""
        return Request(*_told(self.ask, self.place, self.verified))


class Understood:
    """What a question that is asked again became, of this gate and workload. Replaced whole."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: tuple[Gate | None, VerifiedWorkload | VerifiedToken | None, Request] | None = None


class Checks:
    """Makes checks. It remembers what was verified and which proofs were used, and knows nothing of files or sockets."""

    def __init__(
        self,
        decider: Decider,
        shown: ShownVerifier,
        handles: Handles | None = None,
        proofs: ProofMemory | None = None,
        consume: Consumer | None = None,
        recording: Recording | None = None,
        proof_rules: ProofRules = DEFAULT_PROOF_RULES,
    ) -> None:
        """With a decider that is quick a check raises `Rest` where it would take long."""
        self._decider = decider
        self._shown = shown
        self._handles = handles
        self._proofs = proofs
        self._consume = consume
        self._recording = recording
        self._proof_rules = proof_rules
        self._fits = Fits()
        self._patient = Decider(decider.numbers)

    def check(
        self,
        standing: Standing,
        ask: Ask,
        place: Place,
        now: int,
        understood: Understood | None = None,
        before: Verified | None = None,
    ) -> Answer:
        """`understood` comes with a question that was asked before; it saves work and changes no answer. `before` is
        what was verified of one that took too long, and is not verified again: a proof is good for once."""
        recording, verified, inputs = self._recording, NOTHING_VERIFIED, None
        began = 0 if recording is None else recording.timer()
        try:  # each step keeps what the ones before have verified: a refusal is told with it
            if before is None:
                verified = self._who(standing, ask, place, now)
                _refuse_stale(standing, now)
                if ask.user_token is not None:
                    person = verify_person(ask.user_token, Role.USER, standing.people, now)
                    verified = verified._replace(user=Resource(*person.reference), user_ends=person.ends_us)
                if ask.grant is not None or ask.finds_grant:
                    verified = self._task(standing, ask, place, verified, now)
                decider = self._decider
            else:
                verified, decider = before, self._patient
            decision, inputs = _decide(decider, standing.snapshot, ask, place, verified, now, understood)
            if decision.allowed and verified.redeemed is not None and verified.redeemed.consumes:
                self._use(verified.redeemed.consumes)
        except TakesLong:
            raise Rest(partial(self.check, standing, ask, place, now, understood, verified)) from None
        except Refusal as refusal:
            decision, inputs = self._decider.refuse(standing.snapshot, refusal), None
        except BadCredential as refused:
            decision, inputs = self._decider.refuse(standing.snapshot, Refusal(refused.code, str(refused))), None
        once = verified.redeemed is not None and bool(verified.redeemed.consumes)  # a use is taken by each allow: ask again
        fresh_until = now if once else min(standing.fresh_until, _trusted_until(standing, verified))
        decision = decision.within(verified.user_ends, "user", fresh_until)
        once = once or ask.proof is not None or now >= fresh_until or bool(decision.errors)
        answer = Answer(decision, ask, place, verified, inputs, "" if once else standing.epoch)
        return answer if recording is None else self._record(recording, standing, answer, began, now)

    # ---- who, and in which task

    def _who(self, standing: Standing, ask: Ask, place: Place, now: int) -> Verified:
        workload: VerifiedWorkload | VerifiedToken | None = place.caller if ask.itself else None
        if not ask.itself and ask.shown is not None and place.gate is not None:
            workload = self._shown.verify(ask.shown, place.gate, standing.trust, now)
        return Verified(workload, ask.user if ask.user_token is None else None)

    def _task(self, standing: Standing, ask: Ask, place: Place, verified: Verified, now: int) -> Verified:
        if ask.grant is None:
            return self._find(standing, ask, place, verified, now)
        if verified.workload is None:
            raise Refusal("task_misheld", "a task belongs to a workload, and none was verified")
        return self._redeem(standing, ask, place, verified, verified.workload, now)

    def _find(self, standing: Standing, ask: Ask, place: Place, verified: Verified, now: int) -> Verified:
        """On a connection no grant can be shown: the one that fits it is taken (N-3). Without one there is no task."""
        workload = verified.workload
        if self._handles is None or not isinstance(workload, VerifiedWorkload):
            return verified
        shown = _proof(ask, place, workload, None, self._handles.names.audience)
        world, above = standing.snapshot.world, _above(standing, ask)
        resource = (ask.resource.type, ask.resource.id)
        found = find_grant(standing.grants, shown, now, world, ask.action, resource, above)
        return verified if found is None else verified._replace(redeemed=found)

    def _redeem(
        self,
        standing: Standing,
        ask: Ask,
        place: Place,
        verified: Verified,
        workload: VerifiedWorkload | VerifiedToken,
        now: int,
    ) -> Verified:
        """The handle names a grant; the record in the store says what it is good for."""
        if self._handles is None or standing.issuer_keys is None:
            raise Refusal("grants_not_accepted", "this decision point is not configured for grants")
        handle = self._handles.read(ask.grant or "", standing.issuer_keys, now)
        chain = standing.grants.chain(handle.grant)
        proven = self._prove(ask, chain[-1], handle.digest, now)
        shown = _proof(ask, place, workload, proven, self._handles.names.audience)
        world, resource, above = standing.snapshot.world, ask.resource, _above(standing, ask)
        redeemed = redeem(chain, shown, now, world, ask.action, (resource.type, resource.id), above, self._fits)
        return verified._replace(redeemed=redeemed, proven=proven)

    def _prove(self, ask: Ask, grant: Grant, handle: str, now: int) -> ProvenRequest | None:
        """A proof that is there must be right, also where no rule asks for it."""
        if ask.proof is None:
            return None
        if ask.target is None or self._proofs is None or self._handles is None:
            raise Refusal("proof_out_of_place", "a proof is for a request, and nothing here says which")
        target = ask.target
        audience = self._handles.names.audience
        proposed = Proposed(audience, target.method, target.uri, handle, grant.binding.key, target.body_sha256)
        return verify_task_proof((ask.proof,), proposed, self._proofs, now, self._proof_rules)

    # ---- what was decided

    def _use(self, consumes: Sequence[Consume]) -> None:
        """Only an allow uses a grant up; what cannot be taken is not given."""
        if self._consume is None:
            raise Refusal("store_unavailable", "a grant with a number of uses needs a store")
        self._consume(consumes)

    def _record(
        self,
        recording: Recording,
        standing: Standing,
        answer: Answer,
        began: int,
        now: int,
    ) -> Answer:
        took_ns = recording.timer() - began
        bundle = standing.snapshot.policy.bundle
        presented = self._presented(standing, answer, now)
        around = _around(answer.ask.destination, answer.verified, presented)
        if recording.recorder.decided(answer.request, answer.decision, now, took_ns, bundle, answer.inputs, around):
            return answer
        return answer._replace(decision=unrecorded(answer.decision, now), epoch="")

    def _presented(self, standing: Standing, answer: Answer, now: int) -> Mapping[str, str] | None:
        """Of a grant that was refused: which one it is, by a handle that is genuine. It may have been stolen."""
        shown = answer.ask.grant
        if shown is None or answer.verified.redeemed is not None or self._handles is None or standing.issuer_keys is None:
            return None
        try:
            handle = self._handles.read(shown, standing.issuer_keys, now)
        except BadCredential:
            return None
        return {"grant": handle.grant, "task": handle.task, "holder": handle.holder}


def _decide(
    decider: Decider,
    snapshot: Snapshot,
    ask: Ask,
    place: Place,
    verified: Verified,
    now: int,
    understood: Understood | None,
) -> tuple[Decision, Inputs | None]:
    """What policy says to it."""
    if understood is None or verified.redeemed is not None or verified.user is not ask.user:
        told = _told(ask, place, verified)
        return decider.decide_told(snapshot, request_data(*told), credential_of(told[2]), now)
    known = understood.known
    if known is None or known[0] is not place.gate or known[1] is not verified.workload:
        known = understood.known = place.gate, verified.workload, Request(*_told(ask, place, verified))
    return decider.decide_and_tell(snapshot, known[2], now)


def _proof(
    ask: Ask, place: Place, workload: VerifiedWorkload | VerifiedToken, proven: ProvenRequest | None, audience: str
) -> Proof:
    """What was proven for this call, and where it is."""
    return Proof(
        str(workload.id),
        workload.leaf_sha256 if isinstance(workload, VerifiedWorkload) else None,
        None if proven is None else proven.key,
        proven is not None and proven.covers_body,
        place.session,
        place.process,
        None if place.gate is None else place.gate.id,
        ask.destination,
        place.environment,
        audience,
    )


def _above(standing: Standing, ask: Ask) -> Ancestors:
    """What stands above the resource that is asked for."""
    resource, parents = ask.resource, tuple(ask.resource.parents or ())
    told = EntityData(resource.type, resource.id, {}, parents)
    return resource_ancestors(standing.snapshot.world, told, bool(parents))


def _trusted_until(standing: Standing, verified: Verified) -> int:
    """Until when the bundle that the workload was verified by may be relied on."""
    bundle = None if verified.workload is None else standing.trust.bundles.get(verified.workload.trust_domain)
    return FOREVER if bundle is None else bundle.fresh_until_us


def _refuse_stale(standing: Standing, now: int) -> None:
    """P9: freezes and ends that are not known of could stand against anything."""
    if standing.grants.is_stale(now, standing.grants_bound_us):
        raise Refusal("grants_stale", "what is known of grants and freezes was not confirmed within its bound")


def _told(ask: Ask, place: Place, verified: Verified) -> tuple[Any, ...]:
    """The question as it is decided and recorded, in the order of a `Request`: with what was verified in the place of what
    was claimed."""
    workload = verified.workload
    return (
        ask.action,
        ask.resource,
        None if workload is None else Workload(str(workload.id), None, name_of(workload), workload.not_after_us + 1),
        verified.user,
        None if verified.redeemed is None else _task(verified.redeemed),
        ask.context,
        None if place.gate is None else place.gate.facts,
        ask.location,
        ("key",) if isinstance(workload, VerifiedWorkload) else (),
    )


def name_of(workload: VerifiedWorkload | VerifiedToken) -> str:
    """What a credential is revoked by: the thumbprint of a certificate; domain, key and id of a token, never the token."""
    return workload.leaf_sha256 if isinstance(workload, VerifiedWorkload) else " ".join(workload.deny_key)


def _task(redeemed: Redeemed) -> Task:
    task = redeemed.task
    return Task(
        task.kind,
        task.id,
        task.attributes,
        task.started,
        task.ends,
        task.proof,
        task.opener,
        task.holder,
        task.depth,
        task.parent,
        task.state,
        task.covers,
    )


def _around(destination: str | None, verified: Verified, presented: Mapping[str, str] | None) -> Circumstances:
    workload, redeemed, proven = verified.workload, verified.redeemed, verified.proven
    return Circumstances(
        None if redeemed is None else redeemed.task.id,
        () if redeemed is None else redeemed.chain,
        certificate=workload.leaf_sha256 if isinstance(workload, VerifiedWorkload) else None,
        proof=None if proven is None else proven.id,
        destination=destination,
        bindings=() if redeemed is None else tuple(sorted(redeemed.task.proof)),
        presented=presented,
    )
