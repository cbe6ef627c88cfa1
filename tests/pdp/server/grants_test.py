"""Tasks and grants over real mTLS: what was acknowledged holds from the next check on, whoever asks and however."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pdp.errors import PdpError
from pdp.grants.replay import ReplayMemory
from pdp.identity.dev.tokens import public_jwk
from pdp.server import desk
from pdp.server.grants import new_id
from pdp.store.issuer_keys import read_issuer_keys, withdraw
from pdp.wire.messages import PDP
from tests.pdp.server.grants_world import (
    ADMIN,
    API,
    CI,
    DECISIONS,
    GRANTS,
    HELPER,
    LEDGER,
    OPS,
    Client,
    Place,
    asking,
    asking_envoy,
    bound,
    opening,
)
from tests.pdp.server.world import DOMAIN, GATE, Running, call, channel, code_of, development, running, wait_until

REQUESTED, PENDING, ACTIVE, SUSPENDED, ENDED = range(1, 6)  # the numbers of the protocol


@pytest.fixture(autouse=True)
def _up_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory of proofs knows none from before it began; here it began an hour ago."""
    monkeypatch.setattr(desk, "ReplayMemory", lambda began, lock: ReplayMemory(began - 3_600_000_000, lock))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def server(place: Place) -> Iterator[Running]:
    with place.serving() as found:
        yield found


def test_a_task_from_its_opening_to_its_end(place: Place, server: Running) -> None:
    with place.calling(server.address, CI) as ci, place.calling(server.address, GATE) as gate:
        opened = ci.grants("Open", bound(place))
        assert (opened.grant.state, opened.grant.holder, opened.grant.opener) == (ACTIVE, API, CI)
        assert opened.handle
        assert gate.reason(asking(place, opened.handle)) == "allowed"
        assert gate.envoy(asking_envoy(place, opened.handle)).status.code == 0
        assert gate.reason(asking(place, opened.handle, "others")) == "default_deny"
        assert gate.reason(asking(place, "")) == "default_deny"
        ended = ci.grants("End", PDP.EndRequest(task=opened.grant.task))
        assert list(ended.grants) == [opened.grant.id]
        assert gate.reason(asking(place, opened.handle)) == "task_ended"
        denied = gate.envoy(asking_envoy(place, opened.handle))
        assert denied.status.code == 7
        assert "task_ended" in denied.denied_response.body
        unfit = asking_envoy(place, opened.handle)
        unfit.attributes.request.http.path = "//x"
        unfit.attributes.request.http.headers["x-request-id"] = "abc"
        told = {h.header.key: h.header.value for h in gate.envoy(unfit).denied_response.headers}
        assert (told["pdp-reason"], told["pdp-correlation-id"]) == ("non_canonical_path", "abc")
        again = ci.grants("Get", PDP.GetRequest(grant=opened.grant.id))
        assert (again.grant.state, again.grant.ended, again.handle) == (ENDED, 1, "")


