"""Findings F2 and S7: what waits for the record is bounded in bytes, and what a stop loses is said."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

import pdp
from pdp.record.encode import encode
from pdp.record.masking import Masking
from pdp.record.weight import BASE, HEAVY, weight_of
from pdp.store.record_files import Full, RecordFiles, RecordSettings
from pdp.store.record_keys import RecordKeys
from tests.pdp.record.files_test import checked, entries, folder, ids, keys, step, stuck
from tests.pdp.record.world import AGENT, NOW, REQUESTS, TASK, World

__all__ = ["folder", "keys", "stuck"]  # fixtures

WORLD = World()
DECISION = WORLD.decided(REQUESTS[0]).decision


def asked(**context: Any) -> pdp.Request:
    return pdp.Request("read", ("Doc", "d"), user=("User", "ada"), context=context)


@pytest.mark.parametrize(
    "request_",
    [
        asked(note="x" * 60_000),
        asked(**{f"n{i}": [True] * 9_900 for i in range(6)}),
        asked(**{f"n{i}": "x" for i in range(2_000)}),
        asked(deep=[[["x" * 3_000] * 3]]),
        asked(number=2**80_000),
        asked(raw=b"x" * 5_000),
        pdp.Request("read", ("Doc", "d" * 60_000), user=("User", "ada")),
        pdp.Request("read", ("Doc", "d"), user=("User", "a" * 60_000)),
        pdp.Request("read", pdp.Resource("Doc", "d", {"a": "x" * 60_000})),
        pdp.Request("read", pdp.Resource("Doc", "d", None, [("Team", "x" * 100)] * 100)),
        pdp.Request("read", ("Doc", "d"), workload=pdp.Workload(AGENT, {"a": "x" * 60_000})),
        pdp.Request("read", ("Doc", "d"), task=pdp.Task("night", "t", {"a": "x" * 60_000})),
        pdp.Request("r" * 60_000, ("Doc", "d"), context={"a": 1}),
        pdp.Request("read", ("Doc", "d"), location={"ip": "x" * 60_000}, context={"a": 1}),
    ],
)
def test_what_is_large_is_heavy_wherever_it_stands(request_: pdp.Request) -> None:
    assert weight_of(request_) > HEAVY


@pytest.mark.parametrize("request_", [*REQUESTS, asked(a="b", c=[1, 2]), pdp.Request("read", ("Doc", "d"), task=TASK)])
def test_what_is_usual_is_light(request_: pdp.Request) -> None:
    assert BASE <= weight_of(request_) <= HEAVY


@pytest.mark.parametrize("full", Full)
@pytest.mark.parametrize("size", [100, 60_000])
def test_s7_the_queue_is_bounded_in_bytes(folder: Path, keys: RecordKeys, stuck: Any, full: Full, size: int) -> None:
    """Finding S7: a disk that hangs, and questions that are large, or many."""
    room = 8_000_000
    record = RecordFiles(folder, keys, RecordSettings(full=full, queue_bytes=room))
    stuck.start()
    said = [record.decided(asked(text=f"{n} " * (size // 2), n=n), DECISION, NOW, 1) for n in range(2_000)]
    assert record.waiting < 2_000
    assert room // 5 < record.waiting_bytes <= room
    assert all(said) is (full is Full.DROP)
    lost = record.lost
    stuck.set()
    assert record.flush(60)
    assert record.waiting == record.waiting_bytes == 0
    assert record.decided(asked(n=1), DECISION, NOW, 1)
    assert record.close() == 0
    written = len(entries(folder, "decision")) - 1
    assert written == (2_000 - lost if full is Full.DROP else said.count(True))
    assert checked(folder, keys, whole=True).ok


def test_f2_what_is_heavy_is_told_by_who_asks(folder: Path, keys: RecordKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding F2: so the writer is not outrun; and it is the same entry."""
    with RecordFiles(folder, keys) as record:
        threads = []
        real = Masking.head
        monkeypatch.setattr(Masking, "head", lambda *a: (threads.append(threading.current_thread().name), real(*a))[1])
        request = asked(text="eyJ. " * 12_000)
        assert record.decided(request, DECISION, NOW, 1)
        assert record.flush(30)
    assert threads == [threading.current_thread().name]
    entry = WORLD.decided(REQUESTS[0])
    expected = encode(type(entry)(request, DECISION, NOW, 1), Masking(keys.masking))
    assert entries(folder, "decision") == [json.loads(expected)]


def test_a_foreign_object_that_raises_is_told_as_lost(folder: Path, keys: RecordKeys) -> None:
    class Rude(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            raise RuntimeError("canary")

    request = asked(a=1)
    object.__setattr__(request, "context", Rude(a=1))
    with RecordFiles(folder, keys) as record:
        assert record.decided(request, DECISION, NOW, 1)
    assert [e["error"] for e in entries(folder, "drop")] == ["RuntimeError"]


def test_f2_what_a_stop_loses_is_in_the_record(folder: Path, keys: RecordKeys, stuck: Any) -> None:
    """Finding F2: the writer is behind when its time is over."""
    record = RecordFiles(folder, keys)
    stuck.start()
    for number in range(2_000):
        assert record.stepped(step(number))
    closing: list[int] = []
    thread = threading.Thread(target=lambda: closing.append(record.close(0.05)))
    thread.start()
    while not record._given_up:
        thread.join(0.001)
    stuck.set()
    record._thread.join(30)
    thread.join(30)
    lost = record.close(0.05)
    assert lost > 0
    assert entries(folder, "drop") == [
        {"at_us": entries(folder, "drop")[0]["at_us"], "count": lost, "reason": "the record was closed"}
    ]
    assert ids(folder) == list(range(2_000 - lost))
    assert len(entries(folder, "stop")) == 1
    assert checked(folder, keys, whole=True).ok
