"""Logs as one JSON object for each thing said, and the figures of a process through OpenTelemetry where that is wanted.

Nothing here stands in the way of a call: logs are about what goes wrong, and figures are read when they are exported.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from language import format_instant
from pdp.errors import PdpError
from pdp.server.config import Telemetry
from pdp.server.counters import Counters

#: What a log entry may carry besides its words, when the code that logs has it.
FIELDS = ("method", "code", "correlation", "worker", "peer", "left_out")


_GRPC = "grpc._cython.cygrpc"


class JsonLines(logging.Formatter):
    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "at": format_instant(int(record.created * 1e6)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "worker": self._worker,
        }
        entry |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class CallersBytes(logging.Filter):
    """Leaves out what gRPC logs of bytes that a caller sent, with a stack each: whoever may connect could fill the disk."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Invalid encoding on")


_CALLERS_BYTES = CallersBytes()


def start_logs(telemetry: Telemetry, worker: int) -> None:
    """To standard error. One line is one entry, whatever stands in it."""
    handler = logging.StreamHandler(sys.stderr)
    if telemetry.log_format.value == "json":
        handler.setFormatter(JsonLines(worker))
    else:
        text = logging.Formatter(f"%(asctime)s %(levelname)s worker {worker} %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        text.converter = time.gmtime
        handler.setFormatter(text)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.getLogger("watchfiles").setLevel("WARNING")  # it tells of each file that changes
    logging.getLogger(_GRPC).addFilter(_CALLERS_BYTES)  # adding it again adds nothing
    set_level(telemetry)


def set_level(telemetry: Telemetry) -> None:
    logging.getLogger().setLevel(telemetry.log_level.value.upper())


def start_metrics(counters: Counters, worker: int, meter: Any = None) -> None:
    """The figures as OpenTelemetry instruments, observed at each export. Histograms go as their counts and sums: an
    observable histogram does not exist there."""
    try:
        from opentelemetry import metrics
    except ImportError:
        raise PdpError("invalid_configuration", "telemetry.metrics needs the extra `telemetry`") from None
    found = metrics.get_meter("pdp") if meter is None else meter
    own = {"worker": str(worker)}

    def calls(_: Any) -> Any:
        for (method, code), histogram in counters.calls.read():
            yield metrics.Observation(sum(histogram.counts), {**own, "method": method, "code": code})

    def call_seconds(_: Any) -> Any:
        for (method, code), histogram in counters.calls.read():
            yield metrics.Observation(histogram.sum_ns / 1e9, {**own, "method": method, "code": code})

    def decisions(_: Any) -> Any:
        for (outcome, reason, hit), histogram in counters.decisions.read():
            attributes = {**own, "outcome": outcome, "reason": reason, "cache": "hit" if hit else "miss"}
            yield metrics.Observation(sum(histogram.counts), attributes)

    found.create_observable_counter("pdp_calls", [calls], description="calls, by method and code")
    found.create_observable_counter("pdp_call_seconds_sum", [call_seconds], "s", "time spent in calls")
    found.create_observable_counter("pdp_decisions", [decisions], description="decisions, by outcome, reason and cache")
    for name, says, _ in counters.gauges():
        found.create_observable_gauge(f"pdp_{name}", [_reading(counters, name, own)], description=says)


def _reading(counters: Counters, name: str, own: dict[str, str]) -> Any:
    def read(_: Any) -> Any:
        from opentelemetry import metrics

        return [metrics.Observation(value, own) for found, _, value in counters.gauges() if found == name]

    return read