def test_a_denial_at_the_edge_is_called_what_the_request_is(
    place: Place, server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """While nothing can be decided, from an answer that is made for it. What somebody asks who is no gate is not read."""
    place.certificate(API)
    asked = asking_envoy(place, "")
    asked.attributes.request.http.headers["x-request-id"] = "abc"
    with place.calling(server.address, CI) as ci, place.calling(server.address, GATE) as gate:
        denied = ci.envoy(asked)
        server.parts.readiness.require("test", lambda: "as the test wants")
        later = gate.envoy(asked)
    answers = (denied.denied_response.headers, "unknown_gate", None), (later.error_response.headers, "not_ready", "abc")
    for headers, reason, correlation in answers:
        told = {h.header.key: h.header.value for h in headers}
        assert (told["pdp-reason"], told.get("pdp-correlation-id")) == (reason, correlation)

    def said() -> list[tuple[str, str | None]]:
        return [(r.code, r.correlation) for r in caplog.records if hasattr(r, "code")]  # type: ignore[attr-defined]

    wait_until(lambda: len(said()) == 2)  # it is logged after the caller has the answer
    assert said() == [("not_permitted", None), ("not_ready", "abc")]


def test_a_task_that_is_over_leaves_memory(place: Place) -> None:
    store = {"path": str(place.folder / "store" / "grants.sqlite"), "keep_ended": "1ms", "freshness": "200ms"}
    with place.serving(store=store) as server, place.calling(server.address, CI) as ci:
        ask = bound(place)
        ask.lasting.nanos = 50_000_000
        opened = ci.grants("Open", ask).grant
        kept = ci.grants("Open", bound(place)).grant
        wait_until(lambda: set(server.parts.state.index.grants) == {kept.id})  # type: ignore[attr-defined]
        assert ci.refused("End", PDP.EndRequest(task=opened.task)).endswith("grant_unknown")


def test_how_long_the_store_is_good_for_is_a_figure(place: Place) -> None:
    with place.serving(store={"path": str(place.folder / "store" / "grants.sqlite"), "freshness": "1h"}) as server:

        def left_s() -> float:
            return next(value for name, _, value in server.parts.counters.gauges() if name == "store_fresh_seconds")

        assert 3_000 < left_s() <= 3_600
        late = server.parts.clock() + 2 * 3_600_000_000
        server.parts.clock = lambda: late
        assert left_s() == 0


def test_an_id_can_be_given_to_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["-dashed", "--twice", "plain"])
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: next(drawn))
    assert new_id() == "plain"


def test_another_holder_cannot_use_it(place: Place, server: Running) -> None:
    with place.calling(server.address, CI) as ci, place.calling(server.address, GATE) as gate:
        handle = ci.grants("Open", bound(place)).handle
        assert gate.reason(asking(place, handle, holder=HELPER)) == "task_misheld"
        assert gate.reason(asking(place, handle)) == "allowed"


def test_who_may_not(place: Place, server: Running) -> None:
    """A holder cannot open its own task, nor can a gate or a stranger do anything here."""
    with place.calling(server.address, API) as api, place.calling(server.address, GATE) as gate:
        assert api.refused("Open", bound(place)) == "PERMISSION_DENIED holder_is_opener"
        assert gate.refused("Open", bound(place)) == "PERMISSION_DENIED not_permitted"
        assert api.refused("Freeze", PDP.FreezeRequest(workload=CI, why="x"), ADMIN) == "PERMISSION_DENIED not_permitted"
    with place.calling(server.address, CI) as ci, place.calling(server.address, HELPER) as helper:
        grant = ci.grants("Open", bound(place)).grant
        get = PDP.GetRequest(grant=grant.id, approver_token="no token")
        assert helper.refused("Get", get) == "UNAUTHENTICATED malformed_credential"
        assert helper.refused("End", PDP.EndRequest(grant=grant.id)) == "FAILED_PRECONDITION grant_unknown"
        assert helper.refused("End", PDP.EndRequest(task=grant.task)) == "FAILED_PRECONDITION grant_unknown"
        assert helper.refused("End", PDP.EndRequest(task="x")) == "FAILED_PRECONDITION grant_unknown"
        assert helper.refused("Get", PDP.GetRequest(grant=grant.id)) == "FAILED_PRECONDITION grant_unknown"
        assert helper.refused("Suspend", PDP.SuspendRequest(grant=grant.id, why="x")) == "FAILED_PRECONDITION grant_unknown"
        assert ci.refused("End", PDP.EndRequest(grant=grant.id, reason=2)) == "PERMISSION_DENIED not_operator"
        assert list(helper.grants("List", PDP.ListRequest()).grants) == []


