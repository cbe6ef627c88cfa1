"""What is told about calls: figures, spans, log lines."""

from __future__ import annotations

import json
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import trace

from pdp.server.counters import BUCKETS_S, Counters
from pdp.server.denials import Denials
from pdp.server.edge import Around
from pdp.server.prometheus import DECISIONS, figures_of, prometheus_text
from pdp.server.telemetry import CallersBytes, JsonLines, start_metrics
from pdp.server.tracing import OpenTelemetryTracer
from tests.pdp.server.raw import Raw
from tests.pdp.server.world import call, channel, development, refused, running, wait_until


def test_figures_of_processes_are_added_up() -> None:
    by_worker = {}
    for worker in (0, 1):
        counters = Counters()
        counters.decided("allow", "allowed", True, 60_000)
        counters.decided("deny", "default_deny", False, 2_000_000_000)
        counters.gauge("ready", "x", lambda: 1)
        counters.gauge("broken", "x", lambda: 1 / 0)
        by_worker[worker] = json.loads(json.dumps(figures_of(counters)))
    text = prometheus_text(by_worker, 3)
    hit = 'outcome="allow",reason="allowed",cache="hit"'
    assert f'pdp_decision_seconds_bucket{{{hit},le="5e-05"}} 0\n' in text
    assert f'pdp_decision_seconds_bucket{{{hit},le="0.0001"}} 2\n' in text
    assert f'pdp_decision_seconds_bucket{{{hit},le="+Inf"}} 2\n' in text
    assert f"pdp_decision_seconds_count{{{hit}}} 2\n" in text
    assert 'le="1"} 0\n' in text
    assert 'pdp_worker_up{worker="2"} 0' in text
    assert "broken" not in text
    assert text.count("# TYPE pdp_ready gauge") == 1
    for line in text.splitlines():
        assert line.startswith("# ") or len(line.rsplit(" ", 1)) == 2
    assert list(BUCKETS_S) == sorted(BUCKETS_S)


def test_bytes_of_a_caller_do_not_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """gRPC says of each that is not UTF-8 that it is none, with a stack."""
    logger, left_out = logging.getLogger("grpc._cython.cygrpc"), CallersBytes()
    for added in (False, True):
        caplog.clear()
        if added:
            logger.addFilter(left_out)
        try:
            with running(development(tmp_path)) as server:
                raw = Raw(server.address)
                raw.call(b"/test.Echo/Gate", bytes(5), more=[(b"x-request-id", b"\xff\xfe")])
                raw.read_until(b"grpc-status")
                raw.close()
        finally:
            logger.removeFilter(left_out)
        assert any(record.name == logger.name for record in caplog.records) != added
    assert left_out.filter(logging.makeLogRecord({"msg": "something else"}))


