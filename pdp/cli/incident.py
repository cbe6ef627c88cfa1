"""`pdp freeze`, `thaw`, `held`, `revoke`, `status`: for whoever was woken at night. The role `admin` is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from language import format_instant, printable
from pdp.cli.asked import thumbprint_of
from pdp.cli.remote import CA, CALLER, CERT, FORMAT, KEY, SERVER, SERVER_NAME, TLS_CERT, ask, connect, show
from pdp.cli.report import FINDING, OK, Format, counted
from pdp.cli.task import list_all, show_grants, stopped_json
from pdp.errors import PdpError

ADMIN = "/pdp.v1.AdminService"


def freeze(
    id: str = typer.Argument(..., help="The SPIFFE ID of a workload."),
    reason: str = typer.Option("", "--reason", help="Why; needed, but with --plan."),
    plan: bool = typer.Option(False, "--plan", help="Say what would stop, and stop nothing."),
    server: str = SERVER,
    cert: Path | None = CERT,
    key: Path | None = KEY,
    ca: Path | None = CA,
    server_name: str = SERVER_NAME,
    caller: str | None = CALLER,
    format: Format = FORMAT,
) -> None:
    """Suspend everything that a workload holds, and refuse it anything new."""
    from pdp.wire.messages import PDP

    message = PDP.FreezeRequest(workload=id, why=reason, plan=plan)
    answer = ask(connect(server, cert, key, ca, server_name, caller), ADMIN, "Freeze", message, format)
    show(answer, format, stopped_json, lambda a: _lines(a, "would be suspended" if plan else "suspended"))
    raise typer.Exit(OK)


def thaw(
    id: str = typer.Argument(..., help="The SPIFFE ID of a workload."),
    reason: str = typer.Option(..., "--reason", help="Why."),
    server: str = SERVER,
    cert: Path | None = CERT,
    key: Path | None = KEY,
    ca: Path | None = CA,
    server_name: str = SERVER_NAME,
    caller: str | None = CALLER,
    format: Format = FORMAT,
) -> None:
    """Lift a freeze. What ended stays ended."""
    from pdp.wire.messages import PDP

    message = PDP.ThawRequest(workload=id, why=reason)
    answer = ask(connect(server, cert, key, ca, server_name, caller), ADMIN, "Thaw", message, format)
    show(answer, format, stopped_json, lambda a: _lines(a, "active again"))
    raise typer.Exit(OK)


def held(
    id: str = typer.Argument(..., help="The SPIFFE ID of a workload."),
    server: str = SERVER,
    cert: Path | None = CERT,
    key: Path | None = KEY,
    ca: Path | None = CA,
    server_name: str = SERVER_NAME,
    caller: str | None = CALLER,
    format: Format = FORMAT,
) -> None:
    """Say what a workload holds that has not ended."""
    from pdp.wire.messages import PDP

    message = PDP.ListRequest(holder=id, page_size=1000)
    show_grants(list_all(lambda: connect(server, cert, key, ca, server_name, caller), message, format), format)
    raise typer.Exit(OK)


def revoke(
    grant: str | None = typer.Option(None, "--grant", help="A grant, with everything below it."),
    task: str | None = typer.Option(None, "--task", help="A task, whole."),
    workload: str | None = typer.Option(None, "--workload", help="A workload, by its SPIFFE ID."),
    cert: str | None = typer.Option(None, "--cert", help="A certificate: a PEM file or its thumbprint."),
    gate: str | None = typer.Option(None, "--gate", help="A gate, by its SPIFFE ID."),
    domain: str | None = typer.Option(None, "--domain", help="A trust domain."),
    opener: str | None = typer.Option(None, "--opener", help="Everything that this workload has opened."),
    reason: str = typer.Option("", "--reason", help="Why; needed, but with --plan."),
    plan: bool = typer.Option(False, "--plan", help="Say what would end, and end nothing."),
    lift: bool = typer.Option(False, "--lift", help="Take a revocation back; what it ended stays ended."),
    server: str = SERVER,
    tls_cert: Path | None = TLS_CERT,
    key: Path | None = KEY,
    ca: Path | None = CA,
    server_name: str = SERVER_NAME,
    caller: str | None = CALLER,
    format: Format = FORMAT,
) -> None:
    """Revoke one thing, and end everything that stands on it. What ended is never revived."""
    from pdp.wire.messages import PDP

    nouns = {"grant": grant, "task": task, "workload": workload, "gate": gate, "trust_domain": domain, "opener": opener}
    nouns["certificate"] = None if cert is None else thumbprint_of(cert)
    given = {noun: name for noun, name in nouns.items() if name is not None}
    if len(given) != 1:
        options = "--grant, --task, --workload, --cert, --gate, --domain or --opener"
        raise PdpError("invalid_argument", f"one thing is revoked at a time: exactly one of {options}")
    message = PDP.RevokeRequest(why=reason, plan=plan, lift=lift, **given)
    answer = ask(connect(server, tls_cert, key, ca, server_name, caller), ADMIN, "Revoke", message, format)
    show(answer, format, stopped_json, lambda a: "lifted" if lift else _lines(a, "would end" if plan else "ended"))
    raise typer.Exit(OK)


def status(
    server: str = SERVER,
    cert: Path | None = CERT,
    key: Path | None = KEY,
    ca: Path | None = CA,
    server_name: str = SERVER_NAME,
    caller: str | None = CALLER,
    format: Format = FORMAT,
) -> None:
    """Say what is in force on a server: exit 0 if it is ready, 1 if it is not."""
    from pdp.wire.messages import PDP

    answer = ask(connect(server, cert, key, ca, server_name, caller), ADMIN, "Status", PDP.StatusRequest(), format)
    show(answer, format, _status_json, _status_text)
    raise typer.Exit(OK if answer.ready else FINDING)


def _lines(answer: Any, what: str) -> str:
    return "\n".join(
        [*(f"{what}: {printable(each)}" for each in answer.grants), f"{counted(len(answer.grants), 'grant')} {what}"]
    )


def _status_json(told: Any) -> dict[str, Any]:
    return {
        "ready": told.ready,
        "not_ready": list(told.not_ready),
        "version": told.version,
        "generation": told.generation,
        "policy_since": _moment(told, "policy_since"),
        "instance": told.instance,
        "started": _moment(told, "started"),
        "trust": [
            {
                "name": t.name,
                "version": t.bundle_version,
                "refreshed": _moment(t, "refreshed"),
                "stale": _moment(t, "stale_after"),
            }
            for t in told.trust
        ],
        "store": None
        if not told.HasField("store")
        else {
            "incarnation": told.store.incarnation,
            "revision": told.store.revision,
            "fresh_until": _moment(told.store, "fresh_until"),
        },
        "record": None
        if not told.HasField("record")
        else {"sequence": told.record.sequence, "head": told.record.head, "dropped": told.record.dropped},
    }


def _status_text(told: Any) -> str:
    found = _status_json(told)
    lines = ["ready" if told.ready else f"not ready: {', '.join(told.not_ready)}"]
    for name in ("version", "generation", "policy_since", "instance", "started"):
        lines.append(f"{name}: {found[name]}")
    lines += [f"trust: {t['name']} refreshed {t['refreshed']}, stale {t['stale'] or 'never'}" for t in found["trust"]]
    for name in ("store", "record"):
        parts = [f"{key} {value}" for key, value in (found[name] or {"none": ""}).items()]
        lines.append(f"{name}: {', '.join(parts).strip()}")
    return "\n".join(printable(line) for line in lines)


def _moment(told: Any, name: str) -> str | None:
    from pdp.wire.values import moment_of

    return format_instant(moment_of(getattr(told, name))) if told.HasField(name) else None
