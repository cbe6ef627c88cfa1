"""`pdp.Client`: a decision point elsewhere, asked from threads.

A refusal to decide (nobody there, no time left, a question that is none) is a `PdpError`. It is never a decision, so that
`if decision.allowed` cannot be true by accident.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import grpc

from pdp.errors import PdpError
from pdp.model.decision import Decision
from pdp.model.request import EntityLike, Request
from pdp.model.told import ToldExplanation
from pdp.sdk.clock import Clock
from pdp.sdk.remote.answers import Answers, keep_time
from pdp.sdk.remote.channel import final_error
from pdp.sdk.remote.connections import Connections
from pdp.sdk.remote.own import Tls
from pdp.sdk.remote.question import Shown, Target, all_requests, no_question, question, target_time
from pdp.sdk.remote.watching import Watching
from pdp.wire import client as wire


class Client:
    """Keeps one connection, which is shared between threads, and moves to another one when our certificate is another."""

    def __init__(
        self,
        address: str,
        *,
        tls: Tls | None = None,
        timeout_s: float = 0.5,
        cache_entries: int = 0,
        cache_for_s: float = 1.0,
    ) -> None:
        """`timeout_s` is for a whole call. `cache_entries` answers are used again for `cache_for_s` at most, while a stream
        says that nothing has changed; there are none unless you say so."""
        self._timeout_s = target_time(timeout_s)
        self._answers = Answers(cache_entries, keep_time(cache_for_s))
        self._clock = Clock().now
        self._connections = Connections(address, tls)
        self._connections.belong_to(self)
        self._watching = Watching(self._connections, self._answers)

    def check(
        self,
        request: Request | None = None,
        *,
        action: str | None = None,
        resource: EntityLike | None = None,
        user: EntityLike | None = None,
        context: Mapping[str, Any] | None = None,
        location: Mapping[str, Any] | None = None,
        grant: str | None = None,
        proof: str | None = None,
        target: Target | None = None,
        shown: Shown | None = None,
        timeout_s: float | None = None,
    ) -> Decision:
        """Asks. The subject is whoever the connection proves; a gate says with `shown` what it was shown, and may name a
        `user`. `grant` is the handle of a task, `proof` of the possession of its key for `target`."""
        asked = question(request, action, resource, user, context, location)
        with no_question():
            raw = wire.write_request(asked, shown, grant, proof, target)
        self._watching.begin()
        if proof is None:
            found = self._answers.find(raw, self._clock())
            if found is not None:
                return found
        decision, epoch = wire.read_answer(self._call("Check", raw, timeout_s, proof))
        if proof is None:
            self._answers.keep(raw, decision, epoch, self._clock())
        return decision

    def check_many(self, requests: Iterable[Request], *, timeout_s: float | None = None) -> list[Decision]:
        """Decides several requests at once; one that cannot be decided raises, and names its place."""
        asked = all_requests(requests)
        with no_question():
            raw = wire.write_requests(asked)
        return decided(wire.read_decisions(self._call("CheckMany", raw, timeout_s, None), len(asked)))

    def explain(
        self,
        request: Request,
        *,
        grant: str | None = None,
        shown: Shown | None = None,
        timeout_s: float | None = None,
    ) -> ToldExplanation:
        """The decision with every rule that was considered; for callers who may be told."""
        (asked,) = all_requests([request])
        with no_question():
            raw = wire.write_explain(asked, shown, grant)
        return wire.read_explanation(self._call("Explain", raw, timeout_s, None))

    def forget(self) -> None:
        """Forgets the answers that are kept."""
        self._answers.forget()

    def close(self) -> None:
        self._watching.end()
        self._connections.close()
        self._watching.join()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _call(self, method: str, raw: bytes, timeout_s: float | None, proof: str | None) -> bytes:
        ends = time.monotonic() + (self._timeout_s if timeout_s is None else target_time(timeout_s))
        connections, first = self._connections, None
        while True:
            left_s = max(0.001, ends - time.monotonic())
            connection = connections.take(left_s)
            try:
                answer: bytes = connection.methods[method](raw, timeout=left_s, wait_for_ready=first is not None)
            except grpc.RpcError as error:
                over = first is not None or time.monotonic() >= ends
                if over or not connections.may_ask_again(connection, error, proof):
                    raise connections.refusal(connection, final_error(first, error)) from None
                first = error
            except ValueError as error:  # the channel was closed
                raise PdpError("unreachable", str(error)) from None
            else:
                return answer
            finally:
                connections.give_back(connection)


def decided(results: list[Decision | PdpError]) -> list[Decision]:
    found = []
    for place, result in enumerate(results):
        if isinstance(result, PdpError):
            raise PdpError(result.code, f"request {place}: {result.message}")
        found.append(result)
    return found
