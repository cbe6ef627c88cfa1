"""What both clients ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pdp.errors import PdpError
from pdp.model.ask import Shown, Target
from pdp.model.request import NOTHING, EntityLike, Request

__all__ = ["Shown", "Target", "question"]


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
