"""Whether a grant may be given, by the policy of this moment. One function, asked when a grant is opened, when a request is
taken up, when the last approval comes, when it is delegated, renewed or resumed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from language import (
    BadValue,
    TaskDecl,
    Trust,
    World,
    conform_record,
    describe,
    is_spiffe_id,
    may_open,
    shorten,
    subject_holds,
)
from pdp.grants.document import BadRecord, canonical, read_value, tell_value
from pdp.grants.grant import ID_CHARACTERS_MIN, Bindings, Fact, Grant, Source
from pdp.grants.reasons import Refused
from pdp.grants.scope import above_in, ceiling, is_empty, within

LASTING_MAX = 3_600_000_000  # an hour, for a kind that does not say how long it lasts
FACTS_BYTES_MAX = 64 * 1024
PLACES_MAX = 100
TIE_CHARACTERS_MAX = 512

_ID = re.compile(rf"[A-Za-z0-9_-]{{{ID_CHARACTERS_MIN},128}}\Z")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]\Z")  # SHA-256 in unpadded base64url, its one form


def find_kind(world: World, kind: str) -> TaskDecl:
    decl = world.vocabulary.tasks.get(kind) if type(kind) is str else None
    if decl is None:
        raise Refused("unknown_kind", shorten(kind))
    return decl


def refuse_unfit(grant: Grant, decl: TaskDecl, world: World) -> None:
    """Every rule that a grant of a kind keeps, whoever gives it and when."""
    if type(grant.holder) is not str or not is_spiffe_id(grant.holder):
        raise Refused("holder_refused", f"found {describe(grant.holder)}, expected a SPIFFE ID")
    if type(grant.opener) is not str or not is_spiffe_id(grant.opener):
        raise Refused("wrong_opener", f"found {describe(grant.opener)}, expected a SPIFFE ID")
    if grant.opener == grant.holder and not decl.holder_opens:
        raise Refused("holder_is_opener")
    if not may_open(decl, world, grant.opener, grant.holder):
        raise Refused("wrong_opener", grant.opener)
    if not subject_holds(decl.who, world, grant.holder):
        raise Refused("holder_refused", grant.holder)
    refuse_facts(grant.facts, decl)
    refuse_scope(grant, decl, world)
    if not is_number(grant.lasting) or grant.lasting <= 0:
        raise Refused("lasting_malformed")
    if grant.lasting > lasting_max(decl):
        raise Refused("lasting_too_long")
    if grant.uses is not None and (not is_number(grant.uses) or grant.uses <= 0):
        raise Refused("uses_malformed")
    refuse_bindings(grant.binding)


def lasting_max(decl: TaskDecl) -> int:
    return LASTING_MAX if decl.lasts is None else decl.lasts


def refuse_facts(facts: tuple[Fact, ...], decl: TaskDecl) -> None:
    """Facts are those that are declared, of their types, and what the holder said is where a claim may stand."""
    attributes = {fact.name: fact.value for fact in facts}
    if len(attributes) != len(facts):
        raise Refused("fact_malformed", "one is told twice")
    try:
        conform_record(attributes, decl.facts, "task")
    except BadValue as error:
        raise Refused("fact_malformed", str(error)) from None
    claimable = {field.name for field in decl.carries if field.trust is Trust.CLAIMED}
    for fact in facts:
        if fact.source is Source.HOLDER and fact.name not in claimable:
            raise Refused("fact_from_holder", fact.name)


def make_facts(told: Mapping[str, Any], source: Source, others: tuple[Fact, ...] = ()) -> tuple[Fact, ...]:
    """Facts as they are kept, beside others that were told before and stay as they are."""
    if not isinstance(told, Mapping) or not all(type(name) is str for name in told):
        raise Refused("fact_malformed", f"found {describe(told)}, expected an object")
    known = {fact.name for fact in others}
    for name in told:
        if name in known:
            raise Refused("fact_changed", shorten(name))
    try:
        made = [Fact(name, read_value(value), source) for name, value in told.items()]
    except BadRecord as error:
        raise Refused("fact_malformed", str(error)) from None
    facts = tuple(sorted((*others, *made), key=lambda fact: fact.name))
    if len(canonical([tell_value(fact.value) for fact in facts])) > FACTS_BYTES_MAX:
        raise Refused("fact_malformed", f"more than {FACTS_BYTES_MAX} bytes")
    return facts


def refuse_scope(grant: Grant, decl: TaskDecl, world: World) -> None:
    if is_empty(grant.scope):
        raise Refused("scope_empty")
    if not within(grant.scope, ceiling(decl), above_in(world)):
        raise Refused("scope_too_wide")


def refuse_bindings(binding: Bindings) -> None:
    """The form of a binding. That it has a key at all is asked where it is given to somebody: `refuse_bearer`."""
    if not isinstance(binding, Bindings):
        raise Refused("binding_malformed", f"found {describe(binding)}")
    if binding.unknown:
        raise Refused("binding_unknown", ", ".join(shorten(name) for name in binding.unknown))
    for thumbprint in (binding.certificate, binding.key):
        if thumbprint is not None and not is_thumbprint(thumbprint):
            raise Refused("binding_malformed", "a thumbprint is a SHA-256 in unpadded base64url")
    for places in (binding.gates, binding.destinations):
        if places is not None and not (
            type(places) is tuple
            and 0 < len(places) <= PLACES_MAX
            and all(type(place) is str and is_spiffe_id(place) for place in places)
            and list(places) == sorted(set(places))
        ):
            raise Refused("binding_malformed", f"gates and destinations are up to {PLACES_MAX} SPIFFE IDs, in order")
    for tie in (binding.session, binding.process):
        if tie is not None and (type(tie) is not str or not 0 < len(tie) <= TIE_CHARACTERS_MAX or not tie.isprintable()):
            raise Refused("binding_malformed", "a session or a process is a short name")
    if binding.session is not None and (binding.gates is None or len(binding.gates) != 1):
        raise Refused("binding_malformed", "a session is named by its gate, so the grant is tied to that one gate")


def is_thumbprint(value: object) -> bool:
    return type(value) is str and _THUMBPRINT.match(value) is not None


def refuse_bearer(binding: Bindings) -> None:
    if binding.is_bearer:
        raise Refused("bearer_refused")


def refuse_id(grant_id: object) -> None:
    if type(grant_id) is not str or not _ID.match(grant_id):
        raise Refused("id_malformed")


def refuse_wider(child: Grant, chain: tuple[Grant, ...], world: World) -> None:
    """A child is narrower on every axis than the last grant of the chain above it, or equal."""
    parent, above = chain[-1], above_in(world)
    if child.kind != parent.kind:
        raise Refused("child_other_kind")
    if parent.deeper <= 0 or child.deeper >= parent.deeper or child.deeper < 0:
        raise Refused("delegation_too_deep")
    if not within(child.scope, parent.scope, above):
        raise Refused("child_too_wide")
    if parent.uses is not None and (child.uses is None or child.uses > parent.uses):
        raise Refused("child_too_wide", "it may be used more often")
    refuse_less_bound(child.binding, parent.binding)
    keys = {key for grant in chain for key in _keys(grant.binding)}
    if keys.intersection(_keys(child.binding)):
        raise Refused("child_key_known")


def refuse_less_bound(child: Bindings, parent: Bindings) -> None:
    """Places are a subset. A session and a process are each holder's own: a child has one where its parent has.

    A task key stands for a certificate, which ties to less; where the parent has both, the child has both.
    """
    for narrow, wide in ((child.gates, parent.gates), (child.destinations, parent.destinations)):
        if wide is not None and (narrow is None or not set(narrow) <= set(wide)):
            raise Refused("child_less_bound", "gates and destinations")
    for own, its in ((child.session, parent.session), (child.process, parent.process), (child.key, parent.key)):
        if its is not None and own is None:
            raise Refused("child_less_bound", "session, process and task key")
    if parent.key is not None and parent.certificate is not None and child.certificate is None:
        raise Refused("child_less_bound", "certificate beside a task key")


def _keys(binding: Bindings) -> set[str]:
    return {key for key in (binding.certificate, binding.key) if key is not None}


def is_number(value: object) -> bool:
    """`True` is no number here, though Python thinks so."""
    return type(value) is int
