"""A call that one process passes on to the one that writes: who calls is not said but shown again, and verified again."""

from __future__ import annotations

import base64
import json

from pdp.server.callers import Callers
from pdp.server.handlers import CallRefused, Deadline
from pdp.server.peer import Peer, Transport
from pdp.tokens.strict_base64 import read_base64


def pack_call(method: str, request: bytes, peer: Peer, deadline: Deadline) -> bytes:
    head = {
        "method": method,
        "deadline_ns": deadline.at_ns,
        "transport": peer.transport.value,
        "name": peer.name,
        "uid": peer.uid,
        "trust_domain": None if peer.workload is None else peer.workload.trust_domain,
        "presented": [base64.b64encode(der).decode() for der in peer.presented],
    }
    return json.dumps(head).encode() + b"\n" + request


def unpack_call(body: bytes, callers: Callers) -> tuple[str, bytes, Peer, Deadline]:
    """Raises CallRefused where the caller is not, or is no longer, who it was."""
    raw, _, request = body.partition(b"\n")
    head = json.loads(raw)
    deadline = Deadline(int(head["deadline_ns"]))
    match Transport(head["transport"]):
        case Transport.TLS:
            presented = tuple(read_base64(text) for text in head["presented"])
            peer = callers.by_presented(presented, head["trust_domain"])
        case Transport.UNIX:
            peer = callers.by_uid(int(head["uid"]))
        case Transport.DEVELOPMENT:
            peer = callers.in_development(head["name"])
    return head["method"], request, peer, deadline


def pack_refusal(refusal: CallRefused) -> bytes:
    return json.dumps([refusal.status, refusal.code, refusal.message]).encode()


def unpack_refusal(body: bytes) -> CallRefused:
    status, code, message = json.loads(body)
    return CallRefused(status, code, message)