def test_it_is_asked_for_taken_up_and_renewed(place: Place, server: Running) -> None:
    """A holder asks for a task, tied to its certificate; the opener says yes; the holder ties it to a task key."""
    with (
        place.calling(server.address, CI) as ci,
        place.calling(server.address, API) as api,
        place.calling(server.address, GATE) as gate,
    ):
        ask = PDP.RequestGrantRequest(kind="invoicing", opener=CI, why="the invoices of May")
        ask.bindings.certificate = place.thumbprint(API)
        ask.facts.fields["note"].string_value = "mine"
        asked = api.grants("Request", ask)
        assert (asked.grant.state, asked.handle, asked.grant.why) == (REQUESTED, "", "the invoices of May")
        take = PDP.OpenRequest(requested=asked.grant.id)
        take.facts.fields["tenant"].string_value = "acme"
        assert api.refused("Open", take) == "PERMISSION_DENIED not_yours"
        taken = ci.grants("Open", take)
        assert taken.grant.state == ACTIVE
        handle = api.grants("Get", PDP.GetRequest(grant=taken.grant.id)).handle
        assert gate.reason(asking(place, handle)) == "allowed"
        renew = PDP.RenewRequest(grant=taken.grant.id)
        renew.bindings.certificate, renew.bindings.key = place.thumbprint(API), place.jkt
        assert api.refused("Renew", renew) == "PERMISSION_DENIED proof_missing"
        renew.new_proof = place.step_proof("Renew", renew, taken.grant.id)
        renewed = api.grants("Renew", renew)
        assert renewed.grant.bindings.key == place.jkt
        assert api.refused("Renew", renew) == "UNAUTHENTICATED proof_replayed"


def test_a_proof_is_over_this_message_alone(place: Place, server: Running) -> None:
    with place.calling(server.address, CI) as ci, place.calling(server.address, API) as api:
        grant = ci.grants("Open", opening()).grant
        renew = PDP.RenewRequest(grant=grant.id)
        renew.bindings.key = place.jkt
        renew.new_proof = place.step_proof("Delegate", renew, grant.id)
        assert api.refused("Renew", renew) == "UNAUTHENTICATED proof_wrong_url"
        renew.new_proof = place.step_proof("Renew", renew, "other")
        assert api.refused("Renew", renew) == "UNAUTHENTICATED proof_of_other_grant"
        renew.new_proof = place.step_proof("Renew", renew, grant.id)
        renew.bindings.gates.append(GATE)
        assert api.refused("Renew", renew) == "UNAUTHENTICATED proof_body_wrong"
        del renew.bindings.gates[:]
        assert api.grants("Renew", renew).handle


def test_a_child_is_narrower_and_ends_with_its_parent(place: Place, server: Running) -> None:
    with (
        place.calling(server.address, CI) as ci,
        place.calling(server.address, API) as api,
        place.calling(server.address, GATE) as gate,
    ):
        opened = ci.grants("Open", bound(place))
        give = PDP.DelegateRequest(grant=opened.handle, holder=HELPER, idempotency_key="one")
        give.bindings.certificate = place.thumbprint(HELPER)
        permit = give.scope.add(actions=["select"])
        permit.on.add(type="Table", id="invoices")
        child = api.grants("Delegate", give)
        assert (child.grant.parent, child.grant.depth, child.grant.task) == (opened.grant.id, 1, opened.grant.task)
        assert api.grants("Delegate", give).grant.id == child.grant.id
        give.scope[0].on[0].id = "others"
        assert api.refused("Delegate", give) == "FAILED_PRECONDITION key_reused"
        with place.calling(server.address, HELPER) as helper:
            handle = helper.grants("Get", PDP.GetRequest(grant=child.grant.id)).handle
        assert gate.reason(asking(place, handle, holder=HELPER)) == "allowed"
        ended = api.grants("End", PDP.EndRequest(grant=opened.grant.id, reason=1))
        assert set(ended.grants) == {opened.grant.id, child.grant.id}
        assert gate.reason(asking(place, handle, holder=HELPER)) == "task_ended"


