"""A policy set on disk, read again and again: compiled incrementally, its data told apart from what programs put."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from language import Bundle, Change, Compiler, Directory, DirectoryError, RowData, Source, TestResult, run_test
from pdp.engine.ways import test_ways
from pdp.errors import PdpError
from pdp.store.data_files import DataSet, read_data
from pdp.store.files import find_files, read_sources


@dataclass(frozen=True, slots=True)
class Read:
    """What stands on disk now. `data` is None when its files are those of the last reading."""

    bundle: Bundle
    texts: tuple[tuple[str, str], ...]
    data: DataSet | None
    data_digest: str


class PolicyFolder:
    """Reads; whoever holds the engine puts what was read into force, or does not."""

    def __init__(self, path: Path, *, run_tests: bool) -> None:
        self.path = path
        self._run_tests = run_tests
        self._compiler = Compiler()
        self._texts: tuple[tuple[str, str], ...] = ()
        self._bundle: Bundle | None = None
        self._data_digest = ""
        self._keys: frozenset[tuple[str, str]] = frozenset()
        self._rows: frozenset[tuple[str, tuple[tuple[str, str], ...]]] = frozenset()

    def read(self) -> Read:
        """Everything, compiled aside and tested if so configured; PolicyErrors or PdpError when it is not fit."""
        found = find_files(self.path, with_tests=self._run_tests)
        sources = read_sources(found.policies)
        texts = tuple(sorted((s.path, s.digest) for s in sources))
        bundle = self._bundle if self._bundle is not None and texts == self._texts else self._compile(sources)
        digest = _digest(found.data)
        same = self._bundle is not None and digest == self._data_digest
        return Read(bundle, texts, None if same else read_data(found.data), digest)

    def _compile(self, sources: tuple[Source, ...]) -> Bundle:
        bundle = self._compiler.compile(sources)
        if self._run_tests:
            failing = [r for r in (run_test(bundle, test, test_ways()) for test in bundle.tests) if not r.passed]
            if failing:
                raise PdpError("failing_tests", _told(failing))
        return bundle

    def apply(self, read: Read, directory: Directory | None) -> Directory:
        """The directory that goes with what was read: with the records of its files, and with those that programs put into
        `directory`, as long as they conform. `directory` itself changes only when everything does."""
        held, moved = directory, directory is None or directory.vocabulary != read.bundle.vocabulary
        if moved:
            held = Directory(read.bundle.vocabulary)
        assert held is not None
        try:
            if moved and directory is not None:
                gone = self._keys if read.data is not None else frozenset()
                kept = [e for e in directory.entities() if (e.type, e.id) not in gone]
                rows = [r for r in directory.told_rows() if read.data is None or (r.relation, r.of) not in self._rows]
                held.change(Change(put=kept, put_rows=rows))
        except DirectoryError as error:
            message = f"what the directory holds no longer fits the vocabulary: {error.message}"
            raise PdpError("invalid_data", message) from None
        if read.data is not None:
            self._put(held, read.data)
        self._bundle, self._texts, self._data_digest = read.bundle, read.texts, read.data_digest
        return held

    def _put(self, directory: Directory, data: DataSet) -> None:
        keys = frozenset(data.entities)
        rows = frozenset((r.relation, r.of) for _, r in data.rows)
        change = data.change
        known = directory.vocabulary
        gone = [k for k in self._keys - keys if k[0] == "workload" or k[0] in known.entities]
        gone_rows = [RowData(*r) for r in self._rows - rows if r[0] in known.relations]
        try:
            directory.change(Change(change.put, gone, change.put_rows, gone_rows))
        except DirectoryError as error:
            raise data.explain(directory, error) from None
        self._keys, self._rows = keys, rows


def _digest(paths: Iterable[Path]) -> str:
    hasher = sha256()
    for path in paths:
        hasher.update(f"{path}\0".encode())
        try:
            hasher.update(sha256(path.read_bytes()).digest())
        except OSError as error:
            raise PdpError("invalid_file", f"`{path}` cannot be read: {error.strerror}") from None
    return hasher.hexdigest()


def _told(failing: list[TestResult]) -> str:
    first = failing[0]
    more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
    return f'the test "{first.test.name}" fails{more}: {first.failures[0].message}'
