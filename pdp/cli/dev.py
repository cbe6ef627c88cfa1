"""`pdp dev`: a trust domain for this machine. Nothing that it makes is for anywhere else."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from language import BadLiteral, format_instant, parse_duration
from pdp.cli.report import OK, Format, dump
from pdp.errors import PdpError

if TYPE_CHECKING:  # what it brings is imported by the verb that needs it
    from pdp.identity.dev.domain import DevDomain

_WARNING = "development only: whoever reads these keys can be any workload of `{}`"

_FORMAT = typer.Option(Format.TEXT, "--format", help="How the result is printed.")

dev = typer.Typer(
    name="dev",
    help="A trust domain for this machine: never for one that matters.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@dev.command("ca")
def ca(
    directory: Path = typer.Argument(..., help="Where to put it; a folder that is not empty is left alone."),
    trust_domain: str = typer.Option(..., "--trust-domain", help="The trust domain, for example dev.test."),
    ttl: str = typer.Option("8760h", "--ttl", help="How long its authorities are valid."),
    format: Format = _FORMAT,
) -> None:
    """Make a trust domain: a root, an intermediate, a key for tokens, and its bundle as PEM and as JSON."""
    from pdp.identity import Refused
    from pdp.store.dev_domain import create_domain

    now_us = time.time_ns() // 1000
    try:
        domain, written = create_domain(directory, trust_domain, now_us, _duration(ttl))
    except Refused as refused:
        raise PdpError("invalid_argument", f"--trust-domain: {refused}") from None
    ends = domain.intermediate.certificate.not_valid_after_utc
    _print(
        format,
        written,
        {"trust_domain": trust_domain, "not_after": ends.isoformat().replace("+00:00", "Z")},
        _WARNING.format(trust_domain),
    )


@dev.command("svid")
def svid(
    spiffe_id: str = typer.Argument(..., help="The workload, for example spiffe://dev.test/billing."),
    ca: Path = typer.Option(..., "--ca", help="The folder that `pdp dev ca` made."),
    out: Path = typer.Option(..., "--out", help="Where to put the SVID; one that is there is replaced."),
    ttl: str = typer.Option("1h", "--ttl", help="How long it is valid."),
    jwt: bool = typer.Option(False, "--jwt", help="Issue a JWT-SVID in place of a certificate."),
    audience: str = typer.Option("", "--audience", help="Whom the token is for; needed with --jwt."),
    dns: list[str] = typer.Option([], "--dns", help="A DNS name beside the ID; Python's gRPC clients ask a server for one."),
    malformed: str = typer.Option("", "--malformed", help="Get one thing wrong; `list` prints the names."),
    format: Format = _FORMAT,
) -> None:
    """Issue an SVID: svid.pem with svid.key, or svid.jwt; with the bundle beside it."""
    from pdp.identity import Refused, parse_workload_id
    from pdp.identity.dev.malformed_svids import MALFORMED_SVIDS
    from pdp.identity.dev.malformed_tokens import MALFORMED_TOKENS
    from pdp.store.dev_domain import open_domain

    kinds = {n: m.code for n, m in (MALFORMED_TOKENS if jwt else MALFORMED_SVIDS).items()}
    if malformed == "list":
        typer.echo(dump(kinds) if format is Format.JSON else "\n".join(f"{n:<28} {code}" for n, code in kinds.items()))
        raise typer.Exit(OK)
    if malformed and malformed not in kinds:
        raise PdpError("invalid_argument", f"--malformed: there is no `{malformed[:60]}`; `--malformed list` prints all")
    if dns and (jwt or malformed):
        raise PdpError("invalid_argument", "--dns is for a certificate that is in order")
    if jwt != bool(audience):
        raise PdpError("invalid_argument", "--jwt and --audience go together")
    domain = open_domain(ca)
    try:
        workload = parse_workload_id(spiffe_id)
    except Refused as refused:
        raise PdpError("invalid_argument", str(refused)) from None
    if workload.trust_domain != domain.trust_domain:
        raise PdpError("invalid_argument", f"the domain of `{ca}` is `{domain.trust_domain}`")
    now_us, ttl_us = time.time_ns() // 1000, _duration(ttl)
    if jwt:
        written = _write_token(out, domain.token(spiffe_id, audience, now_us, ttl_us, malformed or None), domain)
    else:
        written = _write_certificate(out, spiffe_id, domain, now_us, ttl_us, malformed or None, dns)
    facts = {"id": spiffe_id, "not_after": format_instant((now_us + ttl_us) // 1_000_000 * 1_000_000)}
    if malformed:
        facts |= {"malformed": malformed, "refused_as": kinds[malformed]}
    _print(format, written, facts, _WARNING.format(domain.trust_domain))


def _write_certificate(
    out: Path, spiffe_id: str, domain: DevDomain, now_us: int, ttl_us: int, malformed: str | None, dns: list[str]
) -> list[Path]:
    from pdp.store.dev_domain import new_key, new_weak_key, private_pem, write_files

    key = new_weak_key() if malformed == "weak-key" else new_key()
    chain = domain.certificates(spiffe_id, key.public_key(), now_us, ttl_us, malformed)
    if dns:
        shape = domain.shape(spiffe_id, now_us, ttl_us)
        try:
            chain = domain.issue(replace(shape, leaf=replace(shape.leaf, dns=tuple(dns))), key.public_key())
        except ValueError as error:  # of cryptography: not a name in ASCII
            raise PdpError("invalid_argument", f"--dns: {error}") from None
    public = {"svid.pem": b"".join(map(_pem, chain)), "bundle.pem": domain.bundle_pem()}
    return write_files(out, public, {"svid.key": private_pem(key)})


def _write_token(out: Path, token: str, domain: DevDomain) -> list[Path]:
    from pdp.store.dev_domain import write_files

    return write_files(out, {"bundle.json": domain.bundle_document()}, {"svid.jwt": token.encode()})


def _pem(der: bytes) -> bytes:
    """By hand: a malformed certificate must be writable, too."""
    import base64

    text = base64.b64encode(der).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""]).encode()


def _duration(text: str) -> int:
    try:
        found = parse_duration(text)
    except BadLiteral as error:
        raise PdpError("invalid_argument", f"--ttl: {error}") from None
    if not 1_000_000 <= found <= 100 * 365 * 86_400 * 1_000_000:
        raise PdpError("invalid_argument", "--ttl: a second to a hundred years")
    return found


def _print(format: Format, written: list[Path], facts: dict[str, str], warning: str) -> None:
    typer.echo(f"pdp: {warning}", err=True)
    if format is Format.JSON:
        typer.echo(dump({**facts, "development_only": True, "files": [str(p) for p in written]}))
    else:
        for path in written:
            typer.echo(f"wrote {path}")
        for name, value in facts.items():
            typer.echo(f"{name}: {value}")
    raise typer.Exit(OK)
