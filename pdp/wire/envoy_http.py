"""Envoy's HTTP filter: one request, its meaning by the route tables, its credentials from where they may stand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from pdp.model.ask import Ask, Shown, Target
from pdp.model.gates import Bearer, Gate, Xfcc
from pdp.wire.envoy_headers import (
    CREDENTIALS,
    PARTIAL_BODY,
    XFCC,
    Headers,
    bearer,
    credential,
    read_headers,
    single,
)
from pdp.wire.envoy_path import Routes
from pdp.wire.envoy_peers import destination_of, leaf_of, location_of, shown_by
from pdp.wire.envoy_users import user_of
from pdp.wire.refusals import Unfit
from pdp.wire.xfcc import chain_in

CORRELATION_MAX = 128

_CREDENTIALS = frozenset(CREDENTIALS)


def read_http(attributes: Any, http: Any, gate: Gate, routes: Routes) -> Ask:
    """What an HTTP request means, and what came with it."""
    source = attributes.source
    headers = read_headers(http, gate.header_names)
    method, host, path = http.method, http.host, http.path
    _refuse_conflicts(http, headers, method, host, path)
    meaning = routes.http(method, host, path, headers)
    destination = destination_of(attributes, gate)
    token = _bearer(headers, gate)
    proof = credential(headers, "task-proof")
    return Ask(
        meaning.action,
        meaning.resource,
        meaning.context,
        location_of(source, gate),
        shown=_shown(source, gate, headers, destination, token if gate.bearer is Bearer.WORKLOAD else None),
        user=user_of(attributes, gate),
        user_token=token if gate.bearer is Bearer.USER else None,
        grant=credential(headers, "task-grant"),
        proof=proof,
        target=None if proof is None else _target(gate, http, headers, method, host, path),
        destination=destination,
        consumed=_consumed(headers, gate),
        correlation=_correlation(headers, http.id),
    )


def _refuse_conflicts(http: Any, headers: Headers, method: str, host: str, path: str) -> None:
    """Envoy says some things twice. Where the two differ, back end and decision point could each believe another."""
    for name, told, code in (
        (":authority", host, "conflicting_host"),
        ("host", host, "conflicting_host"),
        (":method", method, "conflicting_request"),
        (":path", path, "conflicting_request"),
    ):
        values = headers.get(name)
        if values is not None and values != (told,):
            raise Unfit(code)
    if method == "CONNECT" and ":protocol" in headers:  # extended CONNECT, whatever path it names
        raise Unfit("connect_with_path")
    if http.query or http.fragment:
        raise Unfit("malformed_path", "beside the path there is a query or a fragment")


def _shown(source: Any, gate: Gate, headers: Headers, destination: str | None, token: str | None) -> Shown | None:
    """The credential of the workload. No certificate, no identity, whatever the principal says (E-2)."""
    if not source.certificate:
        return None if token is None else Shown(token=token)
    leaf = leaf_of(source.certificate)
    chain = None
    if gate.xfcc is Xfcc.SANITIZE_SET and (forwarded := headers.get(XFCC)) is not None and len(forwarded) == 1:
        chain = chain_in(forwarded[0], leaf, destination)
    return shown_by(source, leaf, chain, token)


def _bearer(headers: Headers, gate: Gate) -> str | None:
    """The bearer token, where the gate's entry says that one is for us. Sent twice it is refused at every gate (E-7)."""
    if gate.bearer is not Bearer.IGNORE:
        return bearer(headers)
    single(headers, "authorization")
    return None


def _target(gate: Gate, http: Any, headers: Headers, method: str, host: str, path: str) -> Target:
    """What a proof has to be over. The host is one that a route names, so it is configuration and not the client's word."""
    name, _, port = host.lower().partition(":")
    name = name.removesuffix(".") + (f":{port}" if port not in ("", "80", "443") else "")
    return Target(method, f"{gate.scheme}://{name}{path.partition('?')[0]}", _body_sha256(http, headers))


def _body_sha256(http: Any, headers: Headers) -> bytes | None:
    """The digest of the whole body. None when Envoy did not send one, or not all of it (E-9).

    Envoy sets the marker itself and drops a client's, so that `false` means: buffered, to the end.
    """
    if headers.get(PARTIAL_BODY) != ("false",):
        return None
    if http.body and http.raw_body:
        return None
    body = http.raw_body or http.body
    length = headers.get("content-length")
    if length is not None and length != (str(len(body)),):
        return None
    return hashlib.sha256(body).digest()


def _consumed(headers: Headers, gate: Gate) -> tuple[str, ...]:
    """Credentials that end here (A-5): all of ours that came, and `authorization` where it is for us."""
    if _CREDENTIALS.isdisjoint(headers):
        return ()
    ignored = "authorization" if gate.bearer is Bearer.IGNORE else None
    return tuple([name for name in CREDENTIALS if name in headers and name != ignored])


def _correlation(headers: Headers, stream: str) -> str | None:
    """`x-request-id`, else the number of the stream. Only to find things again: the client may have written it (E-5)."""
    return _fitting(headers.get("x-request-id", ()), stream)


def correlation_of(http: Any) -> str | None:
    """The same of a request that was refused, perhaps for its headers: as far as it can be read."""
    told = [value for name, value in http.headers.items() if name.lower() == "x-request-id"]
    raw = [header for header in http.header_map.headers if header.key.lower() == "x-request-id"]
    told += [header.value or header.raw_value.decode("ascii", "replace") for header in raw]
    return _fitting(told, http.id)


def _fitting(told: Sequence[str], stream: str) -> str | None:
    found = told[0] if len(told) == 1 else stream
    fits = 0 < len(found) <= CORRELATION_MAX and found.isascii() and found.isprintable()
    return found if fits else None
