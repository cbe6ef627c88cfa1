"""Both ends of a connection as Envoy tells of them: the peer's certificate, whom the gate stands before, from where."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from pdp.model.ask import Shown
from pdp.model.gates import Gate
from pdp.model.request import NOTHING
from pdp.tokens.strict_base64 import read_base64
from pdp.wire.messages import ENVOY, DecodeError
from pdp.wire.refusals import Unfit

PEM_BYTES_MAX = 65_536  # URL-encoded
LEAVES_REMEMBERED = 4_096
LEAF_REMEMBERED_MAX = 4_096  # characters; larger ones are read each time

_BEGIN, _END = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----"

_Address = ENVOY.find("envoy.config.core.v3.Address")


def leaf_of(encoded: str) -> bytes:
    """The certificate in URL-encoded PEM as DER. Exactly one; what it says is for `pdp.identity` to read."""
    if len(encoded) <= LEAF_REMEMBERED_MAX:
        return _leaf_of(encoded)
    if len(encoded) > PEM_BYTES_MAX:
        raise Unfit("too_large", "source.certificate")
    return _leaf_of.__wrapped__(encoded)


@lru_cache(maxsize=LEAVES_REMEMBERED)
def _leaf_of(encoded: str) -> bytes:
    try:
        text = unquote(encoded, errors="strict").strip("\n")
        if not text.startswith(_BEGIN) or not text.endswith(_END):
            raise ValueError
        der = read_base64(text[len(_BEGIN) : -len(_END)].replace("\n", ""))
    except ValueError:
        der = b""
    if not der:
        raise Unfit("certificate_unreadable")
    return der


def shown_by(source: Any, leaf: bytes, chain: tuple[bytes, ...] | None, token: str | None = None) -> Shown:
    """The certificate that TLS showed to the gate, with its path if that came, too (E-2, E-3)."""
    return Shown(chain or (leaf,), chain is not None, source.principal or None, token)


def destination_of(attributes: Any, gate: Gate) -> str | None:
    """Whom the gate stands before, by its own certificate: its configuration, and believed as far as its entry lists it."""
    destination: str = attributes.destination.principal
    if not destination:
        return None
    if destination not in gate.destinations:
        raise Unfit("destination_not_asserted")
    return destination


def location_of(source: Any, gate: Gate) -> Mapping[str, Any]:
    """Where the connection came from (E-5): only from gates that may say so, and never an identity."""
    if not gate.location or not source.address:
        return NOTHING
    try:
        address = _Address.FromString(source.address).socket_address
    except DecodeError:
        address = None
    if address is None:
        raise Unfit("malformed")
    if not address.address:
        return NOTHING
    return {"ip": address.address, "port": address.port_value}
