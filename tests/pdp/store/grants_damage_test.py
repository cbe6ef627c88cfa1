"""Finding F10: a file in which any byte is another one says the same as before, or is refused with a code."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.errors import PdpError
from pdp.grants.grant import Grant
from pdp.grants.store import Bury, Consume, Put, Spent, Unavailable
from pdp.store.grants.sqlite import SqliteStore
from tests.pdp.store.grants_conformance import everything
from tests.pdp.store.grants_world import FULL, NOW, PLAIN, ended, grant, mark

FILE = "grants.db"
USES = {f"k{n}": n + 1 for n in range(20)}


class Sample:
    """A store of every kind of row, closed, with what it says; and whatever becomes of a copy of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        store = self.opened()
        first = store.commit([Put(PLAIN, 0), Put(FULL, 0), *(Put(grant(f"g{n}"), 0) for n in range(20))]).revision
        store.commit([Put(ended(grant(f"g{n}")), first) for n in range(0, 20, 3)])
        store.commit([Put(mark("w"), 0), Put(mark("lifted", lifted=True), 0), Bury(grant("spent").id, NOW)])
        store.commit([Consume(key, PLAIN.id, 99) for key, times in USES.items() for _ in range(times)])
        self.said = everything(store)
        self.unmerged = self._files()  # as a process that is killed leaves them, with the last commits in the WAL
        store.close()
        self.files = self._files()
        self.raw = self.files[FILE]

    def _files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if not path.name.endswith("-shm")}

    def opened(self) -> SqliteStore:
        return SqliteStore(self.folder / FILE, now_us=lambda: NOW)

    def damaged(self, raw: bytes) -> str:
        return self.found({**self.files, FILE: raw})

    def found(self, files: dict[str, bytes]) -> str:
        """How it goes with these files: the code of a refusal, or what they say instead."""
        for path in self.folder.iterdir():
            path.unlink()
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
            (self.folder / name).chmod(0o600)
        try:
            store = self.opened()
        except PdpError as error:
            return error.code
        try:
            return self._says(store)
        finally:
            store.close()

    def _says(self, store: SqliteStore) -> str:
        try:
            found = everything(store)
            if store.restored:  # the file is not the one that its witness saw: everything in it has ended
                assert all(r.is_over for r in found.records if isinstance(r, Grant))
                return "restored"
            assert found == self.said
            for record in self.said.records:
                if isinstance(record, Grant):
                    assert store.grant(record.id) == record
            for key, times in USES.items():
                with pytest.raises(Spent):
                    store.commit([Consume(key, PLAIN.id, times)])
            store.commit([Put(grant("new"), 0)])
            assert store.grant(grant("new").id)
        except Unavailable:
            return "unavailable"
        return "same"


OUTCOMES = {"same", "restored", "unavailable", "invalid_file", "store_unavailable"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("damage") / "store"
    folder.mkdir(mode=0o700)
    return Sample(folder)


def flipped(raw: bytes, at: int, bits: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ bits]) + raw[at + 1 :]


def test_as_it_is(sample: Sample) -> None:
    assert sample.damaged(sample.raw) == "same"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_byte_of_any_page(sample: Sample, data: Any) -> None:
    at = data.draw(st.integers(0, len(sample.raw) - 1))
    assert sample.damaged(flipped(sample.raw, at, data.draw(st.integers(1, 255)))) in OUTCOMES


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 99), st.integers(1, 255))
def test_any_byte_of_the_header(sample: Sample, at: int, bits: int) -> None:
    assert sample.damaged(flipped(sample.raw, at, bits)) in OUTCOMES


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_many_bytes_of_one_page(sample: Sample, chance: random.Random, count: int) -> None:
    raw = bytearray(sample.raw)
    start = chance.randrange(len(raw) // 4096) * 4096
    for _ in range(count):
        raw[start + chance.randrange(4096)] = chance.randrange(256)
    assert sample.damaged(bytes(raw)) in OUTCOMES


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_byte_of_what_is_not_merged_yet(sample: Sample, data: Any) -> None:
    raw = sample.unmerged[f"{FILE}-wal"]
    at = data.draw(st.integers(0, len(raw) - 1))
    other = flipped(raw, at, data.draw(st.integers(1, 255)))
    assert sample.found({**sample.unmerged, f"{FILE}-wal": other}) in OUTCOMES


@pytest.mark.parametrize("text", ["spiffe://dev.test/h", "invoicing", "must:max_rows", "select", "completed", "lifted"])
def test_a_byte_of_what_a_grant_says(sample: Sample, text: str) -> None:
    """Twice in 400 a living grant had another holder or another scope, and nobody knew."""
    places = [at for at in range(len(sample.raw)) if sample.raw.startswith(text.encode(), at)][-10:]
    found = {sample.damaged(flipped(sample.raw, at + 1, 1)) for at in places}
    assert "invalid_file" in found
    assert found <= {"invalid_file", "same"}  # the same where it was of a row that was written again since
