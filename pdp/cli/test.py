"""`pdp test`."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import typer

from language import Bundle, Compiler, Coverage, PolicyErrors, TestResult, clause_coverage, run_test
from pdp.cli.report import (
    FINDING,
    OK,
    TestFormat,
    coverage_json,
    coverage_percent,
    coverage_text,
    dump,
    print_diagnostics,
    results_json,
    results_junit,
    results_summary,
    results_text,
)
from pdp.engine.ways import test_ways
from pdp.errors import PdpError
from pdp.store.files import find_files, read_sources


def test(
    path: Path = typer.Argument(..., help="A policy file, or a folder with policies and tests."),
    run: str | None = typer.Option(None, "--run", help="Only tests whose name matches this regular expression."),
    coverage: bool = typer.Option(False, "--coverage", help="Show which clauses were never seen true, or never false."),
    threshold: float | None = typer.Option(
        None, "--threshold", min=0, max=100, help="Exit 1 below this coverage in percent."
    ),
    junit: Path | None = typer.Option(None, "--junit", help="Also write the results to this file, as JUnit XML."),
    watch: bool = typer.Option(False, "--watch", help="Run again whenever a file changes."),
    fail_on_empty: bool = typer.Option(False, "--fail-on-empty", help="Exit 1 when no test ran."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Also list the tests that passed."),
    format: TestFormat = typer.Option(TestFormat.TEXT, "--format", help="How results are printed."),
) -> None:
    """Run policy tests: every step compiled, through a warm cache and by the plain evaluator, which must agree."""
    try:
        pattern = re.compile(run) if run is not None else None
    except re.error as error:
        raise PdpError("invalid_argument", f"--run: not a regular expression: {error}") from None
    options = _Options(path, pattern, coverage, threshold, junit, fail_on_empty, verbose, format)
    if not watch:
        raise typer.Exit(options.run_once(Compiler()))
    _watch(options)


@dataclass(frozen=True, slots=True)
class _Options:
    path: Path
    pattern: re.Pattern[str] | None
    coverage: bool
    threshold: float | None
    junit: Path | None
    fail_on_empty: bool
    verbose: bool
    format: TestFormat

    def run_once(self, compiler: Compiler) -> int:
        """One run, printed; the exit code."""
        bundle = compiler.compile(read_sources(find_files(self.path, with_tests=True).policies))
        seen = Coverage()
        tests = [t for t in bundle.tests if self.pattern is None or self.pattern.search(t.full_name)]
        results = [run_test(bundle, t, test_ways(), seen) for t in tests]
        return self._print(bundle, results, seen)

    def _print(self, bundle: Bundle, results: list[TestResult], seen: Coverage) -> int:
        clauses = clause_coverage(bundle, seen) if self.coverage or self.threshold is not None else ()
        if self.junit is not None:
            try:
                self.junit.write_text(results_junit(results), "utf-8")
            except OSError as error:
                raise PdpError("invalid_file", f"`{self.junit}` cannot be written: {error.strerror}") from None
        match self.format:
            case TestFormat.JUNIT:
                typer.echo(results_junit(results), nl=False)
            case TestFormat.JSON:
                told = {"tests": results_json(results), "passed": all(r.passed for r in results)}
                typer.echo(dump({**told, "coverage": coverage_json(clauses)} if clauses else told))
            case TestFormat.TEXT:
                print_lines(results_text(results, verbose=self.verbose))
                print_lines(coverage_text(clauses) if self.coverage else "")
                typer.echo(results_summary(results))
        return self._exit_code(results, coverage_percent(clauses))

    def _exit_code(self, results: list[TestResult], percent: float) -> int:
        if any(not r.passed for r in results):
            return FINDING
        if not results:
            typer.echo("pdp: no test ran", err=True)
            return FINDING if self.fail_on_empty or self.pattern is not None else OK
        if self.threshold is not None and percent < self.threshold:
            typer.echo(f"pdp: coverage {percent:.1f} % is below {self.threshold:g} %", err=True)
            return FINDING
        return OK


def print_lines(text: str) -> None:
    if text:
        typer.echo(text)


def _watch(options: _Options) -> None:
    """Runs now and after every change, until interrupted. Polls: no dependency, and right on every file system."""
    compiler = Compiler()
    last: object = None
    try:
        while True:
            state = _state(options.path)
            if state != last:
                last = state
                try:
                    options.run_once(compiler)
                except PolicyErrors as errors:
                    print_diagnostics(errors.diagnostics, "text")
                typer.echo("watching; interrupt to stop", err=True)
            time.sleep(0.3)
    except KeyboardInterrupt:
        raise typer.Exit(OK) from None


def _state(path: Path) -> object:
    try:
        files = find_files(path, with_tests=True).policies
        return tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files)
    except (OSError, PdpError) as error:
        return str(error)
