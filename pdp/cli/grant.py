"""`pdp grant`: grants on a server, asked for, approved, handed on and listed."""

from __future__ import annotations

from pathlib import Path

import typer

from pdp.cli.asked import put_bindings, put_facts, put_permits, thumbprint_of
from pdp.cli.remote import CA, CALLER, CERT, FORMAT, KEY, SERVER, SERVER_NAME, ask, connect, put_duration, read_secret, show
from pdp.cli.report import OK, Format
from pdp.cli.task import GRANTS, answer_json, answer_text, list_all, show_grants, state_numbers
from pdp.cli.told import STATES, grant_text
from pdp.errors import PdpError

grant = typer.Typer(
    name="grant",
    help="Grants on a server: request, approve, reject, delegate, list.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@grant.command("request")
def request_grant(
    kind: str = typer.Argument(..., help="A kind of task that policy declares."),
    opener: str = typer.Option(..., "--opener", help="The SPIFFE ID of who is asked to open it."),
    set: list[str] = typer.Option([], "--set", help="A fact that a holder may say: NAME=TEXT, or NAME:=JSON."),
    lasting: str | None = typer.Option(None, "--lasting", help="For how long, such as 10m."),
    permit: list[str] = typer.Option([], "--permit", help="ACTION,… TYPE[:ID] [in TYPE:ID]; all that the kind may."),
    reason: str = typer.Option("", "--reason", help="What for: those who have to say yes see it."),
    gate: list[str] = typer.Option([], "--gate", help="A gate at which it may be used; any, if none is given."),
    destination: list[str] = typer.Option([], "--destination", help="A service for which it may be used."),
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
    """Ask for a grant for ourselves, tied to our certificate."""
    from pdp.wire.messages import PDP

    message = PDP.RequestGrantRequest(kind=kind, opener=opener, why=reason, idempotency_key=once)
    put_facts(message.facts, set)
    put_duration(message.lasting, lasting, "--lasting")
    put_permits(message.scope, permit)
    put_bindings(message.bindings, None if cert is None else thumbprint_of(str(cert)), None, gate, destination)
    if user_token is not None:
        message.user_token = read_secret(user_token, "--user-token")
    answer = ask(connect(server, cert, key, ca, server_name, caller), GRANTS, "Request", message, format)
    show(answer, format, answer_json, answer_text)
    raise typer.Exit(OK)


@grant.command("approve")
def approve_grant(
    id: str = typer.Argument(..., help="The id of the grant."),
    token: Path = typer.Option(..., "--token", help="A file with the approver's token; - for standard input."),
    agreement: str | None = typer.Option(None, "--agreement", help="The digest of what is agreed to, as it was shown."),
    yes: bool = typer.Option(False, "--yes", help="Agree to the grant as it stands, without being asked."),
    server: str = SERVER,
    cert: Path | None = CERT,
    key: Path | None = KEY,
    ca: Path | None = CA,
    server_name: str = SERVER_NAME,
    caller: str | None = CALLER,
    format: Format = FORMAT,
) -> None:
    """Say yes to exactly what a grant says. Without --agreement it is shown first."""
    from pdp.wire.messages import PDP

    agreed = None if agreement is None else _digest(agreement)
    person = read_secret(token, "--token")
    if agreed is None:
        get = PDP.GetRequest(grant=id, approver_token=person)
        asked = ask(connect(server, cert, key, ca, server_name, caller), GRANTS, "Get", get, format)
        if not yes:
            typer.echo(grant_text(asked.grant), err=True)
            typer.confirm("agree to exactly this?", abort=True, err=True)
        agreed = bytes(asked.grant.agreement)
    message = PDP.ApproveRequest(grant=id, agreement=agreed, approver_token=person)
    answer = ask(connect(server, cert, key, ca, server_name, caller), GRANTS, "Approve", message, format)
    show(answer, format, answer_json, answer_text)
    raise typer.Exit(OK)


@grant.command("reject")
def reject_grant(
    id: str = typer.Argument(..., help="The id of the grant."),
    reason: str = typer.Option(..., "--reason", help="Why not."),
    token: Path | None = typer.Option(None, "--token", help="A file with the approver's token; - for standard input."),
    server: str = SERVER,
    cert: Path | None = CERT,
    key: Path | None = KEY,
    ca: Path | None = CA,
    server_name: str = SERVER_NAME,
    caller: str | None = CALLER,
    format: Format = FORMAT,
) -> None:
    """Say no: as a person who could approve, or as the opener that was asked."""
    from pdp.wire.messages import PDP

    message = PDP.RejectRequest(grant=id, why=reason)
    if token is not None:
        message.approver_token = read_secret(token, "--token")
    answer = ask(connect(server, cert, key, ca, server_name, caller), GRANTS, "Reject", message, format)
    show(answer, format, answer_json, answer_text)
    raise typer.Exit(OK)


@grant.command("delegate")
def delegate_grant(
    holder: str = typer.Argument(..., help="The SPIFFE ID of the workload that is to hold part of it."),
    handle: Path = typer.Option(..., "--handle", help="A file with the handle of our own grant; - for standard input."),
    holder_cert: str | None = typer.Option(None, "--holder-cert", help="The holder's certificate, or its thumbprint."),
    holder_key: str | None = typer.Option(None, "--holder-key", help="The thumbprint of its task key."),
    lasting: str | None = typer.Option(None, "--lasting", help="For how long, such as 10m; as long as our own."),
    permit: list[str] = typer.Option([], "--permit", help="ACTION,… TYPE[:ID] [in TYPE:ID]; all that ours may."),
    gate: list[str] = typer.Option([], "--gate", help="A gate at which it may be used."),
    destination: list[str] = typer.Option([], "--destination", help="A service for which it may be used."),
    deeper: int | None = typer.Option(None, "--deeper", help="How many levels may be delegated from it."),
    uses: int | None = typer.Option(None, "--uses", help="How often it may be used at all."),
    once: str | None = typer.Option(None, "--once", help="A name for this step: taken once, however often it is sent."),
    server: str = SERVER,
    cert: Path | None = CERT,
    key: Path | None = KEY,
    ca: Path | None = CA,
    server_name: str = SERVER_NAME,
    caller: str | None = CALLER,
    format: Format = FORMAT,
) -> None:
    """Give part of our own grant to another workload, which has a key of its own."""
    from pdp.wire.messages import PDP

    message = PDP.DelegateRequest(
        grant=read_secret(handle, "--handle"), holder=holder, deeper=deeper, uses=uses, idempotency_key=once
    )
    put_duration(message.lasting, lasting, "--lasting")
    put_permits(message.scope, permit)
    put_bindings(message.bindings, holder_cert, holder_key, gate, destination)
    answer = ask(connect(server, cert, key, ca, server_name, caller), GRANTS, "Delegate", message, format)
    show(answer, format, answer_json, answer_text)
    raise typer.Exit(OK)


@grant.command("list")
def list_grants(
    task: str | None = typer.Option(None, "--task", help="Only of this task, with those that have ended."),
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
    """List the grants that the caller may see; without --task and --state, those that have not ended."""
    from pdp.wire.messages import PDP

    message = PDP.ListRequest(task=task, holder=holder, kind=kind, states=state_numbers(state), page_size=1000)
    show_grants(list_all(lambda: connect(server, cert, key, ca, server_name, caller), message, format), format)
    raise typer.Exit(OK)


def _digest(agreement: str) -> bytes:
    try:
        return bytes.fromhex(agreement)
    except ValueError:
        raise PdpError("invalid_argument", "--agreement: a digest is 64 hexadecimal digits") from None
