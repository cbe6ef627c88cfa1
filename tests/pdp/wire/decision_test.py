"""pdp.v1: what is asked comes through as it was meant, or is refused with a code; what is answered comes back the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pdp
from language import FOREVER, Outcome, RuleError, Source, Span, compile_policies
from pdp.engine.decide import Explanation
from pdp.errors import PdpError
from pdp.model.ask import Ask, Shown, Target
from pdp.model.decision import Decision, Settled
from pdp.wire import client
from pdp.wire.decision import (
    MANY_MAX,
    GateWords,
    read_check,
    read_explain,
    write_check,
    write_many,
    write_result,
)
from pdp.wire.explanation import write_explanation
from pdp.wire.messages import PDP
from pdp.wire.refusals import UNFIT, Unfit
from pdp.wire.strict import MESSAGE_BYTES_MAX
from pdp.wire.values import VALUES_MAX, Values, put, take
from tests.pdp.wire.captures import CHAIN, GATE
from tests.pdp.wire.many import read_many

WORDS = GateWords.of(
    compile_policies([
    Source(
        "p.policy",
        """language 1
entity Table
entity Request from gate { size: Int }
entity Note claimed { size: Int }
entity User
action read on Table, Request, Note { columns: Set<String>? claimed, origin: String? from gate }
allow reads { for User do read on Table }
""",
    )
]).vocabulary)  # fmt: skip

MAY = replace(GATE, users=frozenset({"User"}), location=True)
TOKEN = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"


def question() -> Any:
    message = PDP.CheckRequest(action="read")
    message.resource.type, message.resource.id = "Table", "invoices"
    message.context["columns"].list_value.values.add(string_value="id")
    return message


def asked(change: Callable[[Any], Any] | None = None, gate: Any = None) -> Any:
    message = question()
    if change is not None:
        change(message)
    return read_check(message.SerializeToString(), gate, WORDS)


def test_the_caller_is_the_subject() -> None:
    found = asked()
    assert isinstance(found, Ask)
    assert (found.action, found.resource.type, found.resource.id) == ("read", "Table", "invoices")
    assert found.context == {"columns": ["id"]}
    assert (found.itself, found.shown, found.user) == (True, None, None)


def set_subject(**fields: Any) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        message.subject.SetInParent()
        for name, value in fields.items():
            if isinstance(value, list):
                getattr(message.subject, name).extend(value)
            else:
                setattr(message.subject, name, value)

    return change


def set_user(message: Any, type_name: str = "User") -> None:
    message.subject.user.type, message.subject.user.id = type_name, "ada"


def set_task(**fields: Any) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        message.task.SetInParent()
        for name, value in fields.items():
            setattr(message.task, name, value)

    return change


def set_target(message: Any, digest: bytes | None = b"d" * 32) -> None:
    set_task(grant=TOKEN, proof=TOKEN)(message)
    message.task.target.method, message.task.target.uri = "GET", "https://x/y"
    if digest is not None:
        message.task.target.body_sha256 = digest


def nested(depth: int) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        value = message.context["columns"]
        for _ in range(depth):
            value = value.list_value.values.add()
        value.bool_value = True

    return change


def wide(message: Any) -> None:
    message.context["columns"].list_value.values.extend([PDP.Value(bool_value=True)] * VALUES_MAX)  # and the list itself


def told_of(type_name: str) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        message.resource.type = type_name
        message.resource.attributes.fields["size"].int_value = 1

    return change


def with_time(nanos: int, seconds: int = 0) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        message.context["columns"].time_value.nanos = nanos
        message.context["columns"].time_value.seconds = seconds

    return change


def with_duration(nanos: int, seconds: int = 0) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        message.context["columns"].duration_value.nanos = nanos
        message.context["columns"].duration_value.seconds = seconds

    return change


#: Who asks, what is changed, and the code.
ROWS: dict[str, tuple[Any, Callable[[Any], Any], str]] = {
    "nothing": (None, lambda m: m.Clear(), "missing_field"),
    "no-action": (None, lambda m: m.ClearField("action"), "missing_field"),
    "no-resource": (None, lambda m: m.ClearField("resource"), "missing_field"),
    "resource-without-id": (None, lambda m: m.resource.ClearField("id"), "missing_field"),
    "parent-without-type": (None, lambda m: m.resource.parents.add(id="x"), "missing_field"),
    "reference-without-id": (
        None,
        lambda m: setattr(m.context["columns"].reference_value, "type", "Table"),
        "missing_field",
    ),
    "value-without-kind": (None, lambda m: m.context["columns"].Clear(), "absent_value"),
    "deep": (None, nested(33), "too_deep"),
    "wide": (None, wide, "too_many_values"),
    "time-too-fine": (None, with_time(1), "malformed_value"),
    "time-too-late": (None, with_time(0, 10**15), "malformed_value"),
    "duration-too-fine": (None, with_duration(1), "malformed_value"),
    "duration-of-two-signs": (None, with_duration(-1000, 1), "malformed_value"),
    "duration-too-long": (None, with_duration(0, 10**18), "malformed_value"),
    "subject-by-no-gate": (None, set_subject(token=TOKEN), "unknown_gate"),
    "empty-subject-by-no-gate": (None, set_subject(), "unknown_gate"),
    "location-by-no-gate": (None, lambda m: setattr(m.location, "ip", "10.0.0.1"), "location_not_asserted"),
    "location-by-a-gate-that-may-not": (GATE, lambda m: setattr(m.location, "ip", "10.0.0.1"), "location_not_asserted"),
    "user-by-a-gate-that-may-not": (GATE, set_user, "user_not_asserted"),
    "user-of-another-type": (MAY, lambda m: set_user(m, "Admin"), "user_not_asserted"),
    "from-gate-by-no-gate": (None, lambda m: setattr(m.context["origin"], "string_value", "x"), "value_not_asserted"),
    "attributes-from-gate-by-no-gate": (None, told_of("Request"), "value_not_asserted"),
    "certificates-and-token": (MAY, set_subject(certificates=[CHAIN[0]], token=TOKEN), "conflicting_fields"),
    "user-and-user-token": (
        MAY,
        lambda m: (set_user(m), setattr(m.subject, "user_token", TOKEN)),
        "conflicting_fields",
    ),
    "many-certificates": (MAY, set_subject(certificates=[b"x"] * 9), "too_large"),
    "a-large-certificate": (MAY, set_subject(certificates=[b"x" * 20_000]), "too_large"),
    "token-with-a-newline": (MAY, set_subject(token=TOKEN + "\n"), "malformed_credential"),
    "token-empty": (MAY, set_subject(token=""), "malformed_credential"),
    "token-large": (MAY, set_subject(token="a" * 9000), "credential_too_large"),
    "task-without-grant": (None, set_task(), "missing_field"),
    "proof-without-grant": (None, set_task(proof=TOKEN), "missing_field"),
    "proof-without-target": (None, set_task(grant=TOKEN, proof=TOKEN), "missing_field"),
    "proof-with-short-digest": (None, lambda m: set_target(m, b"d"), "malformed_value"),
    "correlation-empty": (None, lambda m: setattr(m, "correlation_id", ""), "bad_correlation_id"),
    "correlation-with-newline": (None, lambda m: setattr(m, "correlation_id", "a\n"), "bad_correlation_id"),
    "correlation-long": (None, lambda m: setattr(m, "correlation_id", "a" * 129), "bad_correlation_id"),
    "message-too-large": (None, lambda m: setattr(m, "correlation_id", "a" * MESSAGE_BYTES_MAX), "too_large"),
}


@pytest.mark.parametrize("name", ROWS)
def test_refused(name: str) -> None:
    gate, change, code = ROWS[name]
    found = asked(change, gate)
    assert isinstance(found, Unfit), found
    assert found.code == code
    assert found.code in UNFIT


RAW = question().SerializeToString()
TWICE = {
    "action-twice": RAW + PDP.CheckRequest(action="write").SerializeToString(),
    "resource-in-two-parts": RAW + b"\x12\x05\x12\x03abc",
    "name-in-a-record-twice": RAW + b"\x22\x10" + b"\x0a\x07columns\x12\x05\x1a\x03abc",
    "kind-twice": PDP.CheckRequest(action="read").SerializeToString() + b"\x22\x0b\x0a\x01c\x12\x06\x08\x01\x1a\x02ab",
    "number-not-shortest": b"\x8a\x00\x04read" + RAW[6:],
}


@pytest.mark.parametrize("name", TWICE)
def test_what_stands_twice_is_refused(name: str) -> None:
    """Catalogue 50: protobuf alone would believe the last."""
    found = read_check(TWICE[name], None, WORDS)
    assert isinstance(found, Unfit)
    assert found.code == "not_canonical"


def test_what_must_be_understood_is_refused_and_the_rest_ignored() -> None:
    """Catalogue 49."""
    assert isinstance(read_check(RAW + b"\xa2\x06\x01x", None, WORDS), Unfit)  # field 100
    assert isinstance(read_check(RAW + b"\xba\x0c\x01x", None, WORDS), Unfit)  # field 199
    assert isinstance(read_check(RAW + b"\x9a\x06\x01x", None, WORDS), Ask)  # field 99
    inner = b"\x0a" + bytes([len(RAW) + 4]) + RAW + b"\xa2\x06\x01x"
    many = read_many(inner, None, WORDS)
    assert isinstance(many, tuple)
    assert [getattr(m, "code", None) for m in many] == ["must_understand"]
    assert getattr(read_explain(inner, None, WORDS), "code", None) == "must_understand"


def test_what_protobuf_drops_is_not_unseen() -> None:
    """A brother of finding S11: an entry of the context with a field that is not known, and an action that is a number."""
    for more in (b"\x22\x0a" + b"\x0a\x01c" + b"\x12\x02\x08\x01" + b"\x1a\x01?", b"\x08\x07"):
        found = read_check(RAW + more, None, WORDS)
        assert isinstance(found, Unfit)
        assert (found.code, found.message.startswith(UNFIT["malformed"].says)) == ("malformed", True)


@pytest.mark.parametrize("raw", [b"\xff", RAW[:-1], b"\x0b", b"\x0a\x01\xff", b"\x0a" * 5000])
def test_undecodable_bytes(raw: bytes) -> None:
    """Catalogue 51."""
    for read in (read_check, read_many, read_explain):
        found: Any = read(raw, None, WORDS)  # type: ignore[operator]  # three functions of one shape
        assert isinstance(found, Unfit)
        assert found.code in ("malformed", "not_canonical")


def test_deep_messages_do_not_reach_our_recursion() -> None:
    """Catalogue 46: 10,000 levels are refused by the parser, 32 are taken."""
    raw = b"\x08\x01"
    for _ in range(10_000):
        raw = b"\x3a" + _varint(len(raw) + 1 + len(_varint(len(raw)))) + b"\x0a" + _varint(len(raw)) + raw
    raw = b"\x0a\x01c\x12" + _varint(len(raw)) + raw
    found = read_check(RAW + b"\x22" + _varint(len(raw)) + raw, None, WORDS)
    assert isinstance(found, Unfit)
    assert isinstance(asked(nested(30)), Ask)


def _varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def test_what_a_gate_shows() -> None:
    found = asked(lambda m: (set_subject(certificates=list(CHAIN))(m), set_user(m), set_target(m)), MAY)
    assert isinstance(found, Ask)
    assert (found.itself, found.shown, found.user) == (False, Shown(CHAIN, True), pdp.Resource("User", "ada"))
    assert (found.grant, found.proof, found.target) == (TOKEN, TOKEN, Target("GET", "https://x/y", b"d" * 32))
    assert TOKEN not in repr(found)
    leaf = asked(set_subject(certificates=[CHAIN[0]]), MAY)
    assert leaf.shown == Shown(CHAIN[:1], False)
    nobody = asked(set_subject(), MAY)
    assert (nobody.itself, nobody.shown) == (False, None)


def test_a_gate_may_say_what_is_from_gate() -> None:
    found = asked(lambda m: (told_of("Request")(m), setattr(m.context["origin"], "string_value", "x")), MAY)
    assert isinstance(found, Ask)
    assert found.resource.attributes == {"size": 1}
    assert isinstance(asked(told_of("Note")), Ask), "what is claimed may be claimed by anyone"


def test_the_reasons_of_one_do_not_touch_the_others() -> None:
    message = PDP.CheckManyRequest()
    message.requests.add().CopyFrom(question())
    message.requests.add()
    message.requests.add().CopyFrom(question())
    found = read_many(message.SerializeToString(), None, WORDS)
    assert isinstance(found, tuple)
    assert [type(f) for f in found] == [Ask, Unfit, Ask]
    message.requests.extend([question()] * MANY_MAX)
    whole = read_many(message.SerializeToString(), None, WORDS)
    assert isinstance(whole, Unfit)
    assert whole.code == "too_many_items"


# ---- values

leaves = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    st.datetimes(timezones=st.just(UTC)),
    st.timedeltas(timedelta(-10_000), timedelta(10_000)),
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equal and of one type throughout: 1 is not true."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(v, right[k]) for k, v in left.items())
    return bool(left == right)


@given(values)
def test_a_value_comes_back_as_itself(value: Any) -> None:
    message = PDP.Value()
    put(message, value)
    assert same(take(PDP.Value.FromString(message.SerializeToString()), Values()), value)


def test_one_and_true_and_its_text_are_three_values() -> None:
    """Catalogue 32: they differ on the wire, so they differ everywhere."""
    wire = []
    for value in (1, True, "1"):
        message = PDP.Value()
        put(message, value)
        wire.append(message.SerializeToString())
        assert type(take(message, Values())) is type(value)
    assert len(set(wire)) == 3


@pytest.mark.parametrize("value", [1.0, float("nan"), None, 2**63, b"x", object(), datetime(2026, 1, 1), {1: 2}, [1.5]])
def test_what_the_protocol_cannot_say_is_an_error(value: Any) -> None:
    with pytest.raises(pdp.PdpError, match="invalid_request"):
        put(PDP.Value(), value)


def test_a_value_that_contains_itself_is_an_error() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(pdp.PdpError, match="nested"):
        put(PDP.Value(), loop)


# ---- there and back

DECISIONS = [
    Decision(Settled(Outcome(a, r, rule, b, None, n), (), "gen", "feed", until, fresh, bound), 7)
    for a, r, rule, b, n, until, fresh, bound in [
        (True, "allowed", "r1", None, (("owner", "pay"), ("x", None)), 1_767_258_000_123_456, FOREVER, "task"),
        (False, "denied", "r2", "no", (), FOREVER, 1_767_258_000_000_000, None),
        (False, "default_deny", None, None, (), FOREVER, FOREVER, None),
    ]
]


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_decision_comes_back_the_same(decision: Decision) -> None:
    found = client.read_decision(write_check(decision))
    assert found.settled == decision.settled
    assert (found.id, str(found)) == (decision.id, str(decision))
    many = client.read_decisions(write_many([(decision, "c", "p-1"), Unfit("missing_field"), (decision, None, "")]), 3)
    assert [type(m).__name__ for m in many] == ["Decision", "PdpError", "Decision"]
    assert PDP.CheckResult.FromString(write_result((decision, "c", ""))).decision.correlation_id == "c"


def test_errors_are_for_those_who_may_explain() -> None:
    settled = DECISIONS[1].settled._replace(errors=(RuleError("r", "c", "m", Span(Source("", ""), 0, 0)),))
    decision = Decision(settled, 1)
    assert client.read_decision(write_check(decision)).errors == ()
    assert client.read_decision(write_check(decision, explain=True)).errors[0].rule == "r"


@pytest.mark.parametrize("raw", [b"", b"\x0a\x00", b"\x0a\x02\x08\x01", b"\xff", b"\x0a\x04\x12\x02ok"])
def test_an_answer_that_is_none_is_an_error_and_no_denial(raw: bytes) -> None:
    with pytest.raises(pdp.PdpError, match="invalid_answer"):
        client.read_decision(raw)
    with pytest.raises(pdp.PdpError, match="invalid_answer"):
        client.read_decisions(raw, 1)


def test_a_request_comes_through() -> None:
    request = pdp.Request(
        "read", pdp.Resource("Note", "n", {"size": 1}, [("Table", "t")]), user=("User", "ada"), context={"columns": ["id"]}
    )
    raw = client.write_request(request, grant=TOKEN, correlation="c")
    found = read_check(raw, MAY, WORDS)
    assert isinstance(found, Ask)
    assert (found.resource, found.user) == (request.resource, pdp.Resource("User", "ada"))
    assert (found.grant, found.correlation, found.context) == (TOKEN, "c", {"columns": ["id"]})
    assert len(read_many(client.write_requests([request] * 3), MAY, WORDS)) == 3  # type: ignore[arg-type]  # it is fit


@pytest.mark.parametrize(
    "told", [{"workload": "spiffe://a/b"}, {"task": pdp.Task("k", "t")}, {"gate": {"id": "x"}}, {"proof": ["key"]}]
)
def test_what_a_server_verifies_is_not_told_to_it(told: dict[str, Any]) -> None:
    with pytest.raises(pdp.PdpError, match="invalid_request"):
        client.write_request(pdp.Request("read", ("Table", "t"), **told))


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": 1},
        {"action": "\ud800"},
        {"resource": pdp.Resource("Table", 1)},  # type: ignore[arg-type]  # that is the point
        {"resource": "Table"},
        {"user": ("User", "\ud800")},
        {"context": {"a": "\ud800"}},
        {"context": {"\ud800": 1}},
        {"location": {"port": True}},
        {"location": {"ip": 1}},
        {"location": {"host": "x"}},
    ],
)
def test_what_is_no_request_is_an_error_of_ours(wrong: dict[str, Any]) -> None:
    """Catalogue 40: half of a surrogate pair, a number for a text."""
    with pytest.raises(pdp.PdpError, match="invalid_request"):
        client.write_request(pdp.Request(**{"action": "read", "resource": ("Table", "t"), **wrong}))


def test_an_explanation() -> None:
    bundle = compile_policies([Source("p.policy", "language 1\nentity User\nentity Table\naction read on Table\nallow r { for User do read on Table when 1 < 2 because \"x\" }")])  # fmt: skip  # noqa: E501
    engine = pdp.Engine(bundle)
    request = pdp.Request("read", ("Table", "t"), user=("User", "ada"))
    explained = engine.explain(request)
    assert isinstance(explained, Explanation)
    found = PDP.ExplainResponse.FromString(write_explanation(explained, "c"))
    assert (found.decision.allowed, found.decision.correlation_id) == (True, "c")
    assert [(r.rule, r.effect, r.truth, r.place) for r in found.rules] == [("r", "allow", "true", "p.policy:5:1")]
    assert [c.clause for c in found.rules[0].conjuncts]


# ---- how many values (finding S4)


def many_values(where: str, number: int) -> Any:
    """A question with so many values in one place, or with that many in several that are nested."""
    message = question()
    message.context.clear()
    message.resource.type = "Note"
    true = PDP.Value(bool_value=True)
    if where == "list":
        message.context["columns"].list_value.values.extend([true] * (number - 1))
    elif where == "nested":
        for n in range(2):
            inner = message.context["columns"].list_value.values.add().list_value.values
            inner.extend([true] * ((number - 3) // 2 + (n and (number - 3) % 2)))
    elif where == "record":
        record = message.context["columns"].record_value.fields
        for n in range(number - 1):
            record[f"n{n}"].bool_value = True
    elif where == "attributes":
        message.resource.attributes.fields["size"].list_value.values.extend([true] * (number - 1))
    elif where == "parents":
        for n in range(number):
            message.resource.parents.add(type="Table", id=f"t{n}")
    elif where == "user":
        message.subject.user.type, message.subject.user.id = "User", "ada"
        for n in range(number):
            message.subject.user.parents.add(type="Table", id=f"t{n}")
    else:
        message.resource.attributes.fields["size"].list_value.values.extend([true] * (number // 2 - 1))
        message.context["columns"].list_value.values.extend([true] * (number - number // 2 - 1))
    return message


@pytest.mark.parametrize("where", ["list", "nested", "record", "attributes", "parents", "user", "together"])
def test_s4_values_are_counted_wherever_they_stand(where: str) -> None:
    """Finding S4: 10,000 for each list, and no bound for all of them."""
    taken = read_check(many_values(where, VALUES_MAX).SerializeToString(), MAY, WORDS)
    assert isinstance(taken, Ask), taken
    for read, request in (
        (read_check, many_values(where, VALUES_MAX + 1)),
        (read_explain, PDP.ExplainRequest(request=many_values(where, VALUES_MAX + 1))),
    ):
        found = read(request.SerializeToString(), MAY, WORDS)
        assert isinstance(found, Unfit)
        assert found.code == "too_many_values"


def test_s4_values_are_counted_before_they_are_read() -> None:
    """The first of them could not be read."""
    message = many_values("list", VALUES_MAX + 1)
    message.context["columns"].list_value.values[0].Clear()
    found = read_check(message.SerializeToString(), None, WORDS)
    assert isinstance(found, Unfit)
    assert found.code == "too_many_values"


@pytest.mark.parametrize("where", ["context", "resource", "user"])
def test_s4_names_are_compared_before_their_values_are_read(where: str) -> None:
    message = question()
    if where == "context":
        message.context["unknown"].SetInParent()  # a value without a kind: it would be refused as `absent_value`
    elif where == "resource":
        message.resource.type = "Note"
        message.resource.attributes.fields["unknown"].SetInParent()
    else:
        message.subject.user.type, message.subject.user.id = "Note", "ada"
        message.subject.user.attributes.fields["unknown"].SetInParent()
    with pytest.raises(PdpError) as refused:
        read_check(message.SerializeToString(), replace(MAY, users=frozenset({"Note"})), WORDS)
    assert refused.value.code == "invalid_request"
    assert "`unknown` is not declared" in refused.value.message


def test_s4_a_message_has_a_bound_of_its_own() -> None:
    values = Values(10)
    Values(8, of=values).count(8)
    with pytest.raises(Unfit) as refused:
        Values(8, of=values).count(3)
    assert refused.value.code == "too_many_values"
