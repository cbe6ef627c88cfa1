"""`pdp init`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import typer

from pdp.cli.report import OK
from pdp.errors import PdpError

_FILES = {
    "app.policy": "app.policy",
    "app_test.policy": "app_test.policy",
    "entities.json": "data/entities.json",
    "request.json": "request.json",
}


def init(
    directory: Path = typer.Argument(Path("policies"), help="Where to put it; files that exist are left alone."),
) -> None:
    """Make a small working policy set with tests, to start from."""
    template = files("pdp.cli").joinpath("template")
    targets = {source: directory / target for source, target in _FILES.items()}
    taken = [str(target) for target in targets.values() if target.exists()]
    if taken:
        raise PdpError("invalid_argument", f"already there, and left as it is: {', '.join(taken)}")
    for source, target in targets.items():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(template.joinpath(source).read_text("utf-8"), "utf-8")
        except OSError as error:
            raise PdpError("invalid_file", f"`{target}` cannot be written: {error.strerror}") from None
        typer.echo(f"wrote {target}")
    typer.echo(
        f"\nnext:\n  pdp check {directory}\n  pdp test {directory} --coverage\n"
        f"  pdp explain {directory} --request {directory / 'request.json'} --at 2026-01-01T09:00:00Z"
    )
    raise typer.Exit(OK)
