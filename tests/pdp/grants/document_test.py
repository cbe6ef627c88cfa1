"""Records and their documents: what is told is read back; what is not a record is refused, and narrows nothing away."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.grants.approval import agreement
from pdp.grants.document import BadRecord, canonical, read_record, tell_record
from pdp.grants.grant import (
    Approval,
    Bindings,
    EndReason,
    Fact,
    Grant,
    Mark,
    Permit,
    Required,
    Scope,
    Source,
    State,
    Target,
    Tombstone,
)
from pdp.grants.scope import covers

texts = st.text(max_size=8)
numbers = st.integers(-(2**63), 2**63 - 1)
references = st.tuples(texts, texts)
values = st.recursive(
    st.one_of(st.booleans(), numbers, texts), lambda each: st.lists(each, max_size=3).map(tuple), max_leaves=4
)
targets = st.builds(Target, texts, st.none() | texts, st.none() | references)
names = st.lists(texts.filter(lambda n: n not in ("actions", "on")), max_size=2, unique=True).map(sorted).map(tuple)
scopes = st.lists(
    st.builds(Permit, st.frozensets(texts, max_size=3), st.lists(targets, max_size=2).map(tuple), names), max_size=2
).map(lambda permits: Scope(tuple(permits)))
places = st.none() | st.lists(texts, max_size=2).map(tuple)
ties = st.builds(Bindings, st.none() | texts, st.none() | texts, places, places, st.none() | texts, st.none() | texts)
grants = st.builds(
    Grant,
    id=texts, task=texts, parent=st.none() | texts, depth=numbers, kind=texts, holder=texts, opener=texts, requester=texts,
    facts=st.lists(st.builds(Fact, texts, values, st.sampled_from(Source)), max_size=2).map(tuple),
    scope=scopes, environment=st.none() | texts, audience=texts, binding=ties, created=numbers, lasting=numbers,
    ends=numbers, state=st.sampled_from(State), generation=texts, started=st.none() | numbers,
    people=st.lists(references, max_size=2).map(tuple), deeper=numbers, uses=st.none() | numbers,
    required=st.none() | st.builds(Required, numbers, targets),
    approvals=st.lists(st.builds(Approval, texts, references, numbers, numbers, texts), max_size=2).map(tuple),
    holds=st.lists(texts, max_size=2).map(tuple), ended=st.none() | st.sampled_from(EndReason),
    ended_at=st.none() | numbers, why=texts, confidential=st.booleans(),
)  # fmt: skip
marks = st.builds(Mark, texts, texts, texts, numbers, texts, st.booleans(), st.booleans())
records = st.one_of(grants, marks, st.builds(Tombstone, texts, numbers))


@settings(deadline=None)
@given(records)
def test_what_is_told_is_read_back(record: Any) -> None:
    """A scope is a set of permits, so its order is the document's."""
    text = canonical(tell_record(record))
    read = read_record(json.loads(text), record.revision)
    assert canonical(tell_record(read)) == text
    if not isinstance(record, Grant):
        assert read == record
    else:
        assert isinstance(read, Grant)
        assert (read.facts, read.binding, read.state, read.ended, read.confidential) == (
            record.facts,
            record.binding,
            record.state,
            record.ended,
            record.confidential,
        )
        assert set(read.scope.permits) == {
            Permit(p.actions, tuple(sorted(p.on, key=lambda t: canonical(_target(t)))), p.constraints)
            for p in record.scope.permits
        }


def _target(target: Target) -> dict[str, Any]:
    return {"type": target.type, "id": target.id, "within": target.within and list(target.within)}


def told() -> dict[str, Any]:
    grant = Grant(
        "g", "t", None, 0, "k", "h", "o", "r", (Fact("n", 1, Source.OPENER),),
        Scope((Permit(frozenset({"a"}), (Target("T"),)),)), None, "d", Bindings("c"), 1, 2, 3, State.ACTIVE, "p",
    )  # fmt: skip
    found: dict[str, Any] = json.loads(canonical(tell_record(grant)))
    return found


