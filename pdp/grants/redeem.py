"""A grant that is shown -> the task of a request, or the reason why not. On the way of every check, so it does no I/O.

What was shown is compared with what the record says; what a handle says of itself is not asked. Each grant of the chain is
evaluated by itself: a child that was wrongly given more than its parent gets no more from it.

What is left to the language (`assemble`): who may hold and open a task, how long it lasts by the policy of today, whether
its facts have their types. Here the same is asked for every grant above the one that was shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from language import ApprovalDecl, TaskData, TaskDecl, Trust, World, may_open, shorten, subject_holds
from pdp.grants.grant import Grant, Reference, Source, State
from pdp.grants.reasons import Refused
from pdp.grants.scope import Ancestors, covers, target_of
from pdp.grants.store import Consume
from pdp.model.bounded import Bounded


@dataclass(frozen=True, slots=True)
class Shown:
    """What was proven for one call, by whoever verified it; and where the call is. None: nothing was."""

    workload: str
    certificate: str | None = None  # x5t#S256 of the leaf that was verified for this connection
    key: str | None = None  # thumbprint of the key that signed a proof for this grant, at this moment
    request: bool = False  # that proof covers method, target and body of this very call, and is used for the first time
    session: str | None = None
    process: str | None = None  # as a node's attestor vouched for it
    gate: str | None = None
    destination: str | None = None
    environment: str | None = None
    audience: str = ""


@dataclass(frozen=True, slots=True)
class Redeemed:
    task: TaskData
    chain: tuple[str, ...]  # the root first
    consumes: tuple[Consume, ...] = ()  # to be taken from the store before an allow is answered


class Fits:
    """Chains that were found to be whole, and what policy and data of a world would give: asked once for each of both. Of
    one world at a time, or it would keep every one that there ever was.

    INVARIANT: neither a grant nor a world ever changes, so what was found of them stays so.
    """

    __slots__ = ("_chains_max", "_of")

    def __init__(self, chains_max: int = 8_192) -> None:
        self._chains_max = chains_max
        self._of: tuple[World | None, Bounded[str, tuple[Grant, ...]]] = None, Bounded(chains_max)

    def demand(self, chain: tuple[Grant, ...], world: World) -> int:
        """When the task of a fit chain started."""
        root, leaf = chain[0], chain[-1]
        of, seen = self._of
        if of is not world:
            of, seen = self._of = world, Bounded(self._chains_max)
        if seen.get(leaf.id) != chain or root.started is None:
            refuse_broken(chain)
            decl = world.vocabulary.tasks.get(leaf.kind)
            if decl is None:
                raise Refused("grant_outdated", f"there is no task `{shorten(leaf.kind)}` any more")
            refuse_outdated(chain, decl, world)
            if root.started is None:
                raise Refused("grant_unreadable", "an active task has started")
            seen.keep(leaf.id, chain)
        return root.started


def redeem(
    chain: tuple[Grant, ...],
    shown: Shown,
    now: int,
    world: World,
    action: str,
    resource: Reference,
    above: Ancestors,
    fits: Fits | None = None,
) -> Redeemed:
    """What the last grant of a chain is good for at this moment. `above` is what stands above the resource."""
    leaf, root = chain[-1], chain[0]
    refuse_other_place(chain, shown)
    if shown.workload != leaf.holder:
        raise Refused("task_misheld")
    proof = proven(leaf, shown)
    refuse_over(chain, now)
    started = (fits or Fits()).demand(chain, world)
    task = TaskData(
        leaf.kind,
        leaf.task,
        root.attributes,  # of the task, so what a child says of them is not asked
        started,
        min(grant.ends for grant in chain),
        proof,
        root.opener,
        leaf.holder,
        leaf.depth,
        leaf.parent,
        covers=all(covers(grant.scope, action, resource, above) for grant in chain),
    )
    consumes = tuple(Consume(f"use {grant.id}", grant.ends, grant.uses) for grant in chain if grant.uses is not None)
    return Redeemed(task, tuple(grant.id for grant in chain), consumes)


def refuse_broken(chain: tuple[Grant, ...]) -> None:
    """A chain is one task: one tree, one opener, one kind, each grant one level below the one before."""
    root = chain[0]
    if root.parent is not None or root.depth != 0:
        raise Refused("grant_unreadable", "the chain does not begin at a root")
    for above, below in pairwise(chain):
        same = (
            below.parent == above.id
            and below.depth == above.depth + 1
            and below.task == root.task
            and below.kind == root.kind
            and below.opener == root.opener
        )
        if not same:
            raise Refused("grant_unreadable", "a grant is not of the task of the one above it")


def refuse_other_place(chain: tuple[Grant, ...], shown: Shown) -> None:
    """Environment, audience, gate and destination: the grant is of use in its own places only, whatever keys they share."""
    refuse_elsewhere(chain, shown.environment, shown.audience)
    for grant in chain:
        binding = grant.binding
        if binding.unknown:
            raise Refused("binding_unknown", ", ".join(shorten(name) for name in binding.unknown))
        if binding.gates is not None and shown.gate not in binding.gates:
            raise Refused("wrong_gate")
        if binding.destinations is not None and shown.destination not in binding.destinations:
            raise Refused("wrong_destination")


def proven(grant: Grant, shown: Shown) -> frozenset[str]:
    """The facts of `proof` that hold for this call. What the grant is tied to must have been shown; there is no less."""
    binding = grant.binding
    if binding.is_bearer:
        raise Refused("grant_unbound")
    for tied, given in ((binding.certificate, shown.certificate), (binding.key, shown.key)):
        if tied is not None and given is None:
            raise Refused("proof_missing")
        if tied is not None and given != tied:
            raise Refused("wrong_key")
    if binding.session is not None and shown.session != binding.session:
        raise Refused("wrong_session")
    if binding.process is not None and shown.process != binding.process:
        raise Refused("wrong_process")
    facts = {"key"}
    if shown.request and binding.key is not None:
        facts.add("request")
    if binding.session is not None:
        facts.add("session")
    if binding.process is not None:
        facts.add("process")
    return frozenset(facts)


def refuse_elsewhere(chain: tuple[Grant, ...], environment: str | None, audience: str) -> None:
    """A step on a grant is taken where the grant was given."""
    for grant in chain:
        if grant.environment != environment:
            raise Refused("wrong_environment")
        if grant.audience != audience:
            raise Refused("wrong_audience")


def refuse_over(chain: tuple[Grant, ...], now: int) -> None:
    """Ended outranks suspended, wherever in the chain each of them is."""
    if any(grant.is_over or now >= grant.ends for grant in chain):
        raise Refused("task_ended")
    for grant in chain:
        if grant.state is State.SUSPENDED:
            raise Refused("task_suspended")
        if grant.state is not State.ACTIVE:
            raise Refused("task_not_active")


def refuse_outdated(chain: tuple[Grant, ...], decl: TaskDecl, world: World) -> None:
    """Whether the declaration of today would give each grant of the chain to its holder, with its facts and approvals."""
    for grant in chain:
        if not subject_holds(decl.who, world, grant.holder):
            raise Refused("grant_outdated", f"`{decl.kind}` may not be held by {grant.holder}")
        if not may_open(decl, world, grant.opener, grant.holder):
            raise Refused("grant_outdated", f"`{decl.kind}` may not be opened by {grant.opener}")
        if decl.approval is not None and not was_approved(grant, decl.approval):
            raise Refused("grant_outdated", f"`{decl.kind}` needs approvals that this grant was not given")
    claimed = {field.name for field in decl.carries if field.trust is Trust.CLAIMED}
    for fact in chain[0].facts:
        if fact.source is Source.HOLDER and fact.name not in claimed:
            raise Refused("grant_outdated", f"`{fact.name}` was set by the holder")


def was_approved(grant: Grant, needed: ApprovalDecl) -> bool:
    """Whether as many as are needed today approved it when it was given. It keeps the approvals that counted then."""
    of = None if grant.required is None else grant.required.of
    return of == target_of(needed.of) and len(grant.approvals) >= needed.count
