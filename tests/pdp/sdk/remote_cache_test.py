"""A client that uses answers again, against a real server: whatever changes there is soon known here."""

from __future__ import annotations

import gc
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

import pdp
from pdp.server.handlers import Handlers
from pdp.server.parts import Parts
from pdp.server.table import make_handlers
from pdp.wire.messages import PDP
from tests.pdp.sdk.kinds import both, threaded
from tests.pdp.server.grants_world import API, CI, DECISIONS, ENTITIES, OPS, POLICY, Place, asking, bound
from tests.pdp.server.workers_test import several
from tests.pdp.server.world import GATE, Running, call, running, wait_until

HOUR_S = 3600.0


# ---- clients that keep answers


class Asker:
    """`asked` are the questions that went to the server."""

    def __init__(self, client: Any, run: Callable[[Any], Any]) -> None:
        self.client, self._run = client, run
        self.asked = 0
        self._method, client._call = client._call, self._counted

    def _counted(self, *args: Any, **more: Any) -> Any:
        self.asked += 1
        return self._method(*args, **more)

    def ask(self, place: Place, handle: str | None, table: str = "invoices", timeout_s: float = 10) -> pdp.Decision:
        shown = pdp.Shown(place.certificate(API), whole_path=True)
        found: pdp.Decision = self._run(
            self.client.check(action="select", resource=("Table", table), grant=handle, shown=shown, timeout_s=timeout_s)
        )
        return found

    def uses_again(self, place: Place, handle: str | None, table: str = "invoices") -> bool:
        before = self.asked
        self.ask(place, handle, table)
        return self.asked == before

    @property
    def answers(self) -> Any:
        return self.client._answers


def tls(place: Place, spiffe_id: str = GATE) -> pdp.Tls:
    place.certificate(spiffe_id)
    folder = place.folder / "callers" / spiffe_id.rsplit("/", 1)[-1]
    authorities = place.folder / "authorities.pem"
    authorities.write_bytes(place.identities.domain.bundle_pem())
    return pdp.Tls(folder / "svid.pem", folder / "svid.key", authorities, "pdp")


@contextmanager
def asking_as(kind: Any, place: Place, address: str, **more: Any) -> Iterator[Asker]:
    with kind(address, tls=tls(place), **{"cache_entries": 100, "cache_for_s": HOUR_S, **more}) as found:
        yield Asker(*found)


# ---- a server


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def config(place: Place, **more: Any) -> Any:
    """What is known of grants is fresh for long: that is not what ends answers here."""
    store = {"path": str(place.folder / "store" / "grants.sqlite"), "freshness": "60s"}
    return place.config(**{"store": store, **more})


@pytest.fixture
def server(place: Place) -> Iterator[Running]:
    with running(config(place), make_handlers) as found:
        yield found


def opened(place: Place, address: str, **changes: Any) -> Any:
    with place.calling(address, CI) as ci:
        return ci.grants("Open", bound(place, **changes))


# ---- what changes


def ends(place: Place, server: Running, grant: Any) -> None:
    with place.calling(server.address, CI) as ci:
        ci.grants("End", PDP.EndRequest(task=grant.task))


def suspends(place: Place, server: Running, grant: Any) -> None:
    with place.calling(server.address, CI) as ci:
        ci.grants("Suspend", PDP.SuspendRequest(grant=grant.id, why="a look"))


def freezes(place: Place, server: Running, grant: Any) -> None:
    with place.calling(server.address, OPS) as operator:
        operator.admin("Freeze", PDP.FreezeRequest(workload=API, why="odd"))


def revokes(place: Place, server: Running, grant: Any) -> None:
    with place.calling(server.address, OPS) as operator:
        operator.admin("Revoke", PDP.RevokeRequest(certificate=place.thumbprint(API), why="stolen"))


def has_another_policy(place: Place, server: Running, grant: Any) -> None:
    (place.folder / "set" / "app.policy").write_text(POLICY + "deny all-closed { do any on Table }\n")
    server.parts.reload()


def has_other_data(place: Place, server: Running, grant: Any) -> None:
    write_data(place, "other")
    server.parts.reload()


def trusts_nobody(place: Place, server: Running, grant: Any) -> None:
    bundle = json.loads(place.identities.bundle.read_bytes())
    place.identities.bundle.write_text(json.dumps({**bundle, "keys": []}))
    server.parts.reload()


def withdraws_its_keys(place: Place, server: Running, grant: Any) -> None:
    import time

    from pdp.store.issuer_keys import read_issuer_keys, withdraw

    now = time.time_ns() // 1000
    keys = place.folder / "store" / "keys"
    withdraw(keys, read_issuer_keys(keys).signing(now).id, now)
    server.parts.reload()


def write_data(place: Place, tenant: str) -> None:
    told = [{**e, "attributes": {"tenant": tenant}} if e["id"] == "invoices" else e for e in ENTITIES]
    (place.folder / "set" / "data" / "entities.json").write_text(json.dumps(told))


