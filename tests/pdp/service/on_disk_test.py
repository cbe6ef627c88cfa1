"""Tasks over the store on disk, with real handles and proofs: from opening to the end, restarts, a restored copy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pdp.grants.grant import Bindings, Grant
from pdp.grants.handle import Names, make_handle
from pdp.grants.handles import Handles
from pdp.grants.proof import Asked, verify_task_proof
from pdp.grants.refusals import BREACH_SIGNS, Refused
from pdp.grants.replay import ReplayMemory
from pdp.grants.task_key import TaskKey
from pdp.model.decision import Decision
from pdp.store.grants.sqlite import SqliteStore
from pdp.store.issuer_keys import open_issuer_keys, withdraw
from tests.pdp.service.world import API, CI, MINUTE, START, World, workload

NAMES = Names("spiffe://prod.acme/pdp", "prod.acme")
REQUEST = {"target": "spiffe://prod.acme/gates/east", "method": "POST", "url": "https://ledger.acme/rows"}
BODY = b"{}"
KEY, THIEF = (TaskKey(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))


class Point:
    """A decision point: the service over the store on disk, its issuer keys, its memory of proofs."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(folder / "grants.db", now_us=lambda: START)
        self.world = World(store=self.store)  # type: ignore[arg-type]  # any store
        self.keys = open_issuer_keys(folder / "keys", START - MINUTE)
        self.handles = Handles(NAMES)
        self.memory = ReplayMemory(START - MINUTE, Lock())
        self.jti = count()

    def handle(self, grant: Grant) -> str:
        return make_handle(grant, NAMES, self.keys, self.world.now)

    def proof(self, handle: str, key: TaskKey = KEY, **changes: Any) -> str:
        said = {**REQUEST, "body": BODY, "jti": f"{next(self.jti)}", "now": self.world.now, **changes}
        return key.prove(handle=handle, **said)

    def check(self, handle: str, proof: str, workload_id: str = API, action: str = "update") -> Decision:
        """What comes in is a handle and a proof; what is decided on is what the store has under that name."""
        named = self.handles.read(handle, self.keys, self.world.now)
        grant = self.world.tasks.book.index.find(named.grant)
        asked = Asked(**REQUEST, handle=named.digest, key=grant.binding.key, body_sha256=hashlib.sha256(BODY).digest())
        proven = verify_task_proof([proof], asked, self.memory, self.world.now)
        return self.world.check(
            grant, action, shown=self.world.shown(grant, workload=workload_id, key=proven.key, request=proven.covers_body)
        )


@pytest.fixture
def point(tmp_path: Path) -> Point:
    return Point(tmp_path)


def opened(point: Point) -> tuple[Grant, str]:
    grant = point.world.open(binding=Bindings(key=KEY.thumbprint))
    return grant, point.handle(grant)


def code(call: Callable[[], Any]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.code


def test_the_key_test(point: Point) -> None:
    """C5: start, use, end; the same handle with a fresh proof is denied on the very next check, the clock standing still."""
    grant, handle = opened(point)
    assert point.check(handle, point.proof(handle)).allowed
    point.world.tasks.end(point.world.at, workload(CI), grant.id)
    denied = point.check(handle, point.proof(handle))
    assert (denied.allowed, denied.reason) == (False, "task_ended")


def test_a_copied_handle_is_of_no_use(point: Point) -> None:
    """C8, C9: without the key; with another key; with a proof that was seen on the way."""
    _, handle = opened(point)
    proof = point.proof(handle)
    assert point.check(handle, proof).allowed
    found = {
        code(lambda: point.check(handle, point.proof(handle, THIEF))),
        code(lambda: point.check(handle, proof)),
        code(lambda: point.check(handle, point.proof(handle, method="DELETE"))),
        code(lambda: point.check(handle, point.proof(point.handle(opened(point)[0])))),
    }
    assert found == {"proof_wrong_key", "proof_replayed", "proof_wrong_method", "proof_of_other_grant"}
    assert set(found) <= BREACH_SIGNS
    assert point.check(handle, point.proof(handle), "spiffe://prod.acme/ns/billing/helper").reason == "task_misheld"


def test_a_rule_that_demands_the_request_gets_no_less(point: Point) -> None:
    _, handle = opened(point)
    bare = point.proof(handle, body=None)
    assert not point.check(handle, bare).allowed
    assert point.check(handle, point.proof(handle, body=None), action="select").allowed


def test_a_withdrawn_issuer_key_ends_every_handle_and_no_grant(point: Point, tmp_path: Path) -> None:
    grant, handle = opened(point)
    point.keys = withdraw(tmp_path / "keys", point.keys.keys[0].id, START)
    assert code(lambda: point.check(handle, point.proof(handle))) == "key_unknown"
    again = point.handle(grant)
    assert point.check(again, point.proof(again)).allowed


def test_through_a_restart(point: Point, tmp_path: Path) -> None:
    kept, handle = opened(point)
    gone, _ = opened(point)
    point.world.tasks.end(point.world.at, workload(CI), gone.id)
    point.store.close()
    again = Point(tmp_path)
    assert not again.store.restored
    assert again.check(handle, again.proof(handle)).allowed
    assert again.world.state(gone) == "ended"
    again.world.tasks.end(again.world.at, workload(CI), kept.id)
    assert again.check(handle, again.proof(handle)).reason == "task_ended"


def test_another_process_hears_of_an_end(point: Point, tmp_path: Path) -> None:
    grant, handle = opened(point)
    other = Point(tmp_path)
    assert other.check(handle, other.proof(handle)).allowed
    point.world.tasks.end(point.world.at, workload(CI), grant.id)
    other.world.tasks.confirm(other.world.now)
    assert other.check(handle, other.proof(handle)).reason == "task_ended"


def test_a_restored_copy_revives_nothing(point: Point, tmp_path: Path) -> None:
    ended, handle = opened(point)
    alive, other = opened(point)
    point.store.close()
    copy = (tmp_path / "grants.db").read_bytes()
    again = Point(tmp_path)
    again.world.tasks.end(again.world.at, workload(CI), ended.id)
    again.store.close()
    for name in ("grants.db", "grants.db-wal", "grants.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "grants.db").write_bytes(copy)
    (tmp_path / "grants.db").chmod(0o600)
    restored = Point(tmp_path)
    assert restored.store.restored
    for grant, shown in ((ended, handle), (alive, other)):
        assert restored.world.state(grant) == "ended"
        assert restored.check(shown, restored.proof(shown)).reason == "task_ended"
    fresh, new = opened(restored)
    assert fresh.id not in (ended.id, alive.id)
    assert restored.check(new, restored.proof(new)).allowed


def test_a_store_that_is_gone_gives_nothing_and_goes_stale(point: Point, tmp_path: Path) -> None:
    _, handle = opened(point)
    assert point.check(handle, point.proof(handle)).allowed
    (tmp_path / "grants.db").unlink()
    assert point.world.refused(lambda: opened(point)) == "store_unavailable"
    point.world.now += MINUTE
    assert not point.check(handle, point.proof(handle)).allowed
