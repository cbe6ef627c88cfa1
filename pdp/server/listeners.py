"""Each listener of the configuration as a grpcio server of its own: what a port serves, and whom, is that port's alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from pdp.errors import PdpError
from pdp.identity import TrustStore
from pdp.server.callers import Callers
from pdp.server.calls import CallQueue
from pdp.server.config import Listener, Tcp, Unix, parse_address
from pdp.server.edge import Around, Call, Edge, FindPeer
from pdp.server.handlers import edge_refusal
from pdp.server.peer import Peer
from pdp.server.sockets import hand_over, prepare_socket
from pdp.server.tls import OwnCertificate, port_credentials

#: The metadata in which a caller of a development server, and of no other, says who it is.
AS = "pdp-as"
#: In grpcio's words. On the server's side BoringSSL tells the chain without the leaf.
_LEAF, _REST = b"x509_pem_cert", b"x509_pem_cert_chain"


class Bound:
    """A listener that is bound, with the port that it got."""

    def __init__(self, server: CallQueue, address: Tcp | Unix) -> None:
        self.server = server
        self.address = address

    async def stop(self, grace_s: float) -> None:
        await self.server.stop(grace_s)
        if isinstance(self.address, Unix):
            self.address.path.unlink(missing_ok=True)


async def bind(
    listener: Listener,
    around: Around,
    callers: Callers,
    own: OwnCertificate | None,
    trust: Callable[[], TrustStore],
    clock: Callable[[], int],
    *,
    shared: bool = False,
) -> Bound:
    """Binds and starts; PdpError when that cannot be. Without `own`, a port is for development, on loopback."""
    address = parse_address(listener.address)
    assert address is not None  # the configuration was checked
    names = [n for n, m in around.handlers.items() if m.service is None or m.service in listener.services]
    edge = Edge(around, _find_peer(listener, address, callers, own), names)
    server = CallQueue(edge, asyncio.get_running_loop(), shared=shared)
    if isinstance(address, Unix):
        uid = os.geteuid() if listener.uid is None else listener.uid
        prepare_socket(address.path, uid)
        _add_port(server, str(address), None)
        hand_over(address.path, uid)
    elif own is None:
        if not address.is_loopback:
            raise PdpError("unsafe_configuration", f"`{address}`: a port without TLS is on loopback or nowhere")
        address = Tcp(address.host, _add_port(server, str(address), None))
    else:
        assert listener.trust_domain is not None
        credentials = port_credentials(own, listener.trust_domain, trust, clock)
        address = Tcp(address.host, _add_port(server, str(address), credentials))
    server.start()
    return Bound(server, address)


def _add_port(server: CallQueue, address: str, credentials: object | None) -> int:
    port = server.add_port(address, credentials)
    if not port:
        raise PdpError("address_unavailable", f"`{address}` cannot be bound: it is in use, or not ours")
    return port


def _named(call: Call) -> str | None:
    """Whom a caller of a development server says to be."""
    for key, value in call.metadata:
        if key == AS:
            return str(value)
    return None


def _find_peer(listener: Listener, address: Tcp | Unix, callers: Callers, own: OwnCertificate | None) -> FindPeer:
    if isinstance(address, Unix):
        uid = os.geteuid() if listener.uid is None else listener.uid
        return lambda _: callers.by_uid(uid)
    if own is None:
        return lambda call: callers.in_development(_named(call))
    trust_domain = listener.trust_domain
    assert trust_domain is not None

    def by_certificate(call: Call) -> Peer:
        shown = call.shown()
        leaf, rest = shown.get(_LEAF), shown.get(_REST)
        if not leaf:
            raise edge_refusal("unauthenticated", "no_certificate")
        return callers.by_certificate(leaf[0] + rest[0] if rest else leaf[0], trust_domain)

    return by_certificate
