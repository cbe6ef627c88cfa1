"""A grant as the protocol tells it -> a line of text, or JSON."""

from __future__ import annotations

from typing import Any

from language import format_instant, printable

_STATES = ("", "requested", "pending_approval", "active", "suspended", "ended")
_REASONS = ("", "completed", "revoked", "expired", "superseded")


def state_number(name: str) -> int:
    return _STATES.index(name)


STATES = _STATES[1:]


def grant_json(grant: Any) -> dict[str, Any]:
    told: dict[str, Any] = {name: getattr(grant, name) for name in _TEXTS if getattr(grant, name)}
    told |= {
        "depth": grant.depth,
        "state": _name(_STATES, grant.state),
        "facts": {name: _value(value) for name, value in grant.facts.fields.items()},
        "scope": [permit_text(permit) for permit in grant.scope],
        "bindings": bindings_json(grant.bindings),
        "created": _moment(grant, "created"),
        "started": _moment(grant, "started"),
        "ends": _moment(grant, "ends"),
        "approvals_needed": grant.approvals_needed,
        "approvals": [f"{a.approver.type} {a.approver.id}" for a in grant.approvals],
        "revision": grant.revision,
    }
    if grant.ended:
        told["ended"] = _name(_REASONS, grant.ended)
    if grant.holds:
        told["holds"] = list(grant.holds)
    if grant.agreement:
        told["agreement"] = grant.agreement.hex()
    if grant.HasField("uses"):
        told["uses"] = grant.uses
    return told


def bindings_json(bindings: Any) -> dict[str, Any]:
    told = {n: getattr(bindings, n) for n in ("certificate", "key", "session", "process") if bindings.HasField(n)}
    return told | {n: list(getattr(bindings, n)) for n in ("gates", "destinations") if getattr(bindings, n)}


def grant_line(grant: Any) -> str:
    """One line; nothing in it can move the cursor or start another."""
    state = _name(_STATES, grant.state)
    if grant.ended:
        state = f"{state} ({_name(_REASONS, grant.ended)})"
    parts = [grant.id, state, grant.kind, f"holder {grant.holder}", f"opener {grant.opener}", f"task {grant.task}"]
    parts += [f"below {grant.parent}"] if grant.parent else []
    parts += [f"until {_moment(grant, 'ends')}"] if not grant.ended else []
    parts += [f"because {grant.why}"] if grant.why else []
    return printable("  ".join(parts))


def grant_text(grant: Any) -> str:
    """The line, with what the grant is good for and what it is tied to below."""
    lines = [grant_line(grant)]
    lines += [f"  fact       {name} = {_value(value)}" for name, value in sorted(grant.facts.fields.items())]
    lines += [f"  may        {permit_text(permit)}" for permit in grant.scope]
    for name, value in bindings_json(grant.bindings).items():
        lines += [f"  {name:<10} {each}" for each in (value if isinstance(value, list) else [value])]
    if grant.approvals_needed:
        given = ", ".join(f"{a.approver.type} {a.approver.id}" for a in grant.approvals) or "none"
        lines.append(f"  approvals  {grant.approvals_needed} needed, given by {given}")
    if grant.agreement:
        lines.append(f"  agreement  {grant.agreement.hex()}")
    return "\n".join(printable(line) for line in lines)


def permit_text(permit: Any) -> str:
    targets = []
    for on in permit.on:
        text = f"{on.type}:{on.id}" if on.HasField("id") else on.type
        targets.append(text + (f" in {on.within.type}:{on.within.id}" if on.HasField("within") else ""))
    return f"{','.join(permit.actions)} {', '.join(targets)}"


_TEXTS = ("id", "task", "parent", "kind", "holder", "opener", "requester", "environment", "audience", "why", "generation")


def _name(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 < number < len(names) else f"unknown {number}"


def _moment(grant: Any, name: str) -> str | None:
    from pdp.wire.values import moment_of

    return format_instant(moment_of(getattr(grant, name))) if grant.HasField(name) else None


def _value(value: Any) -> Any:
    from pdp.wire.values import Values, take

    return take(value, Values())