def said(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What was logged of denials, as it is written."""
    lines = [json.loads(JsonLines(0).format(r)) for r in caplog.records if r.name == "pdp.server"]
    return [{k: v for k, v in line.items() if k not in ("at", "logger", "worker", "level")} for line in lines]


def test_a_flood_of_denials_is_a_line_a_second_and_all_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    now, asked = [100.0], []
    denials = Denials(lambda: now[0])

    def tell(code: str, number: int) -> None:
        def correlation() -> str:
            asked.append(number)
            return f"r{number}"

        denials.tell(code, "/m", "why", correlation)

    for number in range(1000):
        tell("overloaded", number)
    tell("not_ready", 1000)
    denials.flush()
    assert asked == [0, 1000]  # nobody looks into a request of which nothing is said
    now[0] = 101.0
    tell("overloaded", 1001)
    now[0] = 102.5
    tell("overloaded", 1002)
    tell("overloaded", 1003)
    denials.flush()
    now[0] = 103.5
    denials.flush()
    denials.flush()
    first = "a call was denied at the edge: "
    assert said(caplog) == [
        {"message": f"{first}overloaded: why", "code": "overloaded", "method": "/m", "correlation": "r0"},
        {"message": f"{first}not_ready: why", "code": "not_ready", "method": "/m", "correlation": "r1000"},
        {
            "message": f"{first}overloaded: why",
            "code": "overloaded",
            "method": "/m",
            "correlation": "r1001",
            "left_out": 999,
        },
        {"message": f"{first}overloaded: why", "code": "overloaded", "method": "/m", "correlation": "r1002"},
        {"message": "more calls were denied at the edge: overloaded", "code": "overloaded", "left_out": 1},
    ]


def test_a_caller_cannot_write_the_log(caplog: pytest.LogCaptureFixture) -> None:
    Denials().tell("unknown_method", "/x\n\x1b[2J" + "y" * 10_000, "why", lambda: None)
    (line,) = said(caplog)
    assert line["method"].startswith("/x\ufffd\ufffd[2J")
    assert len(line["method"]) == 200


@pytest.mark.parametrize(
    ("method", "request_id", "code", "why"),
    [
        ("/test.Echo/None", "r-1", "unknown_method", "there is no such method here"),
        ("/test.Echo/Gate", "r-2", "too_large", "more than 100 bytes"),
        ("/test.Echo/Stream", "r-3", "too_large", ""),
    ],
)
def test_a_denial_at_the_edge_is_logged(
    method: str, request_id: str, code: str, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(development(tmp_path, limits={"message_bytes": 100})) as server, channel(server.address) as opened:
        metadata = (("x-request-id", request_id),)
        if method.endswith("Stream"):
            with pytest.raises(grpc.RpcError):
                list(opened.stream_stream(method)(iter([bytes(101)]), metadata=metadata))
        elif method.endswith("None"):
            refused(opened, method, bytes(101), metadata=metadata)
        else:
            assert call(opened, method, bytes(101), metadata=metadata) == b"denied: too_large"
        assert wait_until(lambda: said(caplog))
    (line,) = said(caplog)
    assert (line["code"], line["method"], line["correlation"]) == (code, method, request_id)
    assert why in line["message"]


def test_what_a_handler_says_of_a_request_is_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(development(tmp_path)) as server, channel(server.address) as opened:
        assert refused(opened, "/test.Echo/Echo", b"refuse") == "FAILED_PRECONDITION no_such_thing"
        assert refused(opened, "/test.Echo/None") == "UNIMPLEMENTED unknown_method"
    assert [line["code"] for line in said(caplog)] == ["unknown_method"]


def test_labels_cannot_break_out_of_their_quotes() -> None:
    counters = Counters()
    counters.decided("deny", 'a"}\n\\', False, 1)
    assert 'reason="a\\"}\\n\\\\"' in prometheus_text({0: figures_of(counters)}, 1)


def test_each_way_a_call_ends_is_counted(tmp_path: Path) -> None:
    with running(development(tmp_path)) as server, channel(server.address) as opened:
        call(opened, "/test.Echo/Echo", b"x")
        refused(opened, "/test.Echo/Echo", b"bad")
        call(opened, "/test.Echo/Gate", b"bad")
        counted = {key: sum(h.counts) for key, h in server.parts.counters.calls.read()}
    assert counted == {
        ("/test.Echo/Echo", "ok"): 1,
        ("/test.Echo/Echo", "internal"): 1,
        ("/test.Echo/Gate", "internal"): 1,
    }


class Spans(trace.Tracer):
    """A tracer of the API that keeps what it was told."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, dict[str, Any], int]] = []

    def start_span(self, name: str, context: Any = None, kind: Any = None, attributes: Any = None, **_: Any) -> Any:
        parent = trace.get_current_span(context).get_span_context().trace_id
        return _Span(self, name, dict(attributes or {}), parent)

    def start_as_current_span(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


class _Span(trace.NonRecordingSpan):
    def __init__(self, spans: Spans, name: str, attributes: dict[str, Any], parent: int) -> None:
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self.spans, self.name, self.attributes, self.parent = spans, name, attributes, parent

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def end(self, end_time: int | None = None) -> None:
        self.spans.ended.append((self.name, self.attributes, self.parent))


def test_a_call_is_a_span_below_its_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = Spans()
    monkeypatch.setattr("pdp.server.process.OpenTelemetryTracer", lambda: OpenTelemetryTracer(spans))
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    config = development(tmp_path, telemetry={"traces": True})
    with running(config) as server, channel(server.address) as opened:
        call(opened, "/test.Echo/Echo", b"x", metadata=(("traceparent", parent),))
        refused(opened, "/test.Echo/Echo", b"bad")
    (good, _, trace_id), (_, bad, none) = spans.ended
    assert (good, f"{trace_id:x}") == ("/test.Echo/Echo", "af7651916cd43dd8448eb211c80319c")
    assert (bad["pdp.code"], bad["rpc.service"], bad["rpc.method"], none) == ("internal", "test.Echo", "Echo", 0)


def test_no_thread_loses_what_another_one_counts() -> None:
    """Decisions are counted from several threads: two that counted one for the first time made two histograms of it."""
    counters, threads, codes = Counters(), 4, 400
    begin, read = threading.Barrier(threads + 1), []

    def count() -> None:
        begin.wait()
        for number in range(codes):
            for _ in range(3):
                counters.decided("deny", f"code-{number}", False, 1)

    def read_on() -> None:
        begin.wait()
        while any(each.is_alive() for each in counting):
            read.append(len(figures_of(counters)[DECISIONS]))

    switch_s = sys.getswitchinterval()
    counting = [threading.Thread(target=count) for _ in range(threads)]
    sys.setswitchinterval(1e-6)
    try:
        for each in counting:
            each.start()
        read_on()
        for each in counting:
            each.join()
    finally:
        sys.setswitchinterval(switch_s)
    assert len(counters.decisions.read()) == codes
    assert {(sum(each.counts), each.sum_ns) for _, each in counters.decisions.read()} == {(3 * threads, 3 * threads)}
    assert read == sorted(read)


def test_figures_go_to_opentelemetry_under_the_same_names() -> None:
    class Meter:
        def __init__(self) -> None:
            self.instruments: dict[str, Any] = {}

        def create_observable_counter(self, name: str, callbacks: Any, *_: Any, **__: Any) -> None:
            self.instruments[name] = callbacks[0]

        create_observable_gauge = create_observable_counter

    counters, meter = Counters(), Meter()
    counters.gauge("ready", "x", lambda: 1)
    counters.decided("allow", "allowed", True, 5)
    counters.calls.add(("/a/B", "ok"), 2_000_000_000)
    start_metrics(counters, 3, meter)
    told = {name: [(o.value, dict(o.attributes)) for o in read(None)] for name, read in meter.instruments.items()}
    assert told == {
        "pdp_calls": [(1, {"worker": "3", "method": "/a/B", "code": "ok"})],
        "pdp_call_seconds_sum": [(2.0, {"worker": "3", "method": "/a/B", "code": "ok"})],
        "pdp_decisions": [(1, {"worker": "3", "outcome": "allow", "reason": "allowed", "cache": "hit"})],
        "pdp_ready": [(1, {"worker": "3"})],
    }


def test_a_log_entry_is_one_line_whatever_is_in_it() -> None:
    record = logging.LogRecord("pdp.x", logging.ERROR, "", 0, "two\nlines %s", ("\x1b[31m",), None)
    record.method = "/a/B"
    line = JsonLines(1).format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    entry = json.loads(line)
    assert (entry["message"], entry["method"], entry["worker"]) == ("two\nlines \x1b[31m", "/a/B", 1)


def test_tracing_is_off_unless_it_is_asked_for() -> None:
    assert Around.__dataclass_fields__["tracer"].default.on is False
