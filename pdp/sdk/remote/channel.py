"""How a decision point is reached: the address, our certificate, whom we expect there; and what an ended call means."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc

from pdp.errors import PdpError

SERVICE = "/pdp.v1.DecisionService"

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
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


@dataclass(frozen=True, slots=True)
class Tls:
    """Our X509-SVID and its key, the authorities of the other side, and the DNS name in its certificate."""

    certificate: Path
    key: Path
    authorities: Path
    server_name: str


def open_channel(address: str, tls: Tls | None, module: Any = grpc) -> Any:
    """A channel of `grpc`, or of `grpc.aio`. Without TLS it goes to a Unix socket or to loopback, and nowhere else."""
    if not isinstance(address, str) or not address or not address.isprintable():
        raise PdpError("invalid_argument", "the address of a decision point is `HOST:PORT` or `unix:/PATH`")
    if tls is None:
        if not (address.startswith("unix:") or _is_loopback(address)):
            message = f"`{address[:80]}`: beyond this machine a decision point is asked over TLS only"
            raise PdpError("invalid_argument", message)
        return module.insecure_channel(address, options=_OPTIONS)
    if not isinstance(tls, Tls) or not isinstance(tls.server_name, str):
        raise PdpError("invalid_argument", "tls: a pdp.Tls, of three paths and the DNS name of the decision point")
    try:
        credentials = grpc.ssl_channel_credentials(
            Path(tls.authorities).read_bytes(), Path(tls.key).read_bytes(), Path(tls.certificate).read_bytes()
        )
    except OSError as error:
        raise PdpError("invalid_file", f"`{error.filename}` cannot be read: {error.strerror}") from None
    except (TypeError, ValueError) as error:
        raise PdpError("invalid_argument", f"tls: not the path of a file: {error}") from None
    options = [*_OPTIONS, ("grpc.ssl_target_name_override", tls.server_name)]
    return module.secure_channel(address, credentials, options=options)


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


def final_error(first: Any, second: Any) -> Any:
    """What two attempts ended by. That the time was over while we tried again says less than why we had to."""
    return first if second.code() is grpc.StatusCode.DEADLINE_EXCEEDED else second


def may_be_asked_again(error: Any, proof: str | None) -> bool:
    """A decision changes nothing, so it can be asked twice; but a proof is good once, whoever saw it."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and proof is None