def at(path: str, value: Any) -> dict[str, Any]:
    """The document with one thing changed."""
    whole = told()
    place: Any = whole
    *way, last = path.split(".")
    for name in way:
        place = place[int(name)] if name.isdigit() else place[name]
    place[last] = value
    return whole


ROWS = [
    ("v", 2),
    ("v", True),
    ("v", "1"),
    ("mark", {}),
    ("grant", None),
    ("grant.depth", True),
    ("grant.depth", "0"),
    ("grant.depth", 0.0),
    ("grant.ends", None),
    ("grant.id", 5),
    ("grant.started", "yesterday"),
    ("grant.uses", True),
    ("grant.state", "alive"),
    ("grant.state", None),
    ("grant.ended", "gone"),
    ("grant.more", 1),
    ("grant.facts", {}),
    ("grant.facts.0.value", None),
    ("grant.facts.0.value", 1.5),
    ("grant.facts.0.source", "gate"),
    ("grant.facts.0.more", 1),
    ("grant.scope", "all"),
    ("grant.scope.0.actions", "a"),
    ("grant.scope.0.on.0.more", 1),
    ("grant.scope.0.on.0.within", ["T"]),
    ("grant.binding", None),
    ("grant.binding.key", 5),
    ("grant.binding.gates", "spiffe://d/g"),
    ("grant.people", [["User"]]),
    ("grant.required", {"count": True, "of": {"type": "T"}}),
    ("grant.approvals", [{}]),
    ("grant.holds", [1]),
    ("grant.confidential", None),
    ("grant.confidential", 0),
]


@pytest.mark.parametrize(("path", "value"), ROWS, ids=[f"{path} = {value}" for path, value in ROWS])
def test_what_is_no_record_is_refused(path: str, value: Any) -> None:
    read_record(told(), 1)
    with pytest.raises(BadRecord):
        read_record(at(path, value), 1)


@pytest.mark.parametrize("whole", [None, 5, "grant", [], {}, {"v": 1}, {"v": 1, "grant": {}, "mark": {}}])
def test_what_is_not_even_a_document_is_refused(whole: Any) -> None:
    with pytest.raises(BadRecord):
        read_record(whole, 1)


def test_what_a_later_version_narrows_is_kept_by_name_and_covers_nothing() -> None:
    read = read_record(at("grant.scope.0.columns", ["id"]), 1)
    assert isinstance(read, Grant)
    assert read.scope.permits[0].constraints == ("columns",)
    assert not covers(read.scope, "a", ("T", "x"), {})
    again = read_record(tell_record(read), 1)
    assert isinstance(again, Grant)
    assert again.scope == read.scope
    tied = read_record(at("grant.binding.tpm", "x"), 1)
    assert isinstance(tied, Grant)
    assert tied.binding.unknown == ("tpm",)


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | numbers | texts, lambda e: st.lists(e) | st.dictionaries(texts, e)))
def test_nothing_but_a_coded_refusal(value: Any) -> None:
    for path in ("grant", "grant.facts", "grant.scope", "grant.binding", "grant.approvals", "grant.required", "v"):
        try:
            read_record(at(path, value), 1)
        except BadRecord:
            continue


def test_of_an_older_record_nobody_knows_whose_words_it_has() -> None:
    """Finding A11: a store from before there was `confidential` is read, and tells `why` to operators alone."""
    whole = told()
    del whole["grant"]["confidential"]
    read = read_record(whole, 1)
    assert isinstance(read, Grant)
    assert read.confidential
    assert agreement(read) == agreement(replace(read, confidential=False))  # what was approved before stays approved


def test_one_true_and_its_text_are_three_documents() -> None:
    assert len({canonical(1), canonical(True), canonical("1")}) == 3
