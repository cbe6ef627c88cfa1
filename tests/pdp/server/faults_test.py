"""Harm done to real server processes: no wrong allow while it lasts, and recovery without a hand."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from pdp.wire.messages import PDP
from tests.pdp.server.faults import (
    POLICY,
    Load,
    ask,
    ask_as_envoy,
    figure,
    question,
    serving,
    workers_of,
    write_policies,
)
from tests.pdp.server.grants_world import CI, DECISIONS, GRANTS, Place, asking, bound
from tests.pdp.server.serve_test import served
from tests.pdp.server.world import WAIT_S, call, channel, refused, wait_until

# ---- processes


def test_155_kill_9_of_a_worker_under_load(tmp_path: Path) -> None:
    """The one that follows and the one that writes: others answer meanwhile, and it is replaced."""
    with serving(tmp_path, "--workers", "2") as server, Load(server.address) as load:
        load.goes_on()
        for number in (1, 0):
            killed = workers_of(server)[number]
            os.kill(killed, signal.SIGKILL)
            load.goes_on()
            assert wait_until(lambda: workers_of(server).get(number) not in (None, killed))  # noqa: B023
            load.goes_on()
        assert load.wrong == {}
        assert load.told["shut", "default_deny"] > 0
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(2 * WAIT_S) == 0


# ---- the record


def _record(folder: Path, outcome: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "worker-0" / "record-00000001.ndjson").read_text().splitlines()]
    return [e for e in lines if e["kind"] == outcome]


@pytest.mark.parametrize("full", ["deny", "drop"])
def test_166_disk_full_for_the_record(tmp_path: Path, full: str) -> None:
    """The kernel refuses to let the file grow: `deny` denies, in words too, and `drop` says how many were lost."""
    folder, keys = tmp_path / "record", tmp_path / "keys"
    environment = {"PDP_RECORD_DIRECTORY": str(folder), "PDP_RECORD_KEYS": str(keys), "PDP_RECORD_FULL": full}
    with serving(tmp_path, **environment) as server, channel(server.address) as opened:
        pid, unlimited = server.process.pid, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        assert ask(opened) == "allowed"
        path = folder / "worker-0" / "record-00000001.ndjson"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (path.stat().st_size + 20_000, resource.RLIM_INFINITY))
        told = ["allowed"]

        def is_failing() -> bool:
            told.append(ask(opened))
            return figure(server, "pdp_record_failing") == 1

        wait_until(is_failing, "the disk is full")
        told += [ask(opened) for _ in range(50)]
        in_words = {ask_as_envoy(opened) for _ in range(50)}
        if full == "deny":
            assert set(told[-50:]) == {"UNAVAILABLE not_ready"}
            assert set(told) <= {"allowed", "not_recorded", "UNAVAILABLE not_ready"}
            assert in_words == {"not_ready"}
            assert server.get("/readyz")[0] == 503
        else:
            assert (set(told), in_words) == ({"allowed"}, {"no_subject"})
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        wait_until(lambda: ask(opened) == "allowed" and figure(server, "pdp_record_failing") == 0)
        told += ["allowed"]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(2 * WAIT_S) == 0
    found = [e["entry"]["outcome"] for e in _record(folder, "decision")]  # type: ignore[index]
    lost = sum(e["entry"]["count"] for e in _record(folder, "drop"))  # type: ignore[index, misc]
    assert (lost > 0) is (full == "drop" and found.count("allow") < told.count("allowed"))
    assert found.count("allow") + lost >= told.count("allowed")  # whoever was allowed is in the record, or known to be lost


@pytest.mark.parametrize("workers", ["1", "2"])
def test_f2_a_stop_that_loses_decisions_is_no_orderly_end(tmp_path: Path, workers: str) -> None:
    """Finding F2: the disk does not take what was answered, so the exit code is not 0, and it is said."""
    folder = tmp_path / "record"
    environment = {
        "PDP_RECORD_DIRECTORY": str(folder),
        "PDP_RECORD_KEYS": str(tmp_path / "keys"),
        "PDP_RECORD_FULL": "drop",
        "PDP_WORKERS": workers,
    }
    with serving(tmp_path, **environment) as server, channel(server.address) as opened:
        pids = [server.process.pid, *workers_of(server).values()] if workers == "2" else [server.process.pid]
        assert ask(opened) == "allowed"
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
        assert [ask(opened) for _ in range(20)] == ["allowed"] * 20
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(4 * WAIT_S) == 1


# ---- the store


def test_the_store_is_locked_by_somebody_else(tmp_path: Path) -> None:
    """No step is acknowledged, what stands is decided by, and afterwards it goes on."""
    place = Place(tmp_path)
    store = tmp_path / "store" / "grants.sqlite"
    environment = {
        "PDP_DEVELOPMENT_TRUST_DOMAIN": "prod.test",
        "PDP_DEVELOPMENT_CA": str(tmp_path / "ca-prod.test"),
        "PDP_STORE_PATH": str(store),
        "PDP_STORE_FRESHNESS": "1s",
    }
    as_ci = {"metadata": (("pdp-as", CI),)}
    opening = bound(place).SerializeToString(deterministic=True)
    with served(tmp_path, "--policies", "set", **environment) as server, channel(server.address) as opened:
        grant = PDP.GrantResponse.FromString(call(opened, f"{GRANTS}Open", opening, **as_ci))
        asked = asking(place, grant.handle).SerializeToString()
        assert ask(opened, asked) == "allowed"
        end = PDP.EndRequest(task=grant.grant.task).SerializeToString()
        other = sqlite3.connect(store, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            assert refused(opened, f"{GRANTS}End", end, **as_ci) == "UNAVAILABLE store_unavailable"
            assert (
                ask(opened, asked) == "allowed"
            )  # its end was not acknowledged, and it is confirmed still: readers do not wait
        finally:
            other.execute("ROLLBACK")
        call(opened, f"{GRANTS}End", end, **as_ci)
        assert ask(opened, asked) == "task_ended"
        again = PDP.GrantResponse.FromString(call(opened, f"{GRANTS}Open", opening, **as_ci))
        assert ask(opened, asking(place, again.handle).SerializeToString()) == "allowed"


# ---- policies


def test_117_policies_replaced_by_garbage(tmp_path: Path) -> None:
    """In every shape that half a copy has. The old generation serves throughout; a good set afterwards is taken."""
    other = POLICY.replace('"open"', '"other"')
    with serving(tmp_path) as server, Load(server.address, 2) as load, channel(server.address) as opened:
        path, failing = tmp_path / "set" / "app.policy", "pdp_policy_reload_failing"
        for name, harm in {
            "bytes": lambda: path.write_bytes(b"\xff\x00garbage" * 1000),
            "cut": lambda: path.write_text(other[: other.index("do read")]),
            "empty": lambda: path.write_text(""),
            "not ours": lambda: path.write_text("permit(principal, action, resource);"),
            "gone": path.unlink,
            "no folder": lambda: shutil.rmtree(path.parent),
            "data": lambda: (path.parent / "data").mkdir() or (path.parent / "data" / "d.json").write_text("[{"),
        }.items():
            write_policies(tmp_path)
            wait_until(lambda: figure(server, failing) == 0, f"recovery before: {name}")
            harm()
            wait_until(lambda: figure(server, failing) == 1, name)
            assert [ask(opened, question(d)) for d in ("open", "shut", "other")] == [
                "allowed",
                "default_deny",
                "default_deny",
            ]
            assert server.get("/readyz")[0] == 200
            if name == "data":
                shutil.rmtree(path.parent / "data")
        load.goes_on()
        assert load.wrong == {}
        assert not [k for k in load.told if k[1].startswith("UNAVAILABLE")]  # no reader was held up
    with serving(tmp_path) as server, channel(server.address) as opened:
        (tmp_path / "set" / "app.policy").write_text(other)
        wait_until(lambda: [ask(opened, question(d)) for d in ("open", "other")] == ["default_deny", "allowed"])


def test_117_a_set_is_swapped_whole_by_renaming(tmp_path: Path) -> None:
    """What is copied aside and renamed is never seen by half: the two documents change together."""
    first = POLICY.replace('"open"', '"a", Document "b"')
    second = POLICY.replace('"open"', '"c", Document "d"')
    with serving(tmp_path) as server, channel(server.address) as opened:
        for number, text in enumerate((first, second, first)):
            aside = tmp_path / f"next-{number}"
            aside.mkdir()
            (aside / "app.policy").write_text(text)
            (tmp_path / "set").rename(tmp_path / f"old-{number}")
            aside.rename(tmp_path / "set")
            wanted = "a b" if text is first else "c d"
            seen = set()

            def both() -> bool:
                asks = [PDP.CheckRequest.FromString(question(d)) for d in "abcd"]
                raw = call(opened, f"{DECISIONS}CheckMany", PDP.CheckManyRequest(requests=asks).SerializeToString())
                results = PDP.CheckManyResponse.FromString(raw).results
                seen.add(found := " ".join(d for d, r in zip("abcd", results, strict=True) if r.decision.allowed))  # noqa: B023
                return found == wanted  # noqa: B023

            wait_until(both)
            assert seen <= {"", "a b", "c d"}