CHANGES = [
    (ends, "task_ended"),
    (suspends, "task_suspended"),
    (freezes, "task_suspended"),
    (revokes, "task_ended"),
    (has_another_policy, "denied"),
    (has_other_data, "default_deny"),
    (withdraws_its_keys, "key_unknown"),
]


@both
@pytest.mark.parametrize(("change", "reason"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_what_changes_is_known_long_before_the_answer_ends(
    place: Place, server: Running, kind: Any, change: Callable[..., None], reason: str
) -> None:
    told = opened(place, server.address)
    with asking_as(kind, place, server.address) as asker:
        assert asker.ask(place, told.handle).allowed
        wait_until(lambda: asker.uses_again(place, told.handle), "the stream is up")
        change(place, server, told.grant)
        wait_until(lambda: asker.ask(place, told.handle).reason == reason, "the change is known")


@both
def test_when_nobody_is_trusted_any_more_nothing_is_used(place: Place, server: Running, kind: Any) -> None:
    """The caller is not either, so there is no answer at all; the one that is kept must not stand in for it."""
    told = opened(place, server.address)
    with asking_as(kind, place, server.address) as asker:
        wait_until(lambda: asker.uses_again(place, told.handle), "the stream is up")
        trusts_nobody(place, server, told.grant)

        def refused() -> bool:
            try:
                asker.ask(place, told.handle)
            except pdp.PdpError:
                return True
            return False

        wait_until(refused, "the change is known")


@both
def test_nothing_is_used_again_unless_that_was_asked_for(place: Place, server: Running, kind: Any) -> None:
    told = opened(place, server.address)
    with asking_as(kind, place, server.address, cache_entries=0) as asker:
        assert not any(asker.uses_again(place, told.handle) for _ in range(5))
    assert server.parts.counters.streams == 0
    with asking_as(kind, place, server.address) as asker:
        wait_until(lambda: asker.uses_again(place, told.handle), "the stream is up")
        asker.client.forget()
        assert not asker.uses_again(place, told.handle)
        assert asker.uses_again(place, told.handle)
    wait_until(lambda: server.parts.counters.streams == 0, "the stream ends with the client")


@both
def test_while_the_stream_is_silent_nothing_is_used(place: Place, server: Running, kind: Any) -> None:
    """The loop of the server hangs, with all its streams; single questions are answered beside it."""
    told = opened(place, server.address)
    with asking_as(kind, place, server.address) as asker:
        wait_until(lambda: asker.uses_again(place, told.handle), "the stream is up")
        going_on = threading.Event()
        server._loop.call_soon_threadsafe(going_on.wait, 30)
        try:
            wait_until(lambda: not asker.answers.is_live, "it is silent for too long")
            assert not any(asker.uses_again(place, told.handle) for _ in range(5))
        finally:
            going_on.set()
        wait_until(lambda: asker.uses_again(place, told.handle), "it goes on")


@both
def test_when_the_decision_point_is_gone_so_are_its_answers(place: Place, kind: Any) -> None:
    with ExitStack() as stack:
        with running(config(place), make_handlers) as server:
            told = opened(place, server.address)
            asker = stack.enter_context(asking_as(kind, place, server.address))
            wait_until(lambda: asker.uses_again(place, told.handle), "the stream is up")
        wait_until(lambda: not asker.answers.is_live, "the stream has ended")
        with pytest.raises(pdp.PdpError):
            asker.ask(place, told.handle, timeout_s=0.5)


@both
def test_a_decision_point_without_the_stream_is_asked_each_time(place: Place, kind: Any) -> None:
    def older(parts: Parts) -> Handlers:
        return {name: method for name, method in make_handlers(parts).items() if not name.endswith("/WatchEpoch")}

    with running(config(place), older) as server:
        told = opened(place, server.address)
        with asking_as(kind, place, server.address) as asker:
            assert not any(asker.uses_again(place, told.handle) for _ in range(20))


@both
def test_a_client_that_was_closed_has_no_answers(place: Place, server: Running, kind: Any) -> None:
    told = opened(place, server.address)
    with asking_as(kind, place, server.address) as asker:
        wait_until(lambda: asker.uses_again(place, told.handle), "the stream is up")
        closed = asker.client.close()
        if closed is not None:
            asker._run(closed)
        with pytest.raises(pdp.PdpError, match="unreachable"):
            asker.ask(place, told.handle)


def test_a_client_that_nobody_has_any_more_watches_no_more(place: Place, server: Running) -> None:
    client = pdp.Client(server.address, tls=tls(place), cache_entries=10)
    client.check(action="select", resource=("Table", "invoices"), timeout_s=10)
    wait_until(lambda: server.parts.counters.streams == 1, "the stream is up")
    del client
    gc.collect()
    wait_until(lambda: server.parts.counters.streams == 0, "the stream has ended")


@both
def test_a_grant_with_a_number_of_uses_is_asked_about_each_time(place: Place, server: Running, kind: Any) -> None:
    limited, endless = opened(place, server.address, uses=3), opened(place, server.address)
    with asking_as(kind, place, server.address) as asker:
        wait_until(lambda: asker.uses_again(place, endless.handle), "the stream is up")
        assert [asker.ask(place, limited.handle).reason for _ in range(5)] == ["allowed"] * 3 + ["grant_consumed"] * 2


def test_whichever_process_answers(place: Place) -> None:
    """Each client has one connection, so its stream is with the process that answers it."""
    with several(config(place, workers=2), "tests.pdp.server.grants_worker") as server:
        told = opened(place, server.address)
        askers = [asking_as(threaded, place, server.address) for _ in range(6)]
        found = [each.__enter__() for each in askers]
        try:
            for asker in found:
                wait_until(lambda asker=asker: asker.uses_again(place, told.handle), "the stream is up")  # type: ignore[misc]
            with place.calling(server.address, CI) as ci:
                ci.grants("End", PDP.EndRequest(task=told.grant.task))
            for asker in found:
                wait_until(lambda asker=asker: asker.ask(place, told.handle).reason == "task_ended", "it is known")  # type: ignore[misc]
        finally:
            for each in askers:
                each.__exit__(None, None, None)


def test_after_a_move_another_process_may_answer(place: Place) -> None:
    """Finding S12: nothing of the process before is used once the stream is with another one."""
    with several(config(place, workers=2), "tests.pdp.server.grants_worker") as server:
        told = opened(place, server.address)
        with asking_as(threaded, place, server.address) as asker:
            for _ in range(3):
                wait_until(lambda: asker.uses_again(place, told.handle), "the stream is up")
                before = asker.client._connections.line.used
                place.identities.credentials(GATE)  # the files are other ones
                wait_until(lambda before=before: asker.client._connections.line.used is not before, "it has moved")  # type: ignore[misc]
                assert asker.ask(place, told.handle).allowed
            wait_until(lambda: asker.uses_again(place, told.handle), "the stream is up")
            with place.calling(server.address, CI) as ci:
                ci.grants("End", PDP.EndRequest(task=told.grant.task))
            wait_until(lambda: asker.ask(place, told.handle).reason == "task_ended", "it is known")


@pytest.mark.parametrize("seed", range(3))
def test_it_answers_as_one_does_that_keeps_nothing(place: Place, server: Running, seed: int) -> None:
    """Steps of change and of questions, by chance. Once the epoch of a step is known, both say the same of everything."""
    chance = random.Random(seed)
    tables = ["invoices", "others", "none"]
    grants: list[Any] = [opened(place, server.address)]
    tenants = ["acme", "other"]
    with (
        asking_as(threaded, place, server.address) as keeping,
        asking_as(threaded, place, server.address, cache_entries=0) as plain,
        place.calling(server.address, CI) as ci,
        place.calling(server.address, OPS) as operator,
        place.calling(server.address, GATE) as gate,
    ):

        def has_seen() -> bool:
            now = epoch_of(gate, place)
            return keeping.answers._epoch is not None and "-".join(map(str, keeping.answers._epoch)) == now

        frozen, total = False, 0
        keeping.ask(place, None)
        for _ in range(40):
            match chance.randrange(6):
                case 0:
                    grants.append(
                        ci.grants("Open", bound(place, tenant=chance.choice(tenants))) if not frozen else grants[0]
                    )
                case 1:
                    with suppress(grpc.RpcError):  # it has ended already
                        ci.grants("End", PDP.EndRequest(grant=chance.choice(grants).grant.id))
                case 2:
                    frozen = not frozen
                    message = {"workload": API, "why": "by chance"}
                    operator.admin("Freeze", PDP.FreezeRequest(**message)) if frozen else operator.admin(
                        "Thaw", PDP.ThawRequest(**message)
                    )
                case 3:
                    write_data(place, chance.choice(tenants))
                    server.parts.reload()
                case 4:
                    more = chance.choice(["", "deny all-closed { do any on Table }\n"])
                    (place.folder / "set" / "app.policy").write_text(POLICY + more)
                    server.parts.reload()
                case _:
                    for _ in range(5):  # in the middle of whatever is on its way
                        keeping.ask(place, chance.choice(grants).handle, chance.choice(tables))
            wait_until(has_seen, "the epoch is known")
            for grant in chance.sample(grants, min(3, len(grants))):
                for table in tables:
                    total += 2
                    ours, theirs = keeping.ask(place, grant.handle, table), plain.ask(place, grant.handle, table)
                    again = keeping.ask(place, grant.handle, table)
                    assert {(d.allowed, d.reason, d.rule) for d in (ours, again)} == {
                        (theirs.allowed, theirs.reason, theirs.rule)
                    }
        assert keeping.asked < total * 0.75, "it kept something"


def epoch_of(gate: Any, place: Place) -> str:
    """Of the server at this moment, as an answer tells it."""
    raw = call(gate.channel, f"{DECISIONS}Check", asking(place, "").SerializeToString())
    return str(PDP.CheckResponse.FromString(raw).decision.epoch)
