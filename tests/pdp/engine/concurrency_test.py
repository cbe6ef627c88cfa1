"""What interrupts an engine: other threads, forks, signals. Nobody waits, and nothing is half done."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import pdp
from language import FOREVER, Change, Directory, EntityData, Outcome, Result, Source, compile_policies
from pdp.engine.cache import DecisionCache
from pdp.store.policy_folder import PolicyFolder, Read
from tests.pdp.engine.remembering import T0, engine_of

HEAD = "language 1\npackage a\nentity Team in Team\nentity User in Team\nentity Case\naction read on Case\n"
ADA, CASE = ("User", "ada"), ("Case", "7")


def request() -> pdp.Request:
    return pdp.Request("read", CASE, user=ADA)


def in_child(work: Callable[[], str]) -> str:
    """What a forked process says."""
    ours, its = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(its, work().encode())
        finally:
            os._exit(0)
    os.close(its)
    with os.fdopen(ours) as told:
        said = told.read()
    os.waitpid(child, 0)
    return said


def result() -> Result:
    return Result(Outcome(True, "allowed", "r", None, None), FOREVER, FOREVER, None, ())


# ---- the cache


def test_who_finds_the_cache_taken_keeps_nothing_and_goes_on() -> None:
    engine = engine_of(HEAD + "allow x { for User do read on Case }\n")
    cache = engine.snapshot.policy.cache
    assert cache is not None
    with cache.guard:  # type: ignore[attr-defined]  # a lock; another thread, or the code that a signal interrupted
        assert engine.check(request(), now=T0).allowed
    assert (len(cache), cache.stats.passed) == (0, 1)
    assert engine.check(request(), now=T0).allowed
    assert len(cache) == 1


def test_a_child_that_was_forked_while_the_cache_was_taken_asks_and_remembers() -> None:
    engine = engine_of(HEAD + "allow x { for User do read on Case }\n")
    cache = engine.snapshot.policy.cache
    assert cache is not None

    def ask() -> str:
        engine.revoke("workload", "spiffe://a/b")
        return f"{engine.check(request(), now=T0)} {len(cache)}"

    with cache.guard, engine._changing:  # type: ignore[attr-defined]  # a lock
        done = threading.Thread(target=lambda: said.append(in_child(ask)))
        said: list[str] = []
        done.start()
        done.join()
    assert said == ["allow: allowed by x 1"]


@pytest.mark.parametrize("after", range(12))
def test_a_cache_that_was_interrupted_anywhere_goes_on(after: int) -> None:
    """A signal handler may raise between any two steps."""

    class Interrupt(Exception):
        pass

    class Queue(list[Any]):
        steps = 0

        def _step(self) -> None:
            Queue.steps += 1
            if Queue.steps == after:
                raise Interrupt

        def append(self, key: Any) -> None:
            self._step()
            super().append(key)
            self._step()

        def popleft(self) -> Any:
            self._step()
            key = self.pop(0)
            self._step()
            return key

    cache = DecisionCache(3)
    cache._waiting, cache._settled = Queue(), Queue()  # type: ignore[assignment]  # stand in
    for i in range(30):
        with suppress(Interrupt):
            cache.keep((i % 7,), T0, result())
        cache.find((i % 5,), T0)
    assert len(cache) <= 4
    assert set(cache._entries) <= {*cache._waiting, *cache._settled}


def test_ids_of_decisions_do_not_repeat_in_a_child() -> None:
    engine = engine_of(HEAD + "allow x { for User do read on Case }\n")
    asked = request()
    engine.check(asked, now=T0)
    ours = engine.check(asked, now=T0).id
    assert in_child(lambda: engine.check(asked, now=T0).id).partition("-")[0] not in ("", ours.partition("-")[0])


# ---- changes of data


def test_a_change_that_is_interrupted_anywhere_is_made_whole_or_not_at_all() -> None:
    """And the same change, told again, is made."""
    bundle = compile_policies([Source("p.policy", HEAD)])

    class Interrupt(Exception):
        pass

    class Links(dict[Any, Any]):
        left = 0

        def _step(self) -> None:
            Links.left -= 1
            if Links.left == 0:
                raise Interrupt

        def get(self, key: Any, default: Any = None) -> Any:
            self._step()
            return super().get(key, default)

        def __setitem__(self, key: Any, value: Any) -> None:
            self._step()
            super().__setitem__(key, value)

    def above(directory: Directory) -> list[Any]:
        return [directory.records["User"][f"u{i}"][2] for i in range(3)]

    top, out = [EntityData("Team", "t", {}, (("Team", "admins"),))], Change([EntityData("Team", "t")])
    users = [EntityData("User", f"u{i}", {}, (("Team", "t"),)) for i in range(3)]
    seen = set()
    for step in range(1, 40):
        directory = Directory(bundle.vocabulary)
        directory.upsert([*top, *users])
        directory._parents, directory._children = Links(directory._parents), Links(directory._children)
        before, Links.left = directory.world.version, step
        try:
            directory.change(out)
        except Interrupt:
            whole = above(directory)
            assert whole in ([{"t", "admins"}] * 3, [{"t"}] * 3)
            seen.add(directory.world.version == before)
        Links.left = 0
        directory.change(out)
        assert above(directory) == [{"t"}] * 3
        assert [e.parents for e in directory.entities() if e.id == "t"] == [()]
    assert seen == {True, False}  # interrupted before it was made, and after


def test_a_chain_of_parents_has_an_end() -> None:
    engine = engine_of(HEAD)
    chain = [{"type": "Team", "id": f"t{i}", "parents": [["Team", f"t{i + 1}"]]} for i in range(65)]
    engine.directory.upsert(chain[:64])
    with pytest.raises(pdp.PdpError, match="more than 64 steps"):
        engine.directory.upsert(chain[64])


def test_edits_above_leave_nothing_behind() -> None:
    engine = engine_of(HEAD, *[{"type": "Team", "id": f"t{i}", "parents": [["Team", f"t{i + 1}"]]} for i in range(50)])
    for i in range(20):
        engine.directory.upsert({"type": "Team", "id": "t50", "parents": [["Team", f"r{i}"]]})
    assert len(engine._data._shared) <= 60


@pytest.mark.parametrize("kind", ["entity", "row"])
def test_what_is_told_twice_in_one_step_must_be_the_same(kind: str) -> None:
    engine = engine_of(HEAD + "relation helper(User, Case) expiring\n")
    one: list[Any] = [pdp.Entity("User", "a"), pdp.Entity("User", "a", {}, (("Team", "t"),))]
    if kind == "row":
        one = [pdp.Row("helper", (ADA, CASE)), pdp.Row("helper", (ADA, CASE), T0)]
    engine.directory.upsert(one[0], one[0])
    for told in (one, one[::-1]):
        with pytest.raises(pdp.PdpError, match="told twice"):
            engine.directory.upsert(*told)


# ---- reloads


def test_a_reload_that_began_earlier_does_not_undo_a_later_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.policy"
    file.write_text(HEAD)
    engine = pdp.Engine.load(tmp_path)
    reading, go_on, fresh = threading.Event(), threading.Event(), PolicyFolder.read

    def slow(self: PolicyFolder) -> Read:
        found = fresh(self)
        if threading.current_thread() is first:
            reading.set()
            go_on.wait(10)
        return found

    monkeypatch.setattr(PolicyFolder, "read", slow)
    file.write_text(HEAD + "allow everybody { for User do read on Case }\n")
    first, second = threading.Thread(target=engine.reload), threading.Thread(target=engine.reload)
    first.start()
    assert reading.wait(10)
    file.write_text(HEAD + "deny nobody { for User do read on Case }\n")
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert str(engine.check(request())) == "deny: denied by nobody"


def test_check_many_takes_its_moment_when_it_has_all_requests() -> None:
    engine = engine_of(HEAD + "allow x { who anyone do read on Case }\n")

    def requests() -> Any:
        engine.revoke("workload", "spiffe://a/b")
        yield pdp.Request("read", CASE, workload="spiffe://a/b")

    assert [d.reason for d in engine.check_many(requests())] == ["revoked"]
    for wrong in (None, request(), "read"):
        with pytest.raises(pdp.PdpError):
            engine.check_many(wrong)  # type: ignore[arg-type]


def test_a_request_keeps_no_snapshot() -> None:
    """Nobody asks it again; the tables that it was decided from are gone all the same."""
    engine = engine_of(HEAD + "allow x { for User do read on Case }\n")
    asked = request()
    engine.check(asked, now=T0)
    assert asked.memo.bound() is not None
    engine.directory.upsert(pdp.Entity("User", "other"))
    assert asked.memo.bound() is None
    assert engine.check(asked, now=T0).allowed
