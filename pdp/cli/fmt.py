"""`pdp fmt`."""

from __future__ import annotations

import os
import tempfile
from difflib import unified_diff
from pathlib import Path

import typer

from language import FormatError, PolicyErrors, Source, format_source
from pdp.cli.report import FINDING, OK
from pdp.store.files import find_files, read_sources


def fmt(
    path: Path = typer.Argument(..., help="A policy file, or a folder."),
    check: bool = typer.Option(False, "--check", help="Change nothing; exit 1 when a file is not in canonical form."),
    diff: bool = typer.Option(
        False, "--diff", help="Change nothing; print what would change, and exit 1 if anything would."
    ),
) -> None:
    """Lay policies out in their one canonical form. Comments stay; the meaning never changes."""
    sources = read_sources(find_files(path, with_tests=True).policies)
    changed = 0
    formatted = [(source, _format(source)) for source in sources]
    for source, text in formatted:
        if text == source.text:
            continue
        changed += 1
        if diff:
            before, after = source.text.splitlines(keepends=True), text.splitlines(keepends=True)
            typer.echo("".join(unified_diff(before, after, source.path, source.path)), nl=False)
        elif check:
            typer.echo(f"not in canonical form: {source.path}")
        else:
            _replace(Path(source.path), text)
            typer.echo(f"formatted: {source.path}")
    raise typer.Exit(FINDING if changed and (check or diff) else OK)


def _format(source: Source) -> str:
    try:
        return format_source(source)
    except FormatError as error:
        raise PolicyErrors(error.diagnostics) from None


def _replace(path: Path, text: str) -> None:
    """Writes beside and renames, so that no crash leaves half a policy."""
    target = path.resolve()
    handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(beside, target.stat().st_mode)
        os.replace(beside, target)
    except BaseException:
        os.unlink(beside)
        raise
