"""What takes long is worked out where callers take turns, in turns that are short, and keeps nobody else out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from language import Bundle, Source, compile_policies
from pdp.server.config import Service
from pdp.server.counters import Counters
from pdp.server.desk import Desk
from pdp.server.handlers import CallRefused, Deadline, Method
from pdp.server.parts import Parts
from pdp.server.peer import Peer, Transport
from pdp.server.pools import Pools
from pdp.server.process import _in_thread_of
from pdp.server.services import decisions
from pdp.server.services.decisions import decision_handlers
from pdp.server.shares import Shares
from pdp.server.turns import Turns
from pdp.service.rest import Rest, whole
from pdp.wire.messages import PDP
from tests.pdp.server.edge_test import Gate, as_caller
from tests.pdp.server.world import (
    POLICY,
    call,
    channel,
    code_of,
    development,
    running,
    wait_until,
)

ALL = POLICY.replace("entity Document", "entity Document\nentity User")
ONE, MANY, STREAM = (f"/pdp.v1.DecisionService/{name}" for name in ("Check", "CheckMany", "CheckStream"))
#: A record of the document is not there, so that the plain evaluator settles it: after all pairs of the two sets.
DEAR = """language 1
package app
entity User
entity Document { tag: String }
action read on Document { xs: Set<String>, ys: Set<String> }
allow pairs { who anyone do read on Document
  when (any x in context.xs: (any y in context.ys: x == y)) trusting context.xs, context.ys }
allow tagged { who anyone do read on Document when resource.tag == "open" }
"""


def question(size: int, name: str = "none") -> Any:
    message = PDP.CheckRequest(action="read")
    message.subject.user.type, message.subject.user.id = "User", "ada"
    message.resource.type, message.resource.id = "Document", name
    for kind in ("xs", "ys"):
        values = message.context[kind].list_value.values
        for number in range(size):
            values.add().string_value = f"{kind}{number}"
    return message


@contextmanager
def settled_in() -> Iterator[list[tuple[str, int]]]:
    """Where the plain evaluator was at work, and the steps that it had."""
    found: list[tuple[str, int]] = []
    settle = Bundle.settle

    def told(self: Bundle, action: str, kind: str, inputs: Any, steps: int, **more: Any) -> Any:
        found.append((threading.current_thread().name, steps))
        return settle(self, action, kind, inputs, steps, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bundle, "settle", told)
        yield found


def dear(tmp_path: Path, policy: str = DEAR, **more: Any) -> Any:
    config = development(tmp_path, **more)
    (tmp_path / "policies" / "app.policy").write_text(policy)
    return config


# ---- by cost, and not by bytes (S2, S4)


def test_s4_a_small_question_that_is_dear_is_settled_where_callers_take_turns(tmp_path: Path) -> None:
    """Findings S2 and S4: 1,400 bytes cost 25 ms in the thread of all calls. What is cheap is settled there."""
    with (
        settled_in() as settled,
        running(dear(tmp_path), lambda parts: decision_handlers(Desk(parts))) as server,
        channel(server.address) as opened,
    ):
        cheap = PDP.CheckResponse.FromString(call(opened, ONE, question(2).SerializeToString()))
        assert settled == [("pdp-calls", 1_000)]
        settled.clear()
        asked = PDP.CheckResponse.FromString(call(opened, ONE, question(60).SerializeToString()))
        assert settled == [("pdp-calls", 1_000), ("pdp-computes", 25_000)]
        for told in (cheap, asked):
            assert told.decision.reason == "error"
            assert [e.code for e in told.decision.errors] == ["unknown_entity"]
        assert wait_until(lambda: server.parts.counters.computing.all == 0)
        assert sum(sum(h.counts) for _, h in server.parts.counters.decisions.read()) == 2  # each is counted once


LARGE = """language 1
package app
entity User
entity Document
action read on Document { xs: Set<String>, ys: Set<String> }
allow one { who anyone do read on Document
  when (any x in context.xs: (any y in context.ys: x == y)) trusting context.xs, context.ys }
