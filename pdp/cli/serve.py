"""`pdp serve`: the decision point. Everything that it needs is imported when it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from pdp.cli.report import FINDING, OK
from pdp.errors import PdpError, RecordIncomplete


def serve(
    config: Path | None = typer.Option(None, "--config", help="The configuration, as YAML or JSON."),
    policies: Path | None = typer.Option(None, "--policies", help="A folder with policies and data, or a file."),
    listen: str | None = typer.Option(None, "--listen", help="HOST:PORT, or unix:/PATH; in place of the first listener."),
    workers: int | None = typer.Option(None, "--workers", help="Processes that share the port."),
    print_config: bool = typer.Option(False, "--print-config", help="Print the effective configuration and exit."),
) -> None:
    """Serve decisions. Without a configuration: on loopback only, with development identities."""
    from pdp.server.config import Origin, show_config

    environment = {name: value for name, value in os.environ.items() if not name.startswith("PDP_SERVE_")}
    found = Origin.load(config, environment, policies=policies, listen=listen, workers=workers)
    if print_config:
        typer.echo(show_config(found.started))
        raise typer.Exit(OK)
    import asyncio
    from importlib.util import find_spec

    if find_spec("grpc") is None:
        raise PdpError("invalid_argument", "`pdp serve` needs grpcio: install `bulkhead-pdp[server]`")
    from pdp.server.run import run
    from pdp.server.supervisor import WorkerFailed

    try:
        asyncio.run(run(found, _say))
    except WorkerFailed as failed:  # it has said why
        typer.echo(f"pdp: {failed}", err=True)
        raise typer.Exit(failed.status) from None
    except RecordIncomplete as incomplete:
        typer.echo(f"pdp: {incomplete}", err=True)
        raise typer.Exit(FINDING) from None
    raise typer.Exit(OK)


def _say(text: str) -> None:
    typer.echo(text, err=True)
