"""What a person writes of a grant, as the protocol has it: facts, a scope, what it is tied to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from language import shorten
from pdp.errors import PdpError
from pdp.model.request import Resource


def put_facts(into: Any, told: list[str]) -> None:
    """`NAME=TEXT` is a text; `NAME:=JSON` is any other value."""
    from pdp.wire.values import put

    for each in told:
        name, equals, value = each.partition("=")
        if not equals or not name.rstrip(":"):
            raise PdpError("invalid_argument", f"--set: `{each[:60]}` is not NAME=TEXT or NAME:=JSON")
        if not name.endswith(":"):
            put(into.fields[name], value)
            continue
        try:
            read = json.loads(value)
        except ValueError:
            raise PdpError("invalid_argument", f"--set: `{value[:60]}` is not JSON; a text is written NAME=TEXT") from None
        put(into.fields[name[:-1]], read)


def put_permits(into: Any, told: list[str]) -> None:
    """`select,update Table`, `select Table:invoices`, `select Table in Database:ledger`."""
    for each in told:
        match each.split():
            case [actions, target]:
                within = None
            case [actions, target, "in", above]:
                within = _entity(above)
            case _:
                raise PdpError("invalid_argument", f"--permit: `{each[:60]}` is not ACTION,… TYPE[:ID] [in TYPE:ID]")
        permit = into.add(actions=actions.split(","))
        type_name, colon, entity_id = target.partition(":")
        on = permit.on.add(type=type_name)
        if colon:
            on.id = entity_id
        if within is not None:
            on.within.type, on.within.id = within.type, within.id


def put_bindings(into: Any, certificate: str | None, key: str | None, gates: list[str], destinations: list[str]) -> None:
    if certificate is not None:
        into.certificate = thumbprint_of(certificate)
    if key is not None:
        into.key = key
    into.gates.extend(gates)
    into.destinations.extend(destinations)
    into.SetInParent()


def thumbprint_of(told: str) -> str:
    """`x5t#S256` of a certificate: as it is written, or of the first one in a PEM file."""
    from pdp.grants.issue import is_thumbprint
    from pdp.identity import Refused, split_pem, thumbprint

    path = Path(told)
    if not path.is_file():
        if is_thumbprint(told):
            return told
        expected = "a file, or the SHA-256 of a certificate in unpadded base64url"
        raise PdpError("invalid_argument", f"a certificate is {expected}; `{shorten(told)}` is neither")

    try:
        return thumbprint(split_pem(path.read_bytes())[0])
    except (OSError, Refused, IndexError):
        raise PdpError("invalid_file", f"`{path}` holds no certificate in PEM") from None


def _entity(told: str) -> Resource:
    type_name, colon, entity_id = told.partition(":")
    if not colon:
        raise PdpError("invalid_argument", f"`{told[:60]}` is not TYPE:ID")
    return Resource(type_name, entity_id)
