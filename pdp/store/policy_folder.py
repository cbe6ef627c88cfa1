"""A policy set on disk, read again and again: compiled incrementally, its data told apart from what programs put."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from language import (
    Bundle,
    Change,
    Compiler,
    Directory,
    DirectoryError,
    EntityData,
    PolicyErrors,
    PolicyTest,
    RowData,
    Source,
    TestResult,
    run_test,
)
from pdp.engine.ways import test_ways
from pdp.errors import PdpError
from pdp.store.data_files import DataSet, read_content, read_contents
from pdp.store.files import bytes_of, digest_of, find_files, read_sources

READINGS_MAX = 5

Key = tuple[str, str]
RowName = tuple[str, tuple[Key, ...]]
Texts = tuple[tuple[str, str], ...]  # of each file its path and what names its content


@dataclass(frozen=True, slots=True)
class Read:
    """What stands on disk now. `data` is None when its files are those of the last reading."""

    bundle: Bundle
    texts: Texts
    data: DataSet | None
    data_digest: str

    @property
    def name(self) -> str:
        return _name(self.texts, self.data_digest)


@dataclass(frozen=True, slots=True)
class Told:
    """What the data files said when they were put into force: each record by a mark of its content."""

    entities: Mapping[Key, bytes]
    rows: Mapping[RowName, int]

    def difference(self, data: DataSet) -> Change:
        """What the files say otherwise now. What they say as before stays as programs may have changed it since."""
        entities = [e for key, (_, e) in data.entities.items() if self.entities.get(key) != _mark(e)]
        rows = [r for _, r in data.rows if self.rows.get((r.relation, r.of)) != r.until]
        named = {(r.relation, r.of) for _, r in data.rows}
        gone = [key for key in self.entities if key not in data.entities]
        return Change(entities, gone, rows, [RowData(*name) for name in self.rows if name not in named])


class PolicyFolder:
    """Reads; whoever holds the engine puts what was read into force, or does not.

    Files of tests are no part of what is served, nor of its name. Where tests are run, they run on what is to be served.
    """

    def __init__(self, path: Path, *, run_tests: bool, demand_rules: bool = False) -> None:
        self.path = path
        self._run_tests, self._demand_rules = run_tests, demand_rules
        self._compiler = Compiler()
        self._texts: Texts = ()
        self._tested: Texts = ()  # what was last read whose tests passed, with the tests
        self._bundle: Bundle | None = None
        self._data_digest = ""
        self._told = Told({}, {})

    @property
    def in_force(self) -> str:
        """Names what was read and put into force, policies and data, by its content."""
        return _name(self._texts, self._data_digest)

    def read(self) -> Read:
        """Everything, compiled aside and tested if so configured; PolicyErrors or PdpError when it is not fit.

        Each file is read once. If something else stands there when all is done, it is read again: else the policies of one
        state could come into force with the data of another.
        """
        for _ in range(READINGS_MAX):
            found = find_files(self.path, with_tests=self._run_tests)
            sources = read_sources(found.policies)
            contents = [(path, read_content(path)) for path in found.data]
            policies = [(path, bytes_of(source)) for path, source in zip(found.policies, sources, strict=True)]
            digest = digest_of([*policies, *contents])
            read = self._understand(sources, contents)
            if find_files(self.path, with_tests=self._run_tests).digest() == digest:
                return read
        raise PdpError("invalid_file", f"`{self.path}` changes while it is read, {READINGS_MAX} times in a row")

    def _understand(self, sources: tuple[Source, ...], contents: list[tuple[Path, bytes]]) -> Read:
        served = tuple(s for s in sources if not s.is_tests)
        if not served:
            raise PdpError("invalid_file", f"there is nothing but tests at `{self.path}`, and a decision point serves none")
        tests = self._tests(sources)
        texts = _texts(served)
        bundle = self._bundle if self._bundle is not None and texts == self._texts else self._compile(served)
        if tests is not None:
            _run(bundle, tests)
            self._tested = _texts(sources)
        digest = digest_of(contents)
        same = self._bundle is not None and digest == self._data_digest
        return Read(bundle, texts, None if same else read_contents(contents), digest)

    def _tests(self, sources: tuple[Source, ...]) -> tuple[PolicyTest, ...] | None:
        """The tests to run, or None where these very texts have passed; PolicyErrors when any file is not fit."""
        if not self._run_tests or _texts(sources) == self._tested:
            return None
        checked, diagnostics = self._compiler.check(sources)
        if any(d.is_error for d in diagnostics):
            raise PolicyErrors(diagnostics)
        return checked.tests

    def _compile(self, served: tuple[Source, ...]) -> Bundle:
        bundle = self._compiler.compile(served)
        if self._demand_rules and not bundle.program.rules:
            raise PdpError("no_rules", f"there is no rule in `{self.path}`: everything would be denied")
        return bundle

    def apply(self, read: Read, directory: Directory | None) -> Directory:
        """The directory that goes with what was read: `directory` with what the files say otherwise than before, as long as
        the rest conforms. `directory` itself changes only when everything does."""
        change = self._told.difference(read.data) if read.data is not None else Change()
        if directory is not None and directory.vocabulary == read.bundle.vocabulary:
            held = directory
        else:
            held = Directory(read.bundle.vocabulary)
            if directory is not None:
                _carry_over(directory, held, change)
            change = Change(change.put, (), change.put_rows, ())  # what is gone was not carried over
        if read.data is not None:
            try:
                held.change(change)
            except DirectoryError as error:
                raise read.data.explain(held, error) from None
            entities = {key: _mark(e) for key, (_, e) in read.data.entities.items()}
            self._told = Told(entities, {(r.relation, r.of): r.until for _, r in read.data.rows})
        self._bundle, self._texts, self._data_digest = read.bundle, read.texts, read.data_digest
        return held


def _texts(sources: tuple[Source, ...]) -> Texts:
    return tuple(sorted((s.path, s.digest) for s in sources))


def _run(bundle: Bundle, tests: tuple[PolicyTest, ...]) -> None:
    failing = [r for r in (run_test(bundle, test, test_ways()) for test in tests) if not r.passed]
    if failing:
        raise PdpError("failing_tests", _failures(failing))


def _name(texts: Texts, data_digest: str) -> str:
    return blake2b(repr((texts, data_digest)).encode(), digest_size=16).hexdigest()


def _carry_over(old: Directory, new: Directory, change: Change) -> None:
    """What the files do not say anew, by the words of another vocabulary."""
    anew = {(e.type, e.id) for e in change.put} | set(change.remove)
    rows = {(r.relation, r.of) for r in (*change.put_rows, *change.remove_rows)}
    kept = [e for e in old.entities() if (e.type, e.id) not in anew]
    try:
        new.change(Change(put=kept, put_rows=[r for r in old.told_rows() if (r.relation, r.of) not in rows]))
    except DirectoryError as error:
        message = f"what the directory holds no longer fits the vocabulary: {error.message}"
        raise PdpError("invalid_data", message) from None


def _mark(entity: EntityData) -> bytes:
    return blake2b(repr((entity.attributes, entity.parents)).encode(errors="surrogatepass"), digest_size=16).digest()


def _failures(failing: list[TestResult]) -> str:
    first = failing[0]
    more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
    return f'the test "{first.test.name}" fails{more}: {first.failures[0].message}'
