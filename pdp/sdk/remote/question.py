"""What both clients ask, and what they remember of answers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

from pdp.errors import PdpError
from pdp.model.ask import Shown, Target
from pdp.model.decision import Decision
from pdp.model.request import NOTHING, EntityLike, Request

__all__ = ["Answers", "Shown", "Target", "question"]


def question(
    request: Request | None,
    action: str | None,
    resource: EntityLike | None,
    user: EntityLike | None,
    context: Mapping[str, Any] | None,
    location: Mapping[str, Any] | None,
) -> Request:
    """A prebuilt request, or one of keywords."""
    if request is not None:
        if not isinstance(request, Request):
            raise PdpError("invalid_argument", f"expected a pdp.Request, found {type(request).__name__}")
        if action or resource or user or context or location:
            raise PdpError("invalid_argument", "a request is prebuilt or told in keywords, not both")
        return request
    if not isinstance(action, str) or resource is None:
        raise PdpError("invalid_request", "a question has an action and a resource")
    for name, told in (("context", context), ("location", location)):
        if told is not None and not isinstance(told, Mapping):
            raise PdpError("invalid_request", f"{name}: expected values by name, found {type(told).__name__}")
    with no_question():
        return Request(
            action,
            resource,
            user=user,
            context=NOTHING if context is None else context,
            location=NOTHING if location is None else location,
        )


@contextmanager
def no_question() -> Iterator[None]:
    """Whatever a value may be that is none: it ends in the one error that a caller has to expect."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        problem = type(error).__name__
    else:
        return
    raise PdpError("invalid_request", f"the request holds a value of the wrong type, or a text that is none ({problem})")


@dataclass(frozen=True, slots=True)
class _Kept:
    decision: Decision
    until_us: int


class Answers:
    """Allows and denials that were answered, by the bytes of the question, for a short time.

    An answer is used no longer than it holds (`valid_until`), than it may be relied on (`fresh_until`), and than `keep_us`:
    until then a revocation or another policy is not seen here. Nothing with a proof is kept.
    """

    def __init__(self, entries_max: int, keep_us: int) -> None:
        if type(entries_max) is not int or entries_max < 0 or keep_us <= 0:
            raise PdpError("invalid_argument", "cache_entries: 0 or more; cache_for_s: more than nothing")
        self._entries_max = entries_max
        self._keep_us = keep_us
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._lock = Lock()

    def find(self, raw: bytes, now: int) -> Decision | None:
        if not self._entries_max:
            return None
        with self._lock:
            found = self._kept.get(raw)
            if found is None:
                return None
            if now >= found.until_us:
                del self._kept[raw]
                return None
            self._kept.move_to_end(raw)
            return found.decision

    def keep(self, raw: bytes, decision: Decision, now: int) -> None:
        if not self._entries_max or decision.errors or decision.reason == "error":
            return
        until = min(decision.valid_until_us, decision.fresh_until_us, now + self._keep_us)
        if until <= now:
            return
        with self._lock:
            self._kept[raw] = _Kept(decision, until)
            self._kept.move_to_end(raw)
            while len(self._kept) > self._entries_max:
                self._kept.popitem(last=False)

    def forget(self) -> None:
        with self._lock:
            self._kept.clear()


def keep_time(seconds: float) -> int:
    """In microseconds."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= 86_400:
        raise PdpError("invalid_argument", "cache_for_s: more than 0 and at most a day")
    return int(seconds * 1e6)


def target_time(seconds: float) -> float:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds < 3600:
        raise PdpError("invalid_argument", "timeout_s: more than 0 and less than an hour")
    return float(seconds)


def all_requests(requests: Iterable[Request]) -> list[Request]:
    if not isinstance(requests, Iterable):
        raise PdpError("invalid_argument", f"expected pdp.Requests, found {type(requests).__name__}")
    found = list(requests)
    for request in found:
        if not isinstance(request, Request):
            raise PdpError("invalid_argument", f"expected a pdp.Request, found {type(request).__name__}")
    return found
