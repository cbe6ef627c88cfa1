"""A CheckRequest of Envoy's ext_authz -> what is asked, or why it cannot be.

    bytes --parse--> CheckRequest --headers, path, certificate--> Ask        everything else: Unfit, with a code

What Envoy says is believed as far as the gate's entry goes. The subject is whom the peer's certificate names, and that is
verified one step later; `source.principal`, `source.service`, addresses and headers are never an identity.
"""

from __future__ import annotations

from pdp.model.ask import Ask
from pdp.model.gates import Gate
from pdp.wire.envoy_http import correlation_of, read_http
from pdp.wire.envoy_path import Routes
from pdp.wire.envoy_tcp import read_tcp
from pdp.wire.messages import ENVOY, DecodeError
from pdp.wire.refusals import Unfit

MESSAGE_BYTES_MAX = 1_048_576

_CheckRequest = ENVOY.CheckRequest


def read_check(raw: bytes, gate: Gate, routes: Routes) -> Ask | Unfit:
    """What Envoy asks. Never raises for anything that may stand in the bytes."""
    try:
        return _read(raw, gate, routes)
    except Unfit as unfit:
        return unfit


def correlation_in(raw: bytes) -> str | None:
    """What a request that was refused is called, where that can be read. Nothing else of it is looked at."""
    if len(raw) > MESSAGE_BYTES_MAX:
        return None
    try:
        return correlation_of(_CheckRequest.FromString(raw).attributes.request.http)
    except DecodeError:
        return None


def _read(raw: bytes, gate: Gate, routes: Routes) -> Ask:
    if len(raw) > MESSAGE_BYTES_MAX:
        raise Unfit("too_large")
    try:
        attributes = _CheckRequest.FromString(raw).attributes
    except DecodeError:
        attributes = None
    if attributes is None:
        raise Unfit("malformed")
    request = attributes.request
    if request.HasField("http"):
        return read_http(attributes, request.http, gate, routes)
    if attributes.source.certificate or attributes.source.principal:
        return read_tcp(attributes, gate, routes)
    raise Unfit("empty_request")
