"""Calls that were denied before anybody decided, as log lines: one a second for each code, with how many were left out.

A server that denies everything is what somebody is woken for, and so is one that is asked too much. So the first denial of a
kind is said at once and with what it was, and a flood of them neither fills the disk nor costs what answering costs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from language import printable
from pdp.server.handlers import EDGE_CODES

BETWEEN_S = 1.0
_TEXT_MAX = 200

_log = logging.getLogger("pdp.server")


@dataclass(slots=True)
class _Kind:
    said_at: float
    left_out: int = 0


class Denials:
    """Told from any thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kinds: dict[str, _Kind] = {}

    def tell(self, code: str, method: str, why: str, correlation: Callable[[], str | None]) -> None:
        """`correlation` is asked only for what is said: it may have to look into the request."""
        now = self._monotonic()
        with self._lock:
            kind = self._kinds.get(code)
            if kind is not None and now - kind.said_at < BETWEEN_S:
                kind.left_out += 1
                return
            left_out = 0 if kind is None else kind.left_out
            self._kinds[code] = _Kind(now)
        fields = {"code": code, "method": _shown(method), "correlation": correlation(), "left_out": left_out or None}
        _log.warning("a call was denied at the edge: %s", _shown(f"{code}: {why}"), extra=fields)

    def flush(self) -> None:
        """Says how many were left out since, where nothing came that would have said it."""
        now = self._monotonic()
        with self._lock:
            due = [(c, k.left_out) for c, k in self._kinds.items() if k.left_out and now - k.said_at >= BETWEEN_S]
            for code, _ in due:
                self._kinds[code] = _Kind(now)
        for code, left_out in due:
            _log.warning("more calls were denied at the edge: %s", code, extra={"code": code, "left_out": left_out})


def is_denial(code: str, status: str) -> bool:
    """What an operator has to know of; not what a handler says about a request."""
    return code in EDGE_CODES or status == "UNAVAILABLE"


def _shown(text: str) -> str:
    """A caller chooses the name of a method, and may choose a long one."""
    return printable(text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…")
