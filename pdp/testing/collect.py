"""Policy tests as pytest collects them: each by itself, a table case too, told as `pdp test` tells them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from language import (
    TEST_SUFFIX,
    Bundle,
    Compiler,
    PolicyErrors,
    PolicyTest,
    Source,
    TestResult,
    printable,
    render,
    run_test,
)
from pdp.cli.report import counted, results_text
from pdp.engine.ways import test_ways
from pdp.errors import PdpError
from pdp.store.files import POLICY_SUFFIX, find_files, read_sources


class PolicySets:
    """The policy sets of one session: each is compiled once, however many test files it has."""

    def __init__(self, told_root: Path | None, top: Path, shown_from: Path) -> None:
        self._told_root = told_root
        self._top = top
        self._shown_from = shown_from
        self._compiled: dict[Path, Bundle | None] = {}  # None is a set that was told to be broken

    def root_of(self, test_file: Path) -> Path:
        """The folder that is compiled with a test file.

        The one that was configured, if the file lies in it; else the topmost folder at or above the file, not above
        pytest's root, that holds a policy itself.
        """
        told = self._told_root
        if told is not None and test_file.is_relative_to(told):
            return told
        folder = test_file.parent
        above = [f for f in (folder, *folder.parents) if f.is_relative_to(self._top)]
        return next((f for f in reversed(above) if _holds_policy(f)), folder)

    def tests_of(self, test_file: Path) -> list[PolicyTest]:
        """The tests in a file; CollectError when its set does not compile, once for each set."""
        bundle = self._bundle(self.root_of(test_file))
        if bundle is None:
            return []
        shown = self._shown(test_file)
        if shown not in {source.path for source in bundle.sources}:
            raise _collect_error(f"`{shown}` is no part of a policy set: hidden files and folders are skipped")
        return [test for test in bundle.tests if test.span.source.path == shown]

    def run(self, test_file: Path, test: PolicyTest) -> TestResult:
        bundle = self._bundle(self.root_of(test_file))
        assert bundle is not None  # the test is of this set, so it compiled
        return run_test(bundle, test, test_ways())

    def _bundle(self, root: Path) -> Bundle | None:
        if root not in self._compiled:
            self._compiled[root] = None  # unless it compiles
            self._compiled[root] = self._compile(root)
        return self._compiled[root]

    def _compile(self, root: Path) -> Bundle:
        try:
            sources = read_sources(find_files(root, with_tests=True).policies)
            return Compiler().compile([Source(self._shown(Path(s.path)), s.text) for s in sources])
        except PolicyErrors as errors:
            found = [d for d in errors.diagnostics if d.is_error]
            told = "\n".join(render(d) for d in found)
            raise _collect_error(
                f"{told}\n{counted(len(found), 'error')}; `pdp explain-code CODE` says more about a code"
            ) from None
        except PdpError as error:
            raise _collect_error(str(error)) from None

    def _shown(self, path: Path) -> str:
        """A path as `pdp test` would name it, were it started where pytest was."""
        return os.path.relpath(path, self._shown_from) if path.is_relative_to(self._shown_from) else str(path)


def _holds_policy(folder: Path) -> bool:
    names = (p.name for p in folder.glob(f"*{POLICY_SUFFIX}"))
    return any(not name.endswith(TEST_SUFFIX) and not name.startswith(".") for name in names)


def _collect_error(message: str) -> Exception:
    error: Exception = pytest.Collector.CollectError(message)
    return error


class PolicyFile(pytest.File):
    """A file of policy tests."""

    sets: PolicySets

    def collect(self) -> Iterable[pytest.Item]:
        names: dict[str, int] = {}
        for test in self.sets.tests_of(self.path):
            name = node_name(test)
            names[name] = number = names.get(name, 0) + 1
            item: PolicyItem = PolicyItem.from_parent(self, name=name if number == 1 else f"{name}#{number}")
            item.test = test
            item.extra_keyword_matches.update(filter(None, (test.package, test.full_name)))
            yield item


def node_name(test: PolicyTest) -> str:
    """`name[case]`, as pytest names its own table cases; `::` would be read as a boundary of a node id."""
    name = printable(test.name).replace("::", ":")
    return name if test.case is None else f"{name}[{printable(test.case)}]"


class PolicyItem(pytest.Item):
    """One policy test, or one case of its table."""

    test: PolicyTest

    def runtest(self) -> None:
        assert isinstance(self.parent, PolicyFile)
        result = self.parent.sets.run(self.path, self.test)
        if not result.passed:
            raise PolicyTestFailed(results_text([result], verbose=False))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *more: Any) -> Any:
        if isinstance(excinfo.value, PolicyTestFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *more)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.test.span.line - 1, self.name


class PolicyTestFailed(Exception):
    """A policy test did not pass; the message is what `pdp test` prints."""
