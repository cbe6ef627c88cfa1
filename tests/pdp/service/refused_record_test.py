"""Finding A10: what the record says of a check that was refused before policy, and what a replay says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

import pdp
from language import Bundle, Inputs
from pdp.grants.grant import Bindings, EndReason, Grant, State
from pdp.grants.reasons import Refused
from pdp.model.ask import Ask
from pdp.record import Circumstances, Decided, Kind, Masking, Step
from pdp.record.encode import encode
from pdp.record.line import START, make_line, parse_line
from pdp.record.reading import read_entry, touched
from pdp.record.replay import DIFFERS, NOT_REPLAYABLE, SAME, replay
from pdp.service.check import Place
from pdp.service.recorded import Recording
from tests.pdp.identity.world import HOUR, NOW
from tests.pdp.service.check_test import AWAY, KEYED, KEYED_AWAY
from tests.pdp.service.desk import API, ASK, BATCH, BUNDLE, GRANT, PLACE, Desk, certificates, handle, proof, showing

OTHER = "spiffe://dev.test/billing/other"
STOLEN = showing(*certificates(OTHER))
#: Refusals in which nobody was verified.
NOBODY = {
    "no certificate", "nothing at all", "a malformed certificate", "no certificate but bytes", "a certificate of other keys",
    "a domain without a bundle", "another principal", "a principal and no certificate",
    "the caller itself, and there is none",
}  # fmt: skip


class Lines:
    """A record in memory, as its lines would be."""

    def __init__(self) -> None:
        self.told: list[tuple[Kind, str]] = []

    def decided(
        self,
        request: pdp.Request,
        decision: pdp.Decision,
        at_us: int,
        took_ns: int,
        bundle: Bundle | None = None,
        inputs: Inputs | None = None,
        around: Circumstances | None = None,
    ) -> bool:
        entry = Decided(request, decision, at_us, took_ns, bundle, inputs, around)
        self.told.append((entry.kind, encode(entry, Masking(bytes(32)))))
        return True

    def stepped(self, step: Step) -> bool:
        raise AssertionError(step)

    def seen(self) -> list[Any]:
        found, head = [], START
        for kind, text in self.told:
            raw, head = make_line(head, kind, text)
            line = parse_line(raw)
            assert line is not None
            found.append(read_entry(line))
        return found


def refused(ask: Ask, *grants: Grant, place: Place = PLACE, **more: Any) -> dict[str, Any]:
    """The entry of a check."""
    lines = Lines()
    desk = Desk(*grants, recording=Recording(lines, lambda: 1), **more)
    assert not desk.ask(ask, place=place).decision.allowed
    ((_, text),) = lines.told
    return dict(json.loads(text))


def decided_again(entry: dict[str, Any]) -> tuple[str, str | None]:
    found = replay(entry, BUNDLE)
    return found.verdict, found.why


def test_a10_who_shows_a_stolen_handle_is_in_the_record_with_what_it_showed() -> None:
    lines = Lines()
    desk = Desk(recording=Recording(lines, lambda: 1))
    for _ in range(3):
        assert desk.reason(STOLEN) == "task_misheld"
    entry = json.loads(lines.told[0][1])
    assert lines.told[0][0] is Kind.REUSE_ATTEMPT
    assert entry["request"]["workload"] == OTHER
    assert entry["presented"] == {"grant": GRANT.id, "task": GRANT.task, "holder": API}
    assert [t.count for t in touched(lines.seen(), OTHER)] == [3]
    assert [t.count for t in touched(lines.seen(), GRANT.id)] == [3]
    assert [t.count for t in touched(lines.seen(), GRANT.task)] == [3]
    assert touched(lines.seen(), API) == []  # the holder did nothing


@pytest.mark.parametrize("name", AWAY)
def test_a10_a_refusal_names_what_was_verified_before_it(name: str) -> None:
    ask, reason = AWAY[name]
    entry = refused(ask)
    assert entry["reason"] == reason
    assert ("workload" in entry["request"]) is (name not in NOBODY)
    genuine = ask.grant == ASK.grant and "task" not in entry["request"]
    assert ("presented" in entry) is genuine
    assert decided_again(entry)[0] in (SAME, NOT_REPLAYABLE)


CHANGES: list[dict[str, Any]] = [
    {"state": State.ENDED, "ended": EndReason.COMPLETED, "ended_at": NOW},
    {"state": State.SUSPENDED, "holds": ("x",)},
    {"state": State.PENDING_APPROVAL},
    {"ends": NOW},
    {"environment": "staging"},
    {"audience": "staging.test"},
    {"binding": Bindings()},
    {"binding": Bindings(certificate="A" * 43)},
    {"binding": replace(GRANT.binding, gates=("spiffe://dev.test/other",))},
    {"holder": BATCH},
    {"opener": BATCH},
    {"kind": "gone"},
    {"id": "h" * 22},
]


@pytest.mark.parametrize("changes", CHANGES, ids=lambda c: ",".join(f"{n}={str(v)[:20]}" for n, v in c.items()))
def test_a10_a_refused_grant_is_named_and_replays_without_a_difference(changes: dict[str, Any]) -> None:
    entry = refused(ASK, replace(GRANT, **changes))
    assert entry["request"]["workload"] == API
    assert entry["presented"] == {"grant": GRANT.id, "task": GRANT.task, "holder": API}
    assert decided_again(entry) == (NOT_REPLAYABLE, "before")


@pytest.mark.parametrize("name", KEYED_AWAY)
def test_a10_a_refused_proof_names_its_grant(name: str) -> None:
    shown = handle(KEYED)
    entry = refused(ASK._replace(grant=shown, proof=KEYED_AWAY[name][0](shown)), KEYED)
    assert (entry["request"]["workload"], entry["presented"]["grant"]) == (API, KEYED.id)
    assert decided_again(entry) == (NOT_REPLAYABLE, "before")


def test_a10_a_person_s_token_that_is_refused_leaves_the_workload() -> None:
    entry = refused(ASK._replace(user_token="x"))  # none
    assert entry["request"]["workload"] == API
    assert "user" not in entry["request"]
    assert decided_again(entry) == (NOT_REPLAYABLE, "before")


def test_a10_what_is_stale_names_who_asked() -> None:
    lines = Lines()
    desk = Desk(recording=Recording(lines, lambda: 1))
    assert desk.reason(showing(*certificates(BATCH, ttl_us=3 * HOUR))._replace(grant=None), NOW + HOUR) == "grants_stale"
    entry = json.loads(lines.told[0][1])
    assert entry["request"]["workload"] == BATCH
    assert decided_again(entry) == (NOT_REPLAYABLE, "before")


def test_a10_a_use_that_is_gone_is_no_difference() -> None:
    """Policy had said yes by then."""

    def spent(_: object) -> None:
        raise Refused("grant_consumed")

    counted = replace(GRANT, uses=1)
    entry = refused(ASK._replace(grant=handle(counted)), counted, consume=spent)
    assert (entry["reason"], "evidence" in entry) == ("grant_consumed", False)
    assert entry["request"]["task"]["id"] == GRANT.task
    assert decided_again(entry) == (NOT_REPLAYABLE, "before")


def test_a10_a_proof_that_was_used_names_its_grant() -> None:
    lines, shown = Lines(), handle(KEYED)
    desk = Desk(KEYED, recording=Recording(lines, lambda: 1))
    call = ASK._replace(grant=shown, proof=proof(shown))
    assert [desk.reason(call), desk.reason(call)] == ["allowed", "proof_replayed"]
    allowed, replayed = (json.loads(text) for _, text in lines.told)
    assert "presented" not in allowed
    assert replayed["presented"]["grant"] == KEYED.id
    assert [decided_again(e)[0] for e in (allowed, replayed)] == [SAME, NOT_REPLAYABLE]


def test_a10_a_revocation_is_no_difference() -> None:
    lines = Lines()
    desk = Desk(recording=Recording(lines, lambda: 1))
    snapshot = desk.standing.snapshot
    desk.put(snapshot=replace(snapshot, revoked=snapshot.revoked.revoke("task", GRANT.task, "")))
    reason = desk.reason()
    entry = json.loads(lines.told[0][1])
    assert entry["reason"] == reason != "allowed"
    assert decided_again(entry) == (NOT_REPLAYABLE, "before")


def test_a_difference_is_still_one() -> None:
    lines = Lines()
    desk = Desk(recording=Recording(lines, lambda: 1))
    assert desk.reason() == "allowed"
    entry = json.loads(lines.told[0][1])
    assert decided_again(entry) == (SAME, None)
    assert decided_again({**entry, "outcome": "deny", "reason": "default_deny"})[0] == DIFFERS
