"""How a decision point is reached: the address, what we show there; and what an ended call means."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import grpc

from pdp.errors import PdpError
from pdp.sdk.remote.own import Showing

SERVICE = "/pdp.v1.DecisionService"
#: It decides nothing, and everyone may ask.
HEALTH = "/grpc.health.v1.Health/Check"

#: What a gRPC status is to whoever asked. None of them is an answer.
_CODES = {
    "INVALID_ARGUMENT": "invalid_request",
    "UNAUTHENTICATED": "unauthenticated",
    "PERMISSION_DENIED": "not_permitted",
    "RESOURCE_EXHAUSTED": "overloaded",
    "DEADLINE_EXCEEDED": "deadline_exceeded",
    "CANCELLED": "deadline_exceeded",
    "UNAVAILABLE": "unreachable",
    "UNIMPLEMENTED": "unreachable",
}

_OPTIONS = [
    ("grpc.enable_http_proxy", 0),  # a proxy of the environment would see every question
    ("grpc.enable_retries", 0),  # what may be asked again is known here
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_reconnect_backoff_ms", 2_000),  # gRPC waits up to two minutes, in which a new certificate would end
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


def check_address(address: str, tls: object) -> None:
    """Without TLS it is a Unix socket or loopback, and nothing else."""
    if not isinstance(address, str) or not address or not address.isprintable():
        raise PdpError("invalid_argument", "the address of a decision point is `HOST:PORT` or `unix:/PATH`")
    if tls is None and not (address.startswith("unix:") or _is_loopback(address)):
        message = f"`{address[:80]}`: beyond this machine a decision point is asked over TLS only"
        raise PdpError("invalid_argument", message)


def open_channel(address: str, showing: Showing | None, server_name: str | None, module: Any = grpc) -> Any:
    """A channel of `grpc`, or of `grpc.aio`, to an address that was checked."""
    if showing is None:
        return module.insecure_channel(address, options=_OPTIONS)
    shown = showing.shown
    credentials = grpc.ssl_channel_credentials(showing.authorities_pem, shown.key_pem, shown.chain_pem)
    return module.secure_channel(address, credentials, options=[*_OPTIONS, ("grpc.ssl_target_name_override", server_name)])


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0]
    try:
        return host == "localhost" or ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:  # a name, whatever it begins with: somebody else's word for an address
        return False


def error_of(error: Any) -> PdpError:
    """What an ended call was, with the server's own code where it told one."""
    code = _CODES.get(error.code().name, "server_error")
    told = dict(error.trailing_metadata() or ()).get("pdp-code")
    if told == "too_large" or (told is None and "larger than max" in str(error.details())):  # the latter says gRPC itself
        code = "invalid_request"  # it will be as large when it is asked again
    return PdpError(code, f"{told}: {error.details()}" if told else str(error.details()))


def is_not_us(error: Any) -> bool:
    """Whether the other side did not take who asks, before it looked at anything else; of a credential shown in a question
    it says another code."""
    told = dict(error.trailing_metadata() or ()).get("pdp-code")
    return error.code() is grpc.StatusCode.UNAUTHENTICATED and told == "unauthenticated"


def final_error(first: Any, second: Any) -> Any:
    """What two attempts, or one, ended by. That the time was over while we tried again says less than why we had to."""
    return first if first is not None and second.code() is grpc.StatusCode.DEADLINE_EXCEEDED else second


def may_be_asked_again(error: Any, proof: str | None) -> bool:
    """A decision changes nothing, so it can be asked twice; but a proof is good once, whoever saw it."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and proof is None
