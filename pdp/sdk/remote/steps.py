"""The services of tasks, grants and operating, called by message: what the verbs of the command line speak through."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import grpc

from pdp.errors import PdpError
from pdp.sdk.remote.connections import Connections
from pdp.sdk.remote.own import Tls
from pdp.wire.messages import PDP, DecodeError

GRANTS, ADMIN = "/pdp.v1.GrantService", "/pdp.v1.AdminService"

#: By their methods, where they are not called after them.
_ANSWERS = {f"{GRANTS}/{name}": "GrantResponse" for name in
            ("Open", "Request", "Approve", "Reject", "Delegate", "Renew", "Suspend", "Get")}  # fmt: skip
_REFUSALS = frozenset({"PERMISSION_DENIED", "FAILED_PRECONDITION", "INVALID_ARGUMENT"})


class StepRefused(Exception):
    """The decision point was reached, and said no: a finding, with the code of its reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Steps:
    """One connection. `named` is who we say we are to a development server, which has no other way to know."""

    def __init__(self, address: str, tls: Tls | None = None, named: str | None = None, timeout_s: float = 10.0) -> None:
        self._connections = Connections(address, tls)
        self._connections.belong_to(self)
        self._metadata = () if named is None else (("pdp-as", named),)
        self._timeout_s = timeout_s

    def call(self, service: str, method: str, message: Any) -> Any:
        """The answer; StepRefused where the step was refused, PdpError where nothing is known of it."""
        name = f"{service}/{method}"
        raw = message.SerializeToString(deterministic=True)
        connection = self._connections.take(self._timeout_s)
        try:
            answer = connection.channel.unary_unary(name)(raw, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            code = dict(error.trailing_metadata() or ()).get("pdp-code")
            if code is not None and error.code().name in _REFUSALS:
                raise StepRefused(code, str(error.details()).removeprefix(f"{code}: ")) from None
            raise self._connections.refusal(connection, error) from None
        finally:
            self._connections.give_back(connection)
        try:
            return PDP.find(f"pdp.v1.{_ANSWERS.get(name, f'{method}Response')}").FromString(answer)
        except DecodeError:
            pass
        raise PdpError("invalid_answer", "the answer is not a message of pdp.v1")

    def close(self) -> None:
        self._connections.close()

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
