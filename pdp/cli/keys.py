"""`pdp keys`: the keys that sign handles of grants, in their folder. A running server reads them again when they change."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from language import format_instant
from pdp.cli.report import OK, Format, dump
from pdp.grants.issuer_keys import IssuerKeys
from pdp.store.issuer_keys import read_issuer_keys
from pdp.store.issuer_keys import rotate as rotated
from pdp.store.issuer_keys import withdraw as withdrawn

keys = typer.Typer(help="The keys that sign handles of grants.", no_args_is_help=True, rich_markup_mode=None)

_FOLDER = typer.Argument(..., help="The folder of the keys: `store.keys` of the configuration.")
_FORMAT = typer.Option(Format.TEXT, "--format", help="How it is printed.")


@keys.command()
def show(
    folder: Path = _FOLDER,
    jwks: bool = typer.Option(False, "--jwks", help="The document that publishes them, as JWKS."),
    format: Format = _FORMAT,
) -> None:
    """Show the keys and their states, or publish them."""
    found = read_issuer_keys(folder)
    if jwks:
        typer.echo(found.published(_now()).decode())
        raise typer.Exit(OK)
    _print(found, format)


@keys.command()
def rotate(folder: Path = _FOLDER, format: Format = _FORMAT) -> None:
    """Publish a next key; it signs in ten minutes, and the one of today verifies for as long as a handle lives."""
    _print(rotated(folder, _now()), format)


@keys.command()
def withdraw(
    folder: Path = _FOLDER,
    key: str = typer.Argument(..., help="The id of the key, as `pdp keys show` prints it."),
    format: Format = _FORMAT,
) -> None:
    """Refuse everything that a key signed: for a key that somebody else may have."""
    _print(withdrawn(folder, key, _now()), format)


def _print(found: IssuerKeys, format: Format) -> None:
    now = _now()
    told = [
        {"id": key.id, "state": found.state(key, now).value, "signs_from": format_instant(key.signs_from_us)}
        for key in found.keys
    ]
    if format is Format.JSON:
        typer.echo(dump({"keys": told}))
    else:
        for each in told:
            typer.echo(f"{each['id']}  {each['state']:<10} from {each['signs_from']}")


def _now() -> int:
    return time.time_ns() // 1000
