"""A question that is asked again is understood once, and its answer is the one that it would get for the first time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import pdp
from pdp.identity import Verifier
from pdp.model.ask import Shown
from pdp.server.config import Pep, read_config
from pdp.server.desk import Desk
from pdp.server.hearing import Heard, Hearing
from pdp.server.parts import Parts, make_parts
from pdp.server.peer import Peer, Transport
from pdp.testing import FakeClock
from pdp.wire.client import write_request
from pdp.wire.decision import GateWords, read_check
from tests.conformance.over_the_wire_test import START, YEARS, certificates, domain, trust
from tests.pdp.identity.world import key

GATE, API = "spiffe://gates.test/edge", "spiffe://prod.test/ns/api"
PEP = Pep(domains=("prod.test",), users=("*",), explain=True, vouches=True, destinations=())
PEER = Peer(GATE, Transport.TLS, frozenset(), PEP)
NOW = "2026-05-01T00:00:00Z"

POLICY = """language 1
package app
entity User { banned: Bool }
entity Document { owner: User }
action read on Document { place: String? from gate }
allow owners { for User do read on Document when resource.owner == user  unless user.banned }
allow api { who spiffe://prod.test/ns/api do read on Document proof key }
"""
OTHER = POLICY.replace("allow api {", "deny all { who anyone do read on Document }\nallow api {")
DATA = """[{"type": "User", "id": "ada", "attributes": {"banned": false}},
{"type": "Document", "id": "q1", "attributes": {"owner": ["User", "ada"]}}]"""

ASKS = {
    "user": write_request(pdp.Request("read", ("Document", "q1"), user=("User", "ada")), None),
    "workload": write_request(pdp.Request("read", ("Document", "q1")), Shown(certificates(API), whole_path=True)),
    "nobody": write_request(pdp.Request("read", ("Document", "q1")), None),
    "unknown": write_request(pdp.Request("read", ("Document", "q2"), user=("User", "ada")), None),
    "no such action": write_request(pdp.Request("write", ("Document", "q1"), user=("User", "ada")), None),
}


class Place:
    def __init__(self, folder: Path) -> None:
        self.policies = folder / "policies"
        (self.policies / "data").mkdir(parents=True)
        (self.policies / "app.policy").write_text(POLICY)
        (self.policies / "data" / "data.json").write_text(DATA)
        told = {
            "policies": {"path": str(self.policies), "watch": False},
            "listen": [{"address": "127.0.0.1:0"}],
            "admin": {"address": ""},
            "development": {"enabled": True},
        }
        self.parts: Parts = make_parts(read_config(told, folder))
        self.clock = FakeClock(NOW)
        self.parts.clock = self.clock
        self.parts.trust.put(trust(API).bundles.values())
        self.desk = Desk(self.parts)

    def again(self, raw: bytes, peer: Peer = PEER) -> tuple[object, ...]:
        """As the handler does it, with what is remembered."""
        turn = self.desk.turn(peer)
        heard = self.desk.hear(raw, peer, turn)
        if not isinstance(heard, Heard):
            return self.anew(raw, peer)
        return self.desk.check(heard.ask, turn, heard.understood).decision.settled

    def anew(self, raw: bytes, peer: Peer = PEER) -> tuple[object, ...]:
        turn = self.desk.turn(peer)
        ask = read_check(raw, turn.place.gate, self.desk.words(turn))
        assert isinstance(ask, pdp.model.ask.Ask)
        return self.desk.check(ask, turn).decision.settled

    def reload(self, policy: str = POLICY, data: str = DATA) -> None:
        (self.policies / "app.policy").write_text(policy)
        (self.policies / "data" / "data.json").write_text(data)
        self.parts.engine.reload()


CHANGES: dict[str, Callable[[Place], object]] = {
    "nothing": lambda place: None,
    "policy": lambda place: place.reload(OTHER),
    "policy that renames an action": lambda place: place.reload(POLICY.replace("read", "write")),
    "user banned": lambda place: place.reload(data=DATA.replace("false", "true")),
    "document of another": lambda place: place.reload(data=DATA.replace('"ada"]', '"bob"]')),
    "workload revoked": lambda place: place.parts.engine.revoke("workload", API),
    "gate revoked": lambda place: place.parts.engine.revoke("gate", GATE),
    "trust withdrawn": lambda place: place.parts.trust.replace_source("test", ()),
    "certificate ended": lambda place: place.clock.set(START + 2 * YEARS),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_what_was_asked_before_is_answered_as_if_for_the_first_time(
    change: Callable[[Place], object], tmp_path: Path
) -> None:
    place = Place(tmp_path)
    before = {name: [place.again(raw) for _ in range(4)] for name, raw in ASKS.items()}
    assert all(each == place.anew(ASKS[name]) for name, answers in before.items() for each in answers)
    change(place)
    for raw in ASKS.values():
        assert [place.again(raw) for _ in range(3)] == [place.anew(raw)] * 3


def test_the_changes_change_something(tmp_path: Path) -> None:
    """Or the test above would compare what stays the same."""
    for number, (name, change) in enumerate(CHANGES.items()):
        place = Place(tmp_path / str(number))
        before = [place.anew(raw) for raw in ASKS.values()]
        change(place)
        assert ([place.anew(raw) for raw in ASKS.values()] == before) == (name == "nothing"), name


def test_a_question_belongs_to_its_caller_and_gate(tmp_path: Path) -> None:
    place = Place(tmp_path)
    narrow = Peer(GATE, Transport.TLS, frozenset(), Pep(domains=("other.test",), users=("User",), destinations=()))
    for _ in range(3):
        assert place.again(ASKS["workload"])[0].allowed  # type: ignore[attr-defined]
    for _ in range(3):
        assert place.again(ASKS["workload"], narrow)[0].reason == "domain_not_asserted"  # type: ignore[attr-defined]
    itself = Peer(API, Transport.TLS, frozenset())
    heard = place.desk.hear(ASKS["user"], itself, place.desk.turn(itself))
    assert getattr(heard, "code", None) == "unknown_gate"


def test_a_caller_that_speaks_for_itself_with_another_certificate_is_understood_anew(tmp_path: Path) -> None:
    place = Place(tmp_path)
    raw = write_request(pdp.Request("read", ("Document", "q1")), None)
    issued = [domain("prod.test").certificates(API, key().public_key(), START, YEARS) for _ in range(2)]
    one, two = (Verifier().workload(chain, place.parts.trust.current, place.clock()) for chain in issued)
    place.parts.engine.revoke("credential", two.leaf_sha256)
    for workload, reason in (one, "allowed"), (two, "revoked"), (one, "allowed"):
        peer = Peer(API, Transport.TLS, frozenset(), workload=workload)
        assert {place.again(raw, peer)[0].reason for _ in range(3)} == {reason}  # type: ignore[attr-defined]


WORDS = GateWords(frozenset(), {})
BARE = pdp.Request("read", ("Document", "q1"), user=("User", "ada"))


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (write_request(BARE, None), True),
        (write_request(BARE, Shown(certificates(API), whole_path=True)), True),
        (write_request(BARE, Shown(token="a.b.c")), False),
        (write_request(BARE, Shown(certificates(API), whole_path=True), "a.grant.handle"), False),
        (write_request(pdp.Request("read", ("Document", "q" * 2000), context={"a": "x" * 4000}), None), False),
    ],
    ids=["bare", "certificate", "token", "grant", "large"],
)
def test_no_token_is_kept_and_nothing_large(raw: bytes, kept: bool, tmp_path: Path) -> None:
    gate = Place(tmp_path).desk.turn(PEER).place.gate
    hearing = Hearing(read_check)
    heard = [hearing.hear("caller", raw, gate, WORDS) for _ in range(4)]
    assert [isinstance(each, Heard) for each in heard] == [False, kept, kept, kept]


def test_what_nobody_repeats_is_not_kept_and_memory_is_bounded(tmp_path: Path) -> None:
    gate = Place(tmp_path).desk.turn(PEER).place.gate
    hearing = Hearing(read_check, questions_max=10)
    raws = [write_request(pdp.Request("read", ("Document", f"q{i}")), None) for i in range(100)]
    for raw in raws:
        assert not isinstance(hearing.hear("caller", raw, gate, WORDS), Heard)
    assert (len(hearing._heard), len(hearing._once), len(hearing._once_before)) == (0, 10, 10)
    for raw in raws:
        hearing.hear("caller", raw, gate, WORDS)
        assert isinstance(hearing.hear("caller", raw, gate, WORDS), Heard)
    assert (len(hearing._heard), len(hearing._once) <= 10, len(hearing._once_before) <= 10) == (10, True, True)


def test_the_bytes_of_all_questions_are_bounded(tmp_path: Path) -> None:
    """What a caller says in four bytes can take more than a hundred when it was read."""
    gate = Place(tmp_path).desk.turn(PEER).place.gate
    raws = [write_request(pdp.Request("read", ("Document", f"q{i:03}")), None) for i in range(100)]
    hearing = Hearing(read_check, bytes_max=10 * len(raws[0]) + 1)
    for words in WORDS, GateWords(frozenset(), {}):  # what is heard anew takes the place of what was heard before
        for raw in raws * 2:
            hearing.hear("caller", raw, gate, words)
        for raw in raws[-10:] * 2:
            assert isinstance(hearing.hear("caller", raw, gate, words), Heard)
        assert [raw for _, raw in hearing._heard] == raws[-10:]
        assert hearing._bytes == sum(map(len, raws[-10:]))
