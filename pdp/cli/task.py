"""`pdp task`: tasks on a server, opened, ended and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from pdp.cli.asked import put_bindings, put_facts, put_permits
from pdp.cli.remote import CA, CALLER, CERT, FORMAT, KEY, SERVER, SERVER_NAME, ask, connect, put_duration, read_secret, show
from pdp.cli.report import FINDING, OK, Format, counted
from pdp.cli.told import STATES, grant_json, grant_line, grant_text, state_number
from pdp.errors import PdpError

GRANTS = "/pdp.v1.GrantService"

task = typer.Typer(
    name="task",
    help="Tasks on a server: open, end, list, show.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@task.command("open")
def open_task(
    kind: str = typer.Argument(..., help="A kind of task that policy declares."),
    holder: str = typer.Option(..., "--holder", help="The SPIFFE ID of the workload that is to hold it."),
    set: list[str] = typer.Option([], "--set", help="A fact: NAME=TEXT, or NAME:=JSON. Can be given again."),
    lasting: str | None = typer.Option(None, "--lasting", help="For how long, such as 10m."),
    permit: list[str] = typer.Option([], "--permit", help="ACTION,… TYPE[:ID] [in TYPE:ID]; all that the kind may."),
    holder_cert: str | None = typer.Option(None, "--holder-cert", help="The holder's certificate, or its thumbprint."),
    holder_key: str | None = typer.Option(None, "--holder-key", help="The thumbprint of its task key."),
    gate: list[str] = typer.Option([], "--gate", help="A gate at which it may be used; any, if none is given."),
    destination: list[str] = typer.Option([], "--destination", help="A service for which it may be used."),
    deeper: int | None = typer.Option(None, "--deeper", help="How many levels may be delegated from it."),
    uses: int | None = typer.Option(None, "--uses", help="How often it may be used at all."),
    user_token: Path | None = typer.Option(None, "--user-token", help="A file with the token of a user; - for stdin."),
    once: str | None = typer.Option(None, "--once", help="A name for this step: taken once, however often it is sent."),
    server: str = SERVER,
    cert: Path | None = CERT,
    key: Path | None = KEY,
    ca: Path | None = CA,
    server_name: str = SERVER_NAME,
    caller: str | None = CALLER,
    format: Format = FORMAT,
) -> None:
    """Open a task for a holder: exit 0 with its grant and handle, or 1 with the code of the refusal."""
    from pdp.wire.messages import PDP

    message = PDP.OpenRequest(kind=kind, holder=holder, deeper=deeper, uses=uses, idempotency_key=once)
    put_facts(message.facts, set)
    put_duration(message.lasting, lasting, "--lasting")
    put_permits(message.scope, permit)
    put_bindings(message.bindings, holder_cert, holder_key, gate, destination)
    if user_token is not None:
        message.user_token = read_secret(user_token, "--user-token")
    answer = ask(connect(server, cert, key, ca, server_name, caller), GRANTS, "Open", message, format)
    show(answer, format, answer_json, answer_text)
    raise typer.Exit(OK)


@task.command("end")
def end_task(
    id: str = typer.Argument(..., help="The id of the task, or of a grant with --grant."),
    grant: bool = typer.Option(False, "--grant", help="End one grant and what is below it, not the whole task."),
    reason: str = typer.Option("", "--reason", help="Why, for the record."),
    server: str = SERVER,
    cert: Path | None = CERT,
    key: Path | None = KEY,
    ca: Path | None = CA,
    server_name: str = SERVER_NAME,
    caller: str | None = CALLER,
    format: Format = FORMAT,
) -> None:
    """End a task, for the next check and all after it."""
    from pdp.wire.messages import PDP

    message = PDP.EndRequest(why=reason)
    setattr(message, "grant" if grant else "task", id)
    answer = ask(connect(server, cert, key, ca, server_name, caller), GRANTS, "End", message, format)
    show(answer, format, stopped_json, lambda a: "\n".join([*(f"ended {each}" for each in a.grants)]))
    raise typer.Exit(OK)


@task.command("list")
def list_tasks(
    holder: str | None = typer.Option(None, "--holder", help="Only of this workload."),
    kind: str | None = typer.Option(None, "--kind", help="Only of this kind."),
    state: list[str] = typer.Option([], "--state", help=f"Only in this state: {', '.join(STATES)}. Can be given again."),
    server: str = SERVER,
    cert: Path | None = CERT,
    key: Path | None = KEY,
    ca: Path | None = CA,
    server_name: str = SERVER_NAME,
    caller: str | None = CALLER,
    format: Format = FORMAT,
) -> None:
    """List the tasks that the caller may see; without --state, those that have not ended."""
    from pdp.wire.messages import PDP

    message = PDP.ListRequest(holder=holder, kind=kind, states=state_numbers(state), page_size=1000)
    listed = [
        g for g in list_all(lambda: connect(server, cert, key, ca, server_name, caller), message, format) if not g.depth
    ]
    show_grants(listed, format)
    raise typer.Exit(OK)


@task.command("show")
def show_task(
    id: str = typer.Argument(..., help="The id of the task."),
    server: str = SERVER,
    cert: Path | None = CERT,
    key: Path | None = KEY,
    ca: Path | None = CA,
    server_name: str = SERVER_NAME,
    caller: str | None = CALLER,
    format: Format = FORMAT,
) -> None:
    """Show a task with every grant of it: exit 0, or 1 if the caller can see none."""
    from pdp.wire.messages import PDP

    message = PDP.ListRequest(task=id, page_size=1000)
    listed = list_all(lambda: connect(server, cert, key, ca, server_name, caller), message, format)
    if format is Format.JSON:
        show_grants(listed, format)
    else:
        typer.echo(
            "\n".join(map(grant_text, listed)) if listed else "there is no such task that you may see", err=not listed
        )
    raise typer.Exit(OK if listed else FINDING)


# ---- shared with `pdp grant`


def list_all(connecting: Any, message: Any, format: Format) -> list[Any]:
    """All pages."""
    found: list[Any] = []
    while True:
        page = ask(connecting(), GRANTS, "List", message, format)
        found += page.grants
        if not page.next_page_token:
            return found
        message.page_token = page.next_page_token


def state_numbers(names: list[str]) -> list[int]:
    unknown = [name for name in names if name not in STATES]
    if unknown:
        raise PdpError("invalid_argument", f"--state: found `{unknown[0][:60]}`, expected one of {', '.join(STATES)}")
    return [state_number(name) for name in names]


def show_grants(listed: list[Any], format: Format) -> None:
    show(listed, format, lambda all_: [grant_json(g) for g in all_], lambda all_: "\n".join(map(grant_line, all_)))
    if format is Format.TEXT:
        typer.echo(counted(len(listed), "grant"), err=True)


def answer_json(answer: Any) -> dict[str, Any]:
    return {"grant": grant_json(answer.grant), **({"handle": answer.handle} if answer.handle else {})}


def answer_text(answer: Any) -> str:
    return grant_text(answer.grant) + (f"\n  handle     {answer.handle}" if answer.handle else "")


def stopped_json(answer: Any) -> dict[str, Any]:
    return {"grants": list(answer.grants), "revision": answer.revision}
