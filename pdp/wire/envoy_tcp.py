"""Envoy's network filter: a connection, decided once, when its first bytes come, and never again (E-10).

Nothing is known but who connects and to whom. No grant can be shown in band: it is found by certificate, destination and
gate (N-3). What bounds the connection afterwards is the gate's own cap, which the answer's end is for.
"""

from __future__ import annotations

from typing import Any

from pdp.model.ask import Ask
from pdp.model.gates import Gate
from pdp.wire.envoy_path import Routes
from pdp.wire.envoy_peers import destination_of, leaf_of, location_of, shown_by
from pdp.wire.refusals import Unfit


def read_tcp(attributes: Any, gate: Gate, routes: Routes) -> Ask:
    """What a connection means: the route of the destination that the gate's certificate names."""
    source = attributes.source
    if not source.certificate:
        raise Unfit("no_peer_certificate")
    shown = shown_by(source, leaf_of(source.certificate), None)
    destination = destination_of(attributes, gate)
    if destination is None:
        raise Unfit("no_destination")
    meaning = routes.tcp(destination)
    return Ask(
        meaning.action,
        meaning.resource,
        meaning.context,
        location_of(source, gate),
        shown=shown,
        destination=destination,
        finds_grant=True,
    )
