"""`pdp eval` and `pdp explain`."""

from __future__ import annotations

from pathlib import Path

import typer

from pdp.cli.report import FINDING, OK, Format, answer_json, answer_text, decision_json, decision_text, dump
from pdp.sdk.engine import Engine
from pdp.store.requests import read_request

_PATH = typer.Argument(..., help="A policy file, or a folder with policies and data.")
_REQUEST = typer.Option(..., "--request", help="The request, as JSON or YAML.")
_AT = typer.Option(None, "--at", help="Decide as of this moment, for example 2026-01-31T09:00:00Z; now if not given.")
_FORMAT = typer.Option(Format.TEXT, "--format", help="How the decision is printed.")


def evaluate(path: Path = _PATH, request: Path = _REQUEST, at: str | None = _AT, format: Format = _FORMAT) -> None:
    """Decide one request: exit 0 for allow, 1 for deny."""
    decision = Engine.load(path).check(read_request(request), now=at)
    typer.echo(dump(decision_json(decision)) if format is Format.JSON else decision_text(decision))
    raise typer.Exit(OK if decision.allowed else FINDING)


def explain(path: Path = _PATH, request: Path = _REQUEST, at: str | None = _AT, format: Format = _FORMAT) -> None:
    """Decide one request and say why: each rule, the conditions that failed, and the values in them."""
    explanation = Engine.load(path).explain(read_request(request), now=at)
    decision, answer = explanation.decision, explanation.answer
    if format is Format.JSON:
        told = decision_json(decision)
        told["rules"] = list(answer.rules) if answer else []
        told["considered"] = answer_json(answer) if answer else []
        told["whole"] = answer is None or answer.is_whole
        typer.echo(dump(told))
    else:
        typer.echo(decision_text(decision))
        if answer is not None:
            typer.echo(answer_text(answer))
    raise typer.Exit(OK if decision.allowed else FINDING)
