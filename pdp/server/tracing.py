"""Spans of calls, where OpenTelemetry is switched on. A call that is not traced pays for one look at `on`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pdp.errors import PdpError


class Tracer:
    """Does nothing. `OpenTelemetryTracer` does."""

    on = False

    def begin(self, method: str, metadata: Iterable[tuple[str, Any]] | None) -> Any:
        return None

    def end(self, span: Any, code: str) -> None:
        return None


NO_TRACER = Tracer()


class OpenTelemetryTracer(Tracer):
    """A span for each call, as a child of the caller's `traceparent`; where they go, the SDK's own variables say."""

    on = True

    def __init__(self, tracer: Any = None) -> None:
        try:
            from opentelemetry import propagate, trace
        except ImportError:
            raise PdpError("invalid_configuration", "telemetry.traces needs the extra `telemetry`") from None
        self._tracer = trace.get_tracer("pdp") if tracer is None else tracer
        self._extract = propagate.extract
        self._kind, self._status = trace.SpanKind.SERVER, trace.StatusCode

    def begin(self, method: str, metadata: Iterable[tuple[str, Any]] | None) -> Any:
        carrier = {k: v for k, v in metadata or () if k in ("traceparent", "tracestate") and isinstance(v, str)}
        service, _, name = method.lstrip("/").partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        return self._tracer.start_span(method, self._extract(carrier), self._kind, attributes)

    def end(self, span: Any, code: str) -> None:
        span.set_attribute("pdp.code", code)
        if code != "ok":
            span.set_status(self._status.ERROR, code)
        span.end()
