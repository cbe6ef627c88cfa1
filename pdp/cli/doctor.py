"""`pdp doctor`: is this deployment safe?"""

from __future__ import annotations

import os
from pathlib import Path

import typer

from pdp.cli.report import FINDING, OK, Format, counted, dump
from pdp.errors import PdpError


def doctor(
    config: Path | None = typer.Option(None, "--config", help="The configuration of `pdp serve`."),
    policies: Path | None = typer.Option(None, "--policies", help="As of `pdp serve`."),
    envoy: list[Path] = typer.Option([], "--envoy", help="An Envoy configuration, as YAML or JSON; can be given again."),
    strict: bool = typer.Option(False, "--strict", help="Also exit 1 for warnings."),
    format: Format = typer.Option(Format.TEXT, "--format", help="How findings are printed."),
) -> None:
    """Check configuration, clock, trust, permissions, and the Envoy in front: exit 1 where something is unsafe."""
    from pdp.doctor.deployment import check_deployment
    from pdp.doctor.envoy import lint_envoy
    from pdp.doctor.finding import Level

    environment = {name: value for name, value in os.environ.items() if not name.startswith("PDP_DOCTOR_")}
    found = check_deployment(config, environment, policies)
    for path in envoy:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PdpError("invalid_file", f"`{path}` cannot be read: {error}") from None
        found += lint_envoy(text, str(path))
    levels = [f.rule.level for f in found]
    if format is Format.JSON:
        typer.echo(dump({"findings": [f.as_json() for f in found]}))
    else:
        for finding in found:
            typer.echo(str(finding))
        errors, warnings = levels.count(Level.ERROR), levels.count(Level.WARNING)
        typer.echo(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}", err=True)
    bad = Level.ERROR in levels or (strict and Level.WARNING in levels)
    raise typer.Exit(FINDING if bad else OK)
