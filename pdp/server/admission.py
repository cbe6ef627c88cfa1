"""Whether a caller may call a method: by its roles, and by what was frozen or revoked. Asked on every call, where it runs.

A certificate that was stolen is revoked so that nobody does anything with it. So its caller is refused before any handler:
it asks nothing, opens and ends nothing, and an operator does not lift its own mark.
"""

from __future__ import annotations

from language import shorten
from pdp.engine.revocations import Revocations
from pdp.server.calling import caller_of
from pdp.server.config import Service
from pdp.server.handlers import Method, StreamMethod, edge_refusal
from pdp.server.peer import Peer
from pdp.service.book import IN_ENGINE
from pdp.service.marked import nouns_of_caller


def refuse_another(begun: Peer, now: Peer) -> None:
    """A stream goes on by what its caller could say and do when it began. Where the configuration says otherwise since, it
    ends, and its caller begins anew by that."""
    if now is not begun and (now.gate != begun.gate or now.roles != begun.roles):
        raise edge_refusal("rights_changed", now.name)


def refuse_peer(peer: Peer, method: Method | StreamMethod, revoked: Revocations) -> None:
    """Health, which has no role, is for everyone."""
    if method.service is None:
        return
    if method.service not in peer.roles and not (method.for_operators and Service.ADMIN in peer.roles):
        raise edge_refusal("not_permitted", f"{peer.name} is not in `roles.{method.service}`")
    if method.for_gates and peer.gate is None:
        raise edge_refusal("not_permitted", f"{peer.name} is not in `peps`")
    if not revoked.reasons:
        return
    for noun, name in nouns_of_caller(caller_of(peer)):
        if (IN_ENGINE[noun], name) in revoked.reasons:
            raise edge_refusal("revoked", f"the {noun.replace('_', ' ')} {shorten(name)}")
