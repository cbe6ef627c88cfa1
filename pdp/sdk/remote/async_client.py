"""`pdp.AsyncClient`: a decision point elsewhere, asked from asyncio.

The same calls and types as `pdp.Client`. A client belongs to the event loop in which it is first asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from pdp.errors import PdpError
from pdp.model.decision import Decision
from pdp.model.request import EntityLike, Request
from pdp.model.told import ToldExplanation
from pdp.sdk.clock import Clock
from pdp.sdk.remote.answers import Answers, keep_time
from pdp.sdk.remote.channel import SERVICE, Tls, error_of, final_error, may_be_asked_again, open_channel
from pdp.sdk.remote.client import decided
from pdp.sdk.remote.question import Shown, Target, all_requests, no_question, question, target_time
from pdp.sdk.remote.watching import AsyncWatching
from pdp.wire import client as wire


class AsyncClient:
    """Keeps one connection, which is shared between tasks."""

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
        self._closed = False
        self._channel = open_channel(address, tls, grpc.aio)
        self._watching = AsyncWatching(self._channel, self._answers)
        self._check = self._channel.unary_unary(f"{SERVICE}/Check")
        self._check_many = self._channel.unary_unary(f"{SERVICE}/CheckMany")
        self._explain = self._channel.unary_unary(f"{SERVICE}/Explain")

    async def check(
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
        decision, epoch = wire.read_answer(await self._call(self._check, raw, timeout_s, proof))
        if proof is None:
            self._answers.keep(raw, decision, epoch, self._clock())
        return decision

    async def check_many(self, requests: Iterable[Request], *, timeout_s: float | None = None) -> list[Decision]:
        """Decides several requests at once; one that cannot be decided raises, and names its place."""
        asked = all_requests(requests)
        with no_question():
            raw = wire.write_requests(asked)
        return decided(wire.read_decisions(await self._call(self._check_many, raw, timeout_s, None), len(asked)))

    async def explain(
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
        return wire.read_explanation(await self._call(self._explain, raw, timeout_s, None))

    def forget(self) -> None:
        """Forgets the answers that are kept."""
        self._answers.forget()

    async def close(self) -> None:
        """Ends the calls that are not answered yet, as `unreachable`."""
        self._closed = True
        await self._watching.end()
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, method: Any, raw: bytes, timeout_s: float | None, proof: str | None) -> bytes:
        ends = time.monotonic() + (self._timeout_s if timeout_s is None else target_time(timeout_s))
        try:
            try:
                answer: bytes = await method(raw, timeout=ends - time.monotonic())
            except grpc.RpcError as error:
                if not may_be_asked_again(error, proof) or time.monotonic() >= ends:
                    raise
                first = error
                try:
                    answer = await method(raw, timeout=max(0.001, ends - time.monotonic()), wait_for_ready=True)
                except grpc.RpcError as again:
                    raise final_error(first, again) from None
        except grpc.RpcError as error:
            raise error_of(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise  # it was not we who ended it
            raise PdpError("unreachable", "the client was closed") from None
        except (ValueError, grpc.aio.UsageError) as error:  # the channel was closed
            raise PdpError("unreachable", str(error)) from None
        return answer