allow single { who anyone do read on Document when (any x in context.xs: x == "a") trusting context.xs }
"""


def test_s4_what_compiled_code_takes_long_for_is_known_by_the_sizes_of_the_sets() -> None:
    from language import Inputs

    bundle = compile_policies([Source("large.policy", LARGE)])
    effort = bundle.effort("read", "Document")
    assert effort.can_be_long

    def is_long(xs: int, ys: int) -> bool:
        sets = [frozenset(map(str, range(size))) for size in (xs, ys)]
        return effort.is_long(Inputs(0, "d", ("d",), context=tuple(sets)), bundle.vocabulary)

    assert [is_long(*sizes) for sizes in ((1, 1), (1000, 1), (30, 30), (200, 200), (1000, 1000))] == [
        False,
        False,
        False,
        True,
        True,
    ]
    cheap = compile_policies([Source("app.policy", POLICY)])
    assert not cheap.effort("read", "Document").can_be_long


def test_s4_what_compiled_code_takes_long_for_is_worked_out_where_callers_take_turns(tmp_path: Path) -> None:
    ran: list[str] = []
    with (
        running(dear(tmp_path, LARGE), lambda parts: decision_handlers(Desk(parts))) as server,
        channel(server.address) as opened,
    ):
        leaf = server.parts.engine.snapshot.policy.leaf("read", "Document")
        function = leaf.function
        leaf.function = lambda *arguments: (ran.append(threading.current_thread().name), function(*arguments))[1]
        answers = [call(opened, ONE, question(size).SerializeToString()) for size in (2, 120)]
    assert [PDP.CheckResponse.FromString(a).decision.reason for a in answers] == ["default_deny"] * 2
    assert ran == ["pdp-calls", "pdp-computes"]


# ---- short turns


def test_s4_what_is_left_waits_until_all_others_had_their_turn() -> None:
    """Finding S4: one turn lasted up to five seconds."""
    turns, entered, go, done = Turns("test"), threading.Event(), threading.Event(), list[str]()

    def hold() -> bool:
        entered.set()
        return go.wait(15)

    def batch(name: str, left: int) -> str:
        done.append(f"{name} {left}")
        if left:
            raise Rest(partial(batch, name, left - 1))
        return name

    first = turns.submit("greedy", hold)
    assert entered.wait(15)
    asked = [turns.submit("greedy", partial(batch, name, 2)) for name in ("a", "b")]
    asked.append(turns.submit("other", partial(batch, "c", 1)))
    go.set()
    assert [first.result(15), *(each.result(15) for each in asked)] == [True, "a", "b", "c"]
    assert done == ["a 2", "c 1", "a 1", "c 0", "a 0", "b 2", "b 1", "b 0"]
    turns.shutdown()


def test_a_rest_that_waits_is_dropped_at_the_end() -> None:
    turns, entered, go = Turns("test"), threading.Event(), threading.Event()

    def part() -> None:
        entered.set()
        assert go.wait(15)
        raise Rest(part)

    begun = turns.submit("a", part)
    assert entered.wait(15)
    ending = threading.Thread(target=turns.shutdown)
    ending.start()
    wait_until(lambda: turns._ending)
    go.set()
    ending.join(15)
    assert begun.cancelled() or begun.exception(15) is not None


def test_rests_are_put_together() -> None:
    def three(left: int) -> int:
        if left:
            raise Rest(partial(three, left - 1))
        return 3

    def twice() -> int:
        try:
            return 2 * three(2)
        except Rest as rest:
            raise rest.then(lambda found: 2 * found) from None

    assert whole(twice) == 6


def test_s4_a_batch_in_many_turns_is_decided_under_one_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "_TURN_NS", 0)
    turns: list[str] = []

    class Reloads(Desk):
        def hear(self, raw: bytes, *more: Any) -> Any:
            turns.append(PDP.CheckRequest.FromString(raw).resource.id)
            if turns[-1] == "first":
                policy.write_text(ALL.replace("allow all-read", "deny all-read"))
                self.parts.engine.reload()
            return super().hear(raw, *more)

    names = ("before", "first", "after", "last")
    many = PDP.CheckManyRequest(requests=[question(0, name) for name in names])
    for each in many.requests:
        each.ClearField("context")
    policy = tmp_path / "policies" / "app.policy"
    with (
        running(dear(tmp_path, ALL), lambda parts: decision_handlers(Reloads(parts))) as server,
        channel(server.address) as opened,
    ):
        results = PDP.CheckManyResponse.FromString(call(opened, MANY, many.SerializeToString())).results
    assert turns == list(names)
    assert [r.decision.allowed for r in results] == [True] * 4
    assert len({r.decision.generation for r in results}) == 1


def test_s4_a_batch_whose_caller_has_gone_is_not_brought_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "_TURN_NS", 0)
    entered, go, heard = threading.Event(), threading.Event(), list[str]()

    class Held(Desk):
        def hear(self, raw: bytes, *more: Any) -> Any:
            heard.append(PDP.CheckRequest.FromString(raw).resource.id)
            if heard[-1] == "held":
                entered.set()
                assert go.wait(15)
            return super().hear(raw, *more)

    many = PDP.CheckManyRequest(requests=[question(0, name) for name in ("held", "after", "last")])
    with (
        running(development(tmp_path, limits={"step_deadline": "30s"}), lambda p: decision_handlers(Held(p))) as server,
        channel(server.address) as opened,
        pytest.MonkeyPatch.context() as patch,
    ):
        from pdp.server.calls import Unary

        closed = threading.Event()
        original = Unary._closed
        patch.setattr(Unary, "_closed", lambda self, event: (original(self, event), closed.set()))
        asked = opened.unary_unary(MANY).future(many.SerializeToString(), timeout=20)
        assert entered.wait(15)
        asked.cancel()
        assert closed.wait(15)
        go.set()
        assert wait_until(lambda: server.parts.counters.computing.all == 0)
    assert heard == ["held"]


# ---- what is counted apart, and what is kept (S4)


def test_s4_an_eighth_is_kept_for_those_who_administer() -> None:
    """Finding S4: two greedy callers had all of it, and nobody could freeze them."""
    shares = Shares()
    for caller in ("a", "b"):
        shares.add(caller, 29)
    assert shares.refuses("c", 64, "calls") == "more than 56 calls"
    assert shares.refuses("ops", 64, "calls", administers=True) is None
    shares.add("ops", 7)
    assert shares.refuses("ops", 64, "calls", administers=True) == "more than 64 calls"


def test_s4_batches_of_two_callers_keep_no_step_out(tmp_path: Path) -> None:
    """Finding S4: 38 of 39 freezes ended as overloaded beside 66 batches."""
    gate = Gate()

    def handlers(parts: Parts) -> dict[str, Any]:
        method = gate.handlers(parts)["/test.Gate/Wait"]
        assert isinstance(method, Method)
        return {
            "/test.Gate/Batch": Method(method.handle, Service.DECISION, waits=True, computes=True),
            "/test.Gate/Freeze": Method(lambda *_: b"frozen", Service.ADMIN, waits=True, writes=True),
        }

    limits = {"waiting": 8, "step_deadline": "30s", "drain": "1s"}
    with running(development(tmp_path, limits=limits), handlers) as server, channel(server.address) as opened:
        batch = opened.unary_unary("/test.Gate/Batch")
        asked = [batch.future(b"x", metadata=as_caller(who)) for who in ("a", "b") for _ in range(5)]
        assert wait_until(lambda: sum(each.done() for each in asked) == 3)  # 4 of one and 3 of the other are taken
        assert server.parts.counters.computing.all == 7
        assert call(opened, "/test.Gate/Freeze") == b"frozen"
        gate.go.set()
        assert sum(each.exception() is None for each in asked) == 7


def test_s4_steps_of_two_callers_keep_no_freeze_out(tmp_path: Path) -> None:
    """A brother of finding S4: all threads for what waits were taken by calls that wait for another process."""
    gate = Gate()

    def handlers(parts: Parts) -> dict[str, Any]:
        freeze = Method(lambda *_: b"frozen", Service.ADMIN, waits=True, writes=True)
        return {**gate.handlers(parts), "/test.Gate/Freeze": freeze}

    limits = {"step_deadline": "30s", "drain": "1s"}
    with running(development(tmp_path, limits=limits), handlers) as server, channel(server.address) as opened:
        wait = opened.unary_unary("/test.Gate/Wait")
        held = [wait.future(b"held", metadata=as_caller(who)) for who in ("a", "b") for _ in range(8)]
        assert wait_until(lambda: server.parts.counters.waiting.all == 16)
        assert call(opened, "/test.Gate/Freeze") == b"frozen"
        gate.go.set()
        assert [each.result() for each in held] == [b"held"] * 16


# ---- streams (S4)


def test_s4_questions_of_a_stream_are_not_worked_out_on_the_loop(tmp_path: Path) -> None:
    """Finding S4: the loop also sends and reads the lease, so 60 streams made another process unready."""
    where: list[str] = []

    class Told(Desk):
        def hear(self, raw: bytes, *more: Any) -> Any:
            where.append(threading.current_thread().name)
            return super().hear(raw, *more)

    with (
        running(development(tmp_path), lambda parts: decision_handlers(Told(parts))) as server,
        channel(server.address) as opened,
    ):
        asked = [question(0, str(n)).SerializeToString() for n in range(3)]
        answers = list(opened.stream_stream(STREAM)(iter(asked), timeout=15))
        assert wait_until(lambda: server.parts.counters.bytes.all == 0)
        assert wait_until(lambda: not server.parts.counters.computing_of)
    assert (len(answers), set(where)) == (3, {"pdp-computes"})


def test_s4_one_caller_has_an_eighth_of_the_streams_for_questions(tmp_path: Path) -> None:
    raw = question(0).SerializeToString()
    with (
        running(development(tmp_path, limits={"streams": 16}), lambda parts: decision_handlers(Desk(parts))) as server,
        channel(server.address) as opened,
        ExitStack() as stack,
    ):
        held = threading.Event()
        stack.callback(held.set)

        def asks() -> Iterator[bytes]:
            yield raw
            held.wait(15)

        stream = opened.stream_stream(STREAM)
        taken = [stream(asks(), metadata=as_caller("greedy"), timeout=15) for _ in range(2)]
        assert all(next(each) for each in taken)
        with pytest.raises(grpc.RpcError) as ended:
            next(stream(asks(), metadata=as_caller("greedy"), timeout=15))
        assert code_of(ended.value) == "RESOURCE_EXHAUSTED overloaded"
        assert next(stream(asks(), metadata=as_caller("other"), timeout=15))


# ---- calls that another process passed on


def test_s4_a_call_that_was_passed_on_is_counted_and_takes_its_turn(tmp_path: Path) -> None:
    """It ran in the threads of steps, in nobody's share, also when its time was over."""
    config = development(tmp_path, limits={"waiting": 4})
    counters, entered, go = Counters(), threading.Event(), threading.Event()
    pools = Pools(counters, lambda: config.limits)
    peer = Peer("greedy", Transport.DEVELOPMENT, frozenset())

    def hold(request: bytes, peer: Peer, deadline: Deadline) -> bytes:
        entered.set()
        assert go.wait(15)
        return threading.current_thread().name.encode()

    decides = Method(hold, Service.DECISION, passes=True)
    writes = Method(hold, Service.GRANTS, writes=True)
    later = Deadline.after_s(30)
    asked = [_in_thread_of(pools, decides, b"", peer, later) for _ in range(2)]
    assert entered.wait(15)
    with pytest.raises(CallRefused, match="half of all calls that take long"):
        _in_thread_of(pools, decides, b"", peer, later)
    step = _in_thread_of(pools, writes, b"", peer, later)
    late = _in_thread_of(pools, writes, b"", peer, Deadline.after_s(-1))
    with pytest.raises(CallRefused, match="deadline_passed"):
        late.result(15)
    go.set()
    assert {each.result(15) for each in asked} == {b"pdp-computes"}
    assert step.result(15).startswith(b"pdp-waits")
    assert wait_until(lambda: counters.computing.all == counters.waiting.all == 0)
    pools.shutdown()