def test_people_approve_with_their_tokens(place: Place, server: Running) -> None:
    with (
        place.calling(server.address, CI) as ci,
        place.calling(server.address, OPS) as console,
        place.calling(server.address, GATE) as gate,
    ):
        ask = PDP.OpenRequest(kind="release", holder=API)
        ask.bindings.certificate = place.thumbprint(API)
        grant = ci.grants("Open", ask).grant
        assert (grant.state, grant.approvals_needed) == (PENDING, 1)

        def yes(token: str | None, agreement: bytes = grant.agreement) -> Any:
            return PDP.ApproveRequest(grant=grant.id, agreement=agreement, approver_token=token)

        assert console.refused("Approve", yes(None)) == "PERMISSION_DENIED no_approver"
        assert console.refused("Approve", yes(place.token("max"))) == "PERMISSION_DENIED wrong_approver"
        assert console.refused("Approve", yes(place.token("ada", aud="other"))) == "UNAUTHENTICATED audience_wrong"
        assert console.refused("Approve", yes(place.token("ada", iss="https://x.test"))) == (
            "UNAUTHENTICATED person_issuer_unknown"
        )
        assert console.refused("Approve", yes(place.token("ada"), b"\0" * 32)) == "FAILED_PRECONDITION agreement_changed"
        assert ci.refused("Approve", yes(place.token("ada"))) == "PERMISSION_DENIED self_approval"
        approved = console.grants("Approve", yes(place.token("ada")))
        assert (approved.grant.state, approved.grant.approvals[0].approver.id, approved.handle) == (ACTIVE, "ada", "")
        assert console.refused("Approve", yes(place.token("ada"))) == "FAILED_PRECONDITION not_pending"
        handle = ci.grants("Get", PDP.GetRequest(grant=grant.id)).handle
        assert gate.reason(asking(place, handle, action="update")) == "allowed"
        other = ci.grants("Open", ask).grant
        no = PDP.RejectRequest(grant=other.id, approver_token=place.token("ada"), why="not today")
        assert console.grants("Reject", no).grant.state == ENDED


def test_freeze_and_thaw(place: Place, server: Running) -> None:
    with (
        place.calling(server.address, CI) as ci,
        place.calling(server.address, OPS) as ops,
        place.calling(server.address, GATE) as gate,
    ):
        opened = ci.grants("Open", bound(place))
        ask = asking(place, opened.handle)
        planned = ops.admin("Freeze", PDP.FreezeRequest(workload=API, plan=True))
        assert list(planned.grants) == [opened.grant.id]
        assert gate.reason(ask) == "allowed"
        assert ops.refused("Freeze", PDP.FreezeRequest(workload=API), ADMIN) == "INVALID_ARGUMENT reason_missing"
        ops.admin("Freeze", PDP.FreezeRequest(workload=API, why="a shell"))
        assert gate.reason(ask) == "task_suspended"
        assert ci.refused("Open", bound(place)) == "PERMISSION_DENIED workload_frozen"
        thawed = ops.admin("Thaw", PDP.ThawRequest(workload=API, why="a mistake"))
        assert list(thawed.grants) == [opened.grant.id]
        assert gate.reason(ask) == "allowed"
        ops.admin("Revoke", PDP.RevokeRequest(gate=GATE, why="a test"))
        assert gate.refused("Check", ask, DECISIONS) == "PERMISSION_DENIED revoked"
        assert gate.envoy(asking_envoy(place, opened.handle)).status.message == "revoked"
        ops.admin("Revoke", PDP.RevokeRequest(gate=GATE, why="over", lift=True))
        assert gate.reason(ask) == "allowed"
        never = PDP.RevokeRequest(certificate=place.thumbprint(OPS), why="x", lift=True)
        assert ops.refused("Revoke", never, ADMIN) == "FAILED_PRECONDITION mark_unknown"
        revoked = ops.admin("Revoke", PDP.RevokeRequest(certificate=place.thumbprint(API), why="stolen"))
        assert list(revoked.grants) == [opened.grant.id]
        assert gate.reason(ask) == "task_ended"


