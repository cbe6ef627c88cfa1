"""What verbs that speak to a server have in common: their options, the connection, and how a refusal is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from language import BadLiteral, parse_duration, printable
from pdp.cli.report import FINDING, Format, dump
from pdp.errors import PdpError

if TYPE_CHECKING:
    from pdp.sdk.remote.steps import Steps

SERVER = typer.Option("127.0.0.1:7070", "--server", envvar="PDP_SERVER", help="HOST:PORT or unix:/PATH of the server.")
CERT = typer.Option(None, "--cert", "--tls-cert", envvar="PDP_CERT", help="Our X509-SVID in PEM.")
TLS_CERT = typer.Option(None, "--tls-cert", envvar="PDP_CERT", help="Our X509-SVID in PEM.")
KEY = typer.Option(None, "--key", envvar="PDP_KEY", help="Its private key.")
CA = typer.Option(None, "--ca", envvar="PDP_CA", help="The authorities of the server, in PEM.")
SERVER_NAME = typer.Option("pdp", "--server-name", envvar="PDP_SERVER_NAME", help="The DNS name in its certificate.")
CALLER = typer.Option(
    None, "--caller", envvar="PDP_CALLER", help="To a development server: the SPIFFE ID that we say we are."
)
FORMAT = typer.Option(Format.TEXT, "--format", help="How the answer is printed.")


def connect(server: str, cert: Path | None, key: Path | None, ca: Path | None, server_name: str, named: str | None) -> Steps:
    from pdp.sdk.remote.own import Tls
    from pdp.sdk.remote.steps import Steps

    given = [option for option in (cert, key, ca) if option is not None]
    if len(given) not in (0, 3):
        raise PdpError("invalid_argument", "--cert, --key and --ca go together: our certificate, its key, their authorities")
    tls = Tls(cert, key, ca, server_name) if cert is not None and key is not None and ca is not None else None
    if tls is not None and named is not None:
        raise PdpError("invalid_argument", "--caller is for a development server; over TLS the certificate says who we are")
    return Steps(server, tls, named)


def ask(steps: Steps, service: str, method: str, message: Any, format: Format) -> Any:
    """The answer of a step. One that is refused ends the verb as a finding, with its code."""
    from pdp.sdk.remote.steps import StepRefused

    try:
        with steps:
            return steps.call(service, method, message)
    except StepRefused as refused:
        raise say_refused(refused.code, refused.message, format) from None


def say_refused(code: str, message: str, format: Format) -> typer.Exit:
    if format is Format.JSON:
        typer.echo(dump({"refused": code, "message": message}))
    else:
        typer.echo(f"refused: {printable(code)}: {printable(message)}", err=True)
    return typer.Exit(FINDING)


def show(told: Any, format: Format, as_json: Callable[[Any], Any], as_text: Callable[[Any], str]) -> None:
    typer.echo(dump(as_json(told)) if format is Format.JSON else as_text(told))


def put_duration(into: Any, text: str | None, option: str) -> None:
    """A duration of the language into a message of protobuf."""
    if text is None:
        return
    from pdp.wire.values import put_span

    try:
        put_span(into, parse_duration(text))
    except BadLiteral as error:
        raise PdpError("invalid_argument", f"{option}: {error}") from None


def read_secret(path: Path, option: str) -> str:
    """A token or a handle in a file; `-` is standard input, so that it stands in no list of processes."""
    import sys

    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise PdpError("invalid_file", f"{option}: `{path}` cannot be read: {error}") from None
    return text.strip()
