"""`pdp check` and `pdp explain-code`."""

from __future__ import annotations

from pathlib import Path

import typer

from language import CODES, Compiler, Directory, did_you_mean
from pdp.cli.report import NOT_COMPILED, OK, USAGE, CheckFormat, counted, dump, print_diagnostics
from pdp.store.data_files import load_data
from pdp.store.files import find_files, read_sources


def check(
    path: Path = typer.Argument(..., help="A policy file, or a folder with policies, tests and data."),
    format: CheckFormat = typer.Option(CheckFormat.TEXT, help="How findings are printed."),
    plan: bool = typer.Option(False, "--plan", help="Print how each action is decided: what it reads, what is indexed."),
) -> None:
    """Compile policies, tests and data, and say everything that is wrong with them."""
    found = find_files(path, with_tests=True)
    sources = read_sources(found.policies)
    compiler = Compiler()
    checked, diagnostics = compiler.check(sources)
    print_diagnostics(diagnostics, format.value)
    if any(d.is_error for d in diagnostics):
        raise typer.Exit(NOT_COMPILED)
    load_data(Directory(checked.program.vocabulary), found.data)
    if plan:
        typer.echo(compiler.compile(sources).plan.show())
    if format is CheckFormat.TEXT:
        rules, tests = len(checked.program.rules), len(checked.tests)
        warnings = len(diagnostics)
        said = f", {counted(warnings, 'warning')}" if warnings else ""
        told = ", ".join([counted(len(sources), "file"), counted(rules, "rule"), counted(tests, "test")])
        typer.echo(f"{told}: no errors{said}")
    raise typer.Exit(OK)


def explain_code(
    code: str = typer.Argument(..., help="A code, as diagnostics and decisions show it."),
    format: CheckFormat = typer.Option(CheckFormat.TEXT, help="How it is printed."),
) -> None:
    """Say what a code means, why it exists and how to fix it."""
    known = CODES.get(code)
    if known is None:
        hint = did_you_mean(code, CODES)
        typer.echo(f"pdp: there is no code `{code}`" + (f"; {hint}" if hint else ""), err=True)
        raise typer.Exit(USAGE)
    if format is CheckFormat.JSON:
        told = {"code": code, "severity": known.severity.value, "title": known.title, "why": known.why, "fix": known.fix}
        typer.echo(dump(told))
    else:
        typer.echo(f"{code} ({known.severity.value}): {known.title}\n\nwhy: {known.why}\nfix: {known.fix}")