@pytest.mark.parametrize("noun", ["frozen", "workload", "certificate", "trust_domain"])
def test_who_was_revoked_does_nothing(place: Place, noun: str) -> None:
    bob = f"uid:{os.geteuid()}"
    path = place.folder / "ops" / "socket"
    path.parent.mkdir(mode=0o700)
    roles = {"grants": [f"spiffe://{DOMAIN}/ci/*", OPS], "admin": [OPS, bob]}
    listen = [{"address": "127.0.0.1:0", "trust_domain": DOMAIN}, {"address": f"unix:{path}"}]
    with (
        place.serving(roles=roles, listen=listen) as server,
        place.calling(server.address, CI) as ci,
        place.calling(server.address, OPS) as stolen,
        channel(f"unix:{path}") as opened_channel,
    ):
        ops = Client(opened_channel)
        opened = ci.grants("Open", bound(place))
        told = {"why": "stolen"}
        if noun == "frozen":
            ops.admin("Freeze", PDP.FreezeRequest(workload=OPS, **told))
        else:
            name = {"workload": OPS, "certificate": place.thumbprint(OPS), "trust_domain": DOMAIN}[noun]
            ops.admin("Revoke", PDP.RevokeRequest(**{noun: name}, **told))
        refused = [
            stolen.refused("Thaw", PDP.ThawRequest(workload=OPS, **told), ADMIN),
            stolen.refused("Revoke", PDP.RevokeRequest(workload=OPS, lift=True, **told), ADMIN),
            stolen.refused("Status", PDP.StatusRequest(), ADMIN),
            stolen.refused("Get", PDP.GetRequest(grant=opened.grant.id)),
            stolen.refused("Suspend", PDP.SuspendRequest(grant=opened.grant.id, why="dos")),
        ]
        assert refused == ["PERMISSION_DENIED revoked"] * 5
        if noun != "trust_domain":
            assert ci.grants("Get", PDP.GetRequest(grant=opened.grant.id)).handle


def test_keys_that_were_withdrawn_stop_at_the_next_reload(place: Place, server: Running) -> None:
    people, keys = place.folder / "people.json", place.folder / "store" / "keys"
    with (
        place.calling(server.address, CI) as ci,
        place.calling(server.address, OPS) as ops,
        place.calling(server.address, GATE) as gate,
    ):
        opened = ci.grants("Open", bound(place))
        assert gate.reason(asking(place, opened.handle)) == "allowed"
        release = PDP.OpenRequest(kind="release", holder=API)
        release.bindings.certificate = place.thumbprint(API)
        pending = ops.grants("Get", PDP.GetRequest(grant=ci.grants("Open", release).grant.id))
        now = time.time_ns() // 1000
        withdraw(keys, read_issuer_keys(keys).signing(now).id, now)
        people.write_text(json.dumps({"keys": [public_jwk(ec.generate_private_key(ec.SECP256R1()), kid="k2", use="sig")]}))
        ops.admin("Reload", PDP.ReloadRequest())
        assert gate.reason(asking(place, opened.handle)) == "key_unknown"
        yes = PDP.ApproveRequest(
            grant=pending.grant.id, agreement=pending.grant.agreement, approver_token=place.token("ada")
        )
        assert ops.refused("Approve", yes) == "UNAUTHENTICATED key_unknown"
        again = ci.grants("Get", PDP.GetRequest(grant=opened.grant.id)).handle
        assert gate.reason(asking(place, again)) == "allowed"
        people.write_text("{")  # half written: nothing changes
        ops.admin("Reload", PDP.ReloadRequest())
        assert ops.refused("Approve", yes) == "UNAUTHENTICATED key_unknown"


def test_a_folder_that_was_restored_revives_nothing_and_is_told(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    store, copy = place.folder / "store", place.folder / "copy"
    for name in ("elsewhere", "record", "record-keys"):
        (place.folder / name).mkdir(mode=0o700)
    told: dict[str, Any] = {
        "store": {"path": str(store / "grants.sqlite"), "witness": str(place.folder / "elsewhere" / "witness")},
        "record": {"directory": str(place.folder / "record"), "keys": str(place.folder / "record-keys")},
    }
    with place.serving(**told) as server, place.calling(server.address, CI) as ci:
        opened = ci.grants("Open", bound(place))
    shutil.copytree(store, copy)
    with place.serving(**told) as server, place.calling(server.address, CI) as ci:
        ci.grants("End", PDP.EndRequest(task=opened.grant.task))
    assert not caplog.records
    shutil.rmtree(store)
    copy.rename(store)
    refusing = {"store": {**told["store"], "restored": "refuse"}}
    with (
        pytest.raises(PdpError, match="freezes and revocations that came after it are not in it"),
        place.serving(**refusing),
    ):
        pass
    with place.serving(**told) as server, place.calling(server.address, GATE) as gate:
        assert gate.reason(asking(place, opened.handle)) == "task_ended"
    assert "is not the one that was last written" in caplog.text
    assert b"store_restored" in b"".join(path.read_bytes() for path in (place.folder / "record" / "worker-0").iterdir())


def test_a_witness_beside_its_store_is_warned_of_at_each_start(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Finding F14: both restored together revive every grant, and the default lies beside."""
    (place.folder / "elsewhere").mkdir(mode=0o700)
    path, warned = str(place.folder / "store" / "grants.sqlite"), []
    for witness in (None, str(place.folder / "store" / "w"), str(place.folder / "w"), str(place.folder / "elsewhere" / "w")):
        caplog.clear()
        told = {"path": path} if witness is None else {"path": path, "witness": witness}
        with place.serving(store=told):
            warned.append(any("give `store.witness` a place" in record.getMessage() for record in caplog.records))
    assert warned == [True, True, True, False]


def test_an_explanation_spends_nothing(place: Place, server: Running) -> None:
    with place.calling(server.address, CI) as ci, place.calling(server.address, GATE) as gate:

        def explained(ask: Any) -> str:
            raw = call(gate.channel, f"{DECISIONS}Explain", PDP.ExplainRequest(request=ask).SerializeToString())
            return str(PDP.ExplainResponse.FromString(raw).decision.reason)

        once = asking(place, ci.grants("Open", bound(place, uses=1)).handle)
        assert [explained(once), explained(once)] == ["allowed"] * 2
        assert [gate.reason(once), gate.reason(once)] == ["allowed", "grant_consumed"]
        keyed = opening()
        keyed.bindings.key = place.jkt
        handle = ci.grants("Open", keyed).handle
        proven = asking(place, handle, action="update")
        uri, empty = "https://ledger.test/rows", hashlib.sha256(b"").digest()
        proven.task.target.method, proven.task.target.uri, proven.task.target.body_sha256 = "POST", uri, empty
        proven.task.proof = place.proof("POST", uri, handle, empty)
        assert [explained(proven), gate.reason(proven), explained(proven)] == ["allowed", "allowed", "proof_replayed"]


def test_only_what_can_be_shown_is_tied(place: Place) -> None:
    both = {GATE: {"domains": [DOMAIN], "destinations": [LEDGER, API], "vouches": True}}
    for sections, reason in ({}, "allowed"), ({"peps": both}, "wrong_destination"):
        with (
            place.serving(**sections) as server,
            place.calling(server.address, CI) as ci,
            place.calling(server.address, GATE) as gate,
        ):
            message = bound(place)
            message.bindings.destinations.append(LEDGER)
            handle = ci.grants("Open", message).handle
            assert gate.reason(asking(place, handle)) == reason
            assert gate.envoy(asking_envoy(place, handle)).status.code == 0
            for name in ("session", "process"):
                message = bound(place)
                setattr(message.bindings, name, "1")
                assert ci.refused("Open", message) == "INVALID_ARGUMENT binding_unsupported"


def test_an_idempotency_key_makes_one_grant(place: Place) -> None:
    ask = bound(place, idempotency_key="job 7")
    with place.serving() as server, place.calling(server.address, CI) as ci:
        first = ci.grants("Open", ask)
        assert ci.grants("Open", ask).grant.id == first.grant.id
        assert ci.refused("Open", bound(place, tenant="other", idempotency_key="job 7")) == (
            "FAILED_PRECONDITION key_reused"
        )
        assert len(ci.grants("List", PDP.ListRequest()).grants) == 1
    with place.serving() as server, place.calling(server.address, CI) as ci:
        assert ci.grants("Open", ask).grant.id == first.grant.id


def test_a_step_that_is_sent_again_says_why_it_would_be_of_no_use(place: Place, server: Running) -> None:
    ask, other = bound(place, idempotency_key="a"), bound(place, idempotency_key="b")
    with place.calling(server.address, CI) as ci, place.calling(server.address, OPS) as ops:
        ci.grants("Open", ask)
        over = ci.grants("Open", other)
        ci.grants("End", PDP.EndRequest(task=over.grant.task))
        assert ci.refused("Open", other) == "FAILED_PRECONDITION task_ended"
        ops.admin("Freeze", PDP.FreezeRequest(workload=API, why="a shell"))
        assert ci.refused("Open", ask).endswith("workload_frozen")
        ops.admin("Thaw", PDP.ThawRequest(workload=API, why="a mistake"))
        assert ci.grants("Open", ask).handle
        ops.admin("Revoke", PDP.RevokeRequest(workload=CI, why="stolen"))
        assert ci.refused("Open", ask).endswith("revoked")


def test_lists_have_pages(place: Place, server: Running) -> None:
    with place.calling(server.address, CI) as ci, place.calling(server.address, OPS) as ops:
        made = [ci.grants("Open", bound(place)).grant.id for _ in range(5)]
        seen, token = [], ""
        while True:
            page = ops.grants("List", PDP.ListRequest(holder=API, page_size=2, page_token=token))
            seen += [grant.id for grant in page.grants]
            token = page.next_page_token
            if not token:
                break
        assert seen == made
        assert ops.refused("List", PDP.ListRequest(page_token="x")) == "INVALID_ARGUMENT malformed_value"
        assert ops.refused("List", PDP.ListRequest(page_size=0)) == "INVALID_ARGUMENT malformed_value"


def test_who_watches_is_told_of_every_change(place: Place, server: Running) -> None:
    with place.calling(server.address, CI) as ci, place.calling(server.address, API) as api:
        before = ci.grants("Open", bound(place)).grant
        watch = api.channel.stream_stream(f"{GRANTS}Watch")
        changes = watch(iter([PDP.WatchRequest().SerializeToString()]))
        seen = PDP.GrantChange.FromString(next(changes))
        assert (seen.grant.id, seen.revision) == (before.id, before.revision)
        after = ci.grants("Open", bound(place)).grant
        assert PDP.GrantChange.FromString(next(changes)).grant.id == after.id
        ci.grants("End", PDP.EndRequest(grant=before.id))
        ended = PDP.GrantChange.FromString(next(changes))
        assert (ended.grant.id, ended.grant.state) == (before.id, ENDED)
        changes.cancel()
        late = watch(iter([PDP.WatchRequest(after_revision=1 << 40).SerializeToString()]))
        with pytest.raises(grpc.RpcError) as refused:
            next(late)
        assert code_of(refused.value) == "FAILED_PRECONDITION revision_unknown"


def test_status_says_what_is_in_force(place: Place, server: Running) -> None:
    with place.calling(server.address, OPS) as ops, place.calling(server.address, CI) as ci:
        ci.grants("Open", bound(place))
        status = ops.admin("Status", PDP.StatusRequest())
        assert (status.ready, list(status.not_ready)) == (True, [])
        assert status.generation == server.parts.engine.generation
        assert status.store.revision >= 1
        assert [domain.name for domain in status.trust] == ["prod.test"]
        assert ops.admin("CacheStats", PDP.CacheStatsRequest()).entries_max > 0
        assert not ops.admin("Reload", PDP.ReloadRequest()).changed
        policy = place.folder / "set" / "app.policy"
        text = policy.read_text()
        policy.write_text(text + "\nallow nothing {")
        broken = ops.admin("Reload", PDP.ReloadRequest())
        assert (broken.changed, broken.generation) == (False, status.generation)
        assert broken.problems
        policy.write_text(text + "\nallow more { who anyone do select on Table }\n")
        assert ops.admin("Reload", PDP.ReloadRequest()).changed
        assert ops.admin("Status", PDP.StatusRequest()).policy_since.seconds >= status.policy_since.seconds


def test_without_a_store_there_are_no_tasks(place: Place) -> None:
    with place.serving(store={}) as server, place.calling(server.address, CI) as ci:
        for method, message in (
            ("Open", bound(place)),
            ("Get", PDP.GetRequest(grant="x")),
            ("List", PDP.ListRequest()),
            ("End", PDP.EndRequest(grant="x")),
        ):
            assert ci.refused(method, message) == "FAILED_PRECONDITION no_store"


def test_bytes_that_are_no_message(place: Place, server: Running) -> None:
    from tests.pdp.server.world import refused

    with place.calling(server.address, CI) as ci:
        rows = {
            b"\xff": "malformed",
            b"\x0a\x01a\x0a\x01b": "not_canonical",
            b"\xa0\x06\x01": "must_understand",
            b"": "missing_field",
            opening().SerializeToString()[:12]: "malformed",
        }
        for raw, code in rows.items():
            assert refused(ci.channel, f"{GRANTS}Open", raw) == f"INVALID_ARGUMENT {code}", raw


def test_failed_bindings_suspend_a_grant(place: Place) -> None:
    store = {"path": str(place.folder / "store" / "grants.sqlite"), "suspend_after": 2}
    with (
        place.serving(store=store) as server,
        place.calling(server.address, CI) as ci,
        place.calling(server.address, GATE) as gate,
    ):
        opened = ci.grants("Open", bound(place))
        assert gate.reason(asking(place, opened.handle)) == "allowed"
        stolen = asking(place, opened.handle, holder=HELPER)
        assert [gate.reason(stolen), gate.reason(stolen)] == ["task_misheld", "task_misheld"]
        wait_until(lambda: gate.reason(asking(place, opened.handle)) == "task_suspended")
        lifted = ci.grants("Suspend", PDP.SuspendRequest(grant=opened.grant.id, lift=True))
        assert lifted.grant.state == ACTIVE
        assert gate.reason(asking(place, opened.handle)) == "allowed"


def test_development_says_who_it_is_and_has_a_store(tmp_path: Path) -> None:
    from pdp.server.development import with_domain
    from pdp.server.table import make_handlers
    from tests.pdp.server.grants_world import POLICY

    (tmp_path / "policies").mkdir()
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    config = with_domain(development(tmp_path), runtime)
    (tmp_path / "policies" / "app.policy").write_text(POLICY.replace("prod.test", "dev.test"))
    with running(config, make_handlers) as server, channel(server.address) as opened:
        raw = opening("spiffe://dev.test/billing/api").SerializeToString()
        open_ = opened.unary_unary(f"{GRANTS}Open")
        with pytest.raises(grpc.RpcError) as refused:
            open_(raw)
        assert code_of(refused.value) == "PERMISSION_DENIED no_workload"
        answer = PDP.GrantResponse.FromString(open_(raw, metadata=(("pdp-as", "spiffe://dev.test/ci/me"),)))
        assert answer.grant.opener == "spiffe://dev.test/ci/me"
        with pytest.raises(grpc.RpcError) as refused:
            open_(raw, metadata=(("pdp-as", "me"),))
        assert code_of(refused.value) == "UNAUTHENTICATED unauthenticated"


def test_in_production_nobody_says_who_they_are(place: Place, server: Running) -> None:
    with channel(server.address, place.credentials(API)) as opened, pytest.raises(grpc.RpcError) as refused:
        opened.unary_unary(f"{GRANTS}Open")(bound(place).SerializeToString(), metadata=(("pdp-as", CI),))
    assert "holder_is_opener" in code_of(refused.value)
