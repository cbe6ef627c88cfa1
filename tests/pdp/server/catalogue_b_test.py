"""Section B of the catalogue of faults over the wire: bytes on a socket, real handlers behind it, `pdp.v1` and ext_authz.

A gate asks, so that it may say all that can be said. What is told in process has its table in `engine/catalogue_b_test.py`;
the same values are sent here, as far as the protocol can say them, beside what only bytes can say. `ABSENT` says which rows
have no form on the wire at all.
"""

# ruff: noqa: E501  # tables are read a row a line; the odd letters are the point
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

import pdp
from pdp.server.native import MESSAGE_BYTES_HARD
from pdp.server.table import make_handlers
from pdp.wire.client import write_request
from pdp.wire.messages import ENVOY, PDP
from pdp.wire.refusals import UNFIT
from pdp.wire.values import VALUES_MAX, put
from tests.pdp.engine import catalogue_b_test as in_process
from tests.pdp.identity.world import HOUR, key
from tests.pdp.server.grants_world import DECISIONS, ENVOY_CHECK
from tests.pdp.server.raw import field, varint
from tests.pdp.server.world import DOMAIN, GATE, STRANGER, Identities, call, channel, code_of, now_us, production, running
from tests.pdp.wire.answers import taken
from tests.pdp.wire.captures import encoded

API = f"spiffe://{DOMAIN}/billing/api"
POLICY = f"""{in_process.POLICY}
action zero, more, unlessmore on Doc {{ n: Int? claimed }}
action tagged, bare on Doc {{ tags: Set<String>? claimed, s: String? claimed, ip: Ip? claimed }}
action say on Doc {{ s: String claimed }}
allow ok {{ for User do read, write on Doc, Page }}
allow notes {{ for User do read on Note }}
allow zero {{ for User do zero on Doc when context has n and context.n == 0 trusting context.n }}
allow more {{ for User do more on Doc when context has n and context.n + 1 > 0 trusting context.n }}
allow all {{ for User do unlessmore on Doc }}
@escapable("a caller may say nothing")
deny some {{ do unlessmore on Doc when context has n and context.n + 1 < 0 trusting context.n }}
allow tagged {{ for User do tagged on Doc when context has tags and context.tags.contains("admin") trusting context.tags }}
allow bare {{ for User do bare on Doc when not (context has tags) and not (context has s) trusting context.s, context.tags }}
allow inside {{ for User do tagged on Doc when context has ip and context.ip in cidr("10.0.0.0/8") trusting context.ip }}
allow admin {{ for User do say on Doc when context.s == "admin" trusting context.s }}
allow door {{ who spiffe://{DOMAIN}/billing/* do read on Page }}
allow tables {{ who spiffe://{DOMAIN}/billing/* do say on Doc "d", Doc "caf\u00e9" when context.s == "x" trusting context.s }}
routes http "api.acme.internal" {{
  GET /pages/{{id}} -> read on Page(path.id)
  GET /docs/{{id}} -> say on Doc(path.id) {{ s: query.s }}
}}
"""


@dataclass
class Point:
    """A server with two callers: a gate that may say everything, and one that speaks for itself."""

    gate: grpc.Channel
    itself: grpc.Channel
    certificate: str
    identities: Identities

    def native(self, raw: bytes, method: str = "Check", by: grpc.Channel | None = None, **more: Any) -> str:
        """`allowed` or the reason of a denial; status and code of what is no decision."""
        try:
            answer = call(by or self.gate, DECISIONS + method, raw, **more)
        except grpc.RpcError as error:
            return code_of(error)
        if method == "CheckMany":
            results = PDP.CheckManyResponse.FromString(answer).results
            return " ".join(r.error.code or r.decision.reason for r in results)
        decision = PDP.CheckResponse.FromString(answer).decision
        assert decision.allowed == (decision.reason == "allowed")
        return str(decision.reason)

    def envoy(self, raw: bytes, **more: Any) -> str:
        """The same of ext_authz: always an answer, with gRPC status OK, that Envoy takes for a denial unless it allows."""
        found = taken(call(self.gate, ENVOY_CHECK, raw, **more))
        assert found.allowed == (found.metadata["reason"] == "allowed")
        assert found.allowed or found.status >= 400
        return found.metadata["reason"]


@pytest.fixture(scope="module")
def point(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Point]:
    folder = tmp_path_factory.mktemp("wire")
    identities = Identities(folder)
    config = production(
        folder,
        identities,
        peps={GATE: {"domains": [DOMAIN], "users": ["*"], "location": True, "vouches": True, "destinations": [STRANGER]}},
        roles={"decision": [API]},
        limits={"deadline": "10s", "drain": "2s"},
    )
    (folder / "policies" / "app.policy").write_text(POLICY)
    (folder / "policies" / "data").mkdir()
    (folder / "policies" / "data" / "d.ndjson").write_text('{"type":"User","id":"ada","attributes":{"level":1}}\n')
    with (
        running(config, make_handlers) as server,
        channel(server.address, identities.credentials(GATE)) as gate,
        channel(server.address, identities.credentials(API)) as itself,
    ):
        pem = (folder / "callers" / "api" / "svid.pem").read_bytes()
        yield Point(gate, itself, encoded(_leaf(pem)), identities)


def _leaf(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificate

    return load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


# ---- messages


def question(action: str = "read", **context: Any) -> Any:
    """By the gate, for the user ada; allowed."""
    message = PDP.CheckRequest(action=action)
    message.resource.type, message.resource.id = "Doc", "d"
    message.subject.user.type, message.subject.user.id = "User", "ada"
    for name, value in context.items():
        put(message.context[name], value)
    return message


def plain(action: str = "read", kind: str = "Doc") -> bytes:
    """Without a subject: the caller's own question."""
    message = PDP.CheckRequest(action=action)
    message.resource.type, message.resource.id = kind, "d"
    return bytes(message.SerializeToString())


def valued(name: str, value: bytes, action: str = "read") -> bytes:
    """A question with one value of the context in bytes of one's own."""
    return bytes(question(action).SerializeToString()) + field(4, field(1, name.encode()) + field(2, value))


def checking(path: str = "/docs/d?s=x", certificate: str = "", **headers: str) -> Any:
    message = ENVOY.CheckRequest()
    message.attributes.source.certificate = certificate
    message.attributes.destination.principal = STRANGER
    http = message.attributes.request.http
    http.method, http.host, http.path, http.scheme = "GET", "api.acme.internal", path, "https"
    http.headers.update({":path": path, ":method": "GET", ":authority": "api.acme.internal", **headers})
    return message


# ---- the neighbours of all that follows


def test_the_neighbours_are_allowed(point: Point) -> None:
    assert point.native(question().SerializeToString()) == "allowed"
    assert point.native(plain(kind="Page"), by=point.itself) == "allowed"
    assert point.native(valued("n", b"\x10\x01")) == "allowed"
    assert point.envoy(checking(certificate=point.certificate).SerializeToString()) == "allowed"
    for name, value in in_process.NEIGHBOURS.items():
        assert point.native(question(**{name: value}).SerializeToString()) == "allowed", name


# ---- values that the protocol can say, and that are not of their type


def sayable(value: Any) -> bool:
    try:
        put(PDP.Value(), value)
    except (pdp.PdpError, ValueError):
        return False
    return True


SENT = [(row, n, v) for row, n, v in in_process.VALUES if sayable(v)]
#: What a value that is not of its type is told as: by the vocabulary, by the reader of values, by the size of the message.
WRONG = {
    "INVALID_ARGUMENT invalid_request",
    "INVALID_ARGUMENT too_many_values",
    "INVALID_ARGUMENT too_large",
    "RESOURCE_EXHAUSTED too_large",
    "RESOURCE_EXHAUSTED",  # beyond what grpcio takes: 50 MB
}


@pytest.mark.parametrize(("name", "value"), [pytest.param(n, v, id=f"{row}-{n}-{i}") for i, (row, n, v) in enumerate(SENT)])
def test_a_value_that_is_not_of_its_type(point: Point, name: str, value: Any) -> None:
    raw = question(**{name: value}).SerializeToString()
    assert point.native(raw) in WRONG
    assert point.native(question().SerializeToString()) == "allowed"  # and the process lives


def test_what_cannot_be_said_is_said_to_whoever_asks() -> None:
    """28, 29, 32, 35, 40: no double, no null, no surrogate and no number beyond 64 bits has a form in `pdp.v1`."""
    unsayable = {row.split("-")[0] for row, n, v in in_process.VALUES if not sayable(v)}
    assert {"28", "29", "31", "35"} <= unsayable
    for _, name, value in [v for v in in_process.VALUES if not sayable(v[2])]:
        with pytest.raises(pdp.PdpError):
            write_request(pdp.Request("read", ("Doc", "d"), context={name: value}))


#: Row, bytes, answer. Each is one thing away from a question that is allowed.
BYTES: list[tuple[str, bytes, str]] = [
    ("26-dup-keys", valued("n", b"\x10\x00") + field(4, field(1, b"n") + field(2, b"\x10\x01")), "INVALID_ARGUMENT not_canonical"),
    ("26-dup-keys-in-a-record", valued("m", field(8, field(1, field(1, b"a") + field(2, b"\x1a\x01b")) * 2)), "INVALID_ARGUMENT not_canonical"),
    ("27-case-keys", valued("N", b"\x10\x01"), "INVALID_ARGUMENT invalid_request"),
    ("27-case-keys-both", valued("n", b"\x10\x01") + field(4, field(1, b"N") + field(2, b"\x10\x01")), "INVALID_ARGUMENT invalid_request"),
    ("28-double", valued("n", b"\x11" + bytes(8)), "INVALID_ARGUMENT absent_value"),  # a field of 64 fixed bits
    ("28-double-of-a-new-kind", valued("n", b"\x49" + b"\0\0\0\0\0\0\xf8\x7f"), "INVALID_ARGUMENT absent_value"),
    ("29-bigint", valued("n", b"\x10" + b"\xff" * 2100 + b"\x01"), "INVALID_ARGUMENT malformed"),
    ("31-int-overflow", valued("n", b"\x10" + b"\xff" * 10 + b"\x01"), "INVALID_ARGUMENT malformed"),  # 77 bits
    ("31-int-overflow-in-ten-bytes", valued("n", b"\x10" + b"\xff" * 9 + b"\x7f"), "INVALID_ARGUMENT not_canonical"),
    ("31-int-overflow-beside-the-sign", valued("n", b"\x10" + b"\x80" * 9 + b"\x03"), "INVALID_ARGUMENT not_canonical"),
    ("31-int-overflow-neighbour", valued("n", b"\x10" + b"\x80" * 9 + b"\x01"), "allowed"),
    ("31-int-overflow-neighbour-of-letters", valued("s", field(3, "привет мир, привет".encode())), "allowed"),
    ("31-int-overflow-in-a-duration", valued("wait", field(5, b"\x08" + b"\xff" * 9 + b"\x7f")), "INVALID_ARGUMENT not_canonical"),
    ("31-time-overflow", valued("at", field(4, b"\x08" + varint(2**63 - 1))), "INVALID_ARGUMENT malformed_value"),
    ("31-duration-overflow", valued("wait", field(5, b"\x08" + varint(2**63 - 1))), "INVALID_ARGUMENT malformed_value"),
    ("32-true-for-an-int", valued("n", b"\x08\x01"), "INVALID_ARGUMENT invalid_request"),
    ("32-one-for-a-bool", valued("b", b"\x10\x01"), "INVALID_ARGUMENT invalid_request"),
    ("32-text-for-an-int", valued("n", field(3, b"1")), "INVALID_ARGUMENT invalid_request"),
    ("32-two-kinds", valued("n", b"\x10\x01\x08\x01"), "INVALID_ARGUMENT not_canonical"),
    ("33-neg-zero", valued("n", field(3, b"-0")), "INVALID_ARGUMENT invalid_request"),
    ("34-string-vs-list", valued("tags", field(3, b"admin")), "INVALID_ARGUMENT invalid_request"),
    ("34-list-vs-string", valued("s", field(7, field(1, field(3, b"x")))), "INVALID_ARGUMENT invalid_request"),
    ("35-null", valued("n", b""), "INVALID_ARGUMENT absent_value"),
    ("35-null-in-a-list", valued("tags", field(7, field(1, b""))), "INVALID_ARGUMENT absent_value"),
    ("35-no-value-at-all", bytes(question().SerializeToString()) + field(4, field(1, b"n")), "INVALID_ARGUMENT not_canonical"),
    ("35-missing", bytes(question("write").SerializeToString()), "INVALID_ARGUMENT invalid_request"),
    ("40-surrogate", valued("s", field(3, b"\xed\xa0\x80")), "INVALID_ARGUMENT malformed"),
    ("40-overlong", valued("s", field(3, b"\xc0\xaf")), "INVALID_ARGUMENT malformed"),
    ("49-must-understand", bytes(question().SerializeToString()) + field(100, b"x"), "INVALID_ARGUMENT must_understand"),
    ("49-the-last-of-them", bytes(question().SerializeToString()) + field(199, b"x"), "INVALID_ARGUMENT must_understand"),
    ("49-neighbour", bytes(question().SerializeToString()) + field(99, b"x"), "allowed"),
    ("50-dup-scalar", bytes(question().SerializeToString()) + field(1, b"write"), "INVALID_ARGUMENT not_canonical"),
    ("50-dup-same-scalar", bytes(question().SerializeToString()) + field(1, b"read"), "INVALID_ARGUMENT not_canonical"),
    ("50-merged-submessage", bytes(question().SerializeToString()) + field(2, field(2, b"other")), "INVALID_ARGUMENT not_canonical"),
    ("50-number-not-shortest", b"\x8a\x00" + bytes(question().SerializeToString())[1:], "INVALID_ARGUMENT not_canonical"),
    ("51-wrong-type", b"\x08\x01" + bytes(question().SerializeToString())[6:], "INVALID_ARGUMENT malformed"),
    ("51-truncated", bytes(question().SerializeToString())[:-1], "INVALID_ARGUMENT malformed"),
    ("51-group", b"\x0b", "INVALID_ARGUMENT malformed"),
    ("51-end-of-no-group", bytes(question().SerializeToString()) + b"\x0c", "INVALID_ARGUMENT malformed"),
    ("51-invalid-utf8", field(1, b"re\xffd"), "INVALID_ARGUMENT malformed"),
    ("51-field-zero", bytes(question().SerializeToString()) + b"\x02\x01x", "INVALID_ARGUMENT malformed"),
    ("53-empty", b"", "INVALID_ARGUMENT missing_field"),
    ("53-only-an-action", field(1, b"read"), "INVALID_ARGUMENT missing_field"),
    ("53-only-a-subject", field(3, b""), "INVALID_ARGUMENT missing_field"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "answer"), [pytest.param(r, a, id=i) for i, r, a in BYTES])
def test_bytes(point: Point, raw: bytes, answer: str) -> None:
    assert point.native(raw) == answer
    code = answer.split()[-1]
    if code in UNFIT:  # the same within many, which are unfit one by one, or as a whole where it cannot be parsed
        found = point.native(field(1, raw), "CheckMany")
        assert found == code or found == f"INVALID_ARGUMENT {code}"
    assert point.native(question().SerializeToString()) == "allowed"


def changed(**of_message: Any) -> Callable[[Any], None]:
    """Fields by their way: `resource__id="x"`."""

    def change(message: Any) -> None:
        for way, value in of_message.items():
            place = message
            *steps, last = way.split("__")
            for step in steps:
                place = getattr(place, step)
            setattr(place, last, value)

    return change


NO = "INVALID_ARGUMENT invalid_request"
FIELDS: list[tuple[str, Callable[[Any], None], str]] = [
    *[(f"{row}-user-{text!a}", changed(subject__user__id=text), NO) for row, text in (("36-nfc", "e\u0301"), ("39-bidi", "a\u202e"), ("39-zero-width", "a\u200b"), ("39-bom", "\ufeffa"), ("41-newline", "ada\n"), ("41-nul", "ada\x00"), ("47-wide", "x" * 2049))],
    *[(f"{row}-resource-{text!a}", changed(resource__id=text), NO) for row, text in (("36-nfc", "e\u0301"), ("39-bidi", "a\u202e"), ("39-zero-width", "a\u200b"), ("41-newline", "d\n"))],
    ("39-parent", lambda m: (changed(resource__type="Note")(m), m.resource.parents.add(type="Team", id="a\u202e")), NO),
    ("35-empty-id", changed(resource__id=""), "INVALID_ARGUMENT missing_field"),
    ("36-nfc-neighbour", changed(resource__id="\u00e9"), "allowed"),
    ("37-confusable-action", changed(action="re\u0430d"), "unknown_action"),
    ("37-confusable-type", changed(resource__type="D\u043ec"), "unknown_type"),
    ("38-case-action", changed(action="Read"), "unknown_action"),
    ("38-case-type", changed(resource__type="doc"), "unknown_type"),
    ("41-newline-action", changed(action="read\n"), "unknown_action"),
    ("45-location-zeros", changed(location__ip="010.0.0.1"), NO),
    ("45-location-scope", changed(location__ip="fe80::1%eth0"), NO),
    ("45-location-short", changed(location__ip="10.1"), NO),
    ("45-location-neighbour", changed(location__ip="::ffff:10.0.0.1"), "allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "answer"), [pytest.param(c, a, id=i) for i, c, a in FIELDS])
def test_a_field(point: Point, change: Callable[[Any], None], answer: str) -> None:
    message = question()
    change(message)
    assert point.native(message.SerializeToString()) == answer


#: Row, action, what is allowed, and what is another value or none.
TWO: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("31-overflow-in-an-allow", "more", {"n": 1}, {"n": 2**63 - 1}),
    ("31-overflow-in-a-deny", "unlessmore", {"n": 1}, {"n": 2**63 - 1}),
    ("32-zero-is-not-false", "zero", {"n": 0}, {"n": 1}),
    ("33-zero", "zero", {"n": -0}, {"n": -1}),
    ("34-no-substrings", "tagged", {"tags": ["admin"]}, {"tags": ["administrator"]}),
    ("35-empty-list-is-not-absent", "bare", {}, {"tags": []}),
    ("35-empty-text-is-not-absent", "bare", {}, {"s": ""}),
    ("36-values-are-not-normalised", "say", {"s": "admin"}, {"s": "admi\u0301n"}),
    ("37-confusable", "say", {"s": "admin"}, {"s": "\u0430dmin"}),
    ("38-case", "say", {"s": "admin"}, {"s": "Admin"}),
    ("38-dotless", "say", {"s": "admin"}, {"s": "adm\u0131n"}),
    ("39-zero-width", "say", {"s": "admin"}, {"s": "admin\u200b"}),
    ("41-newline", "say", {"s": "admin"}, {"s": "admin\n"}),
    ("42-dot", "say", {"s": "admin"}, {"s": "adm.n"}),
    ("43-redos", "say", {"s": "admin"}, {"s": "a" * 65_536}),
    ("45-mapped", "tagged", {"ip": "::ffff:10.0.0.1"}, {"ip": "::10.0.0.1"}),
]


@pytest.mark.parametrize(("action", "yes", "no"), [pytest.param(a, y, n, id=i) for i, a, y, n in TWO])
def test_a_value_is_that_value_and_no_other(point: Point, action: str, yes: dict[str, Any], no: dict[str, Any]) -> None:
    for _ in range(2):  # and from the cache
        assert point.native(question(action, **yes).SerializeToString()) == "allowed"
        assert point.native(question(action, **no).SerializeToString()) in ("default_deny", "deny_error", "denied", "error")


@pytest.mark.parametrize(
    ("caller", "answer"),
    [("billing/api", "allowed"), ("billing/api/x", "default_deny"), ("billing", "default_deny"), ("billingx/api", "default_deny"), ("BILLING/api", "default_deny")],
    ids=lambda v: f"44-{v}",
)  # fmt: skip
def test_44_a_star_is_one_segment(point: Point, caller: str, answer: str) -> None:
    message = question()
    message.ClearField("subject")
    message.resource.type = "Page"
    message.subject.certificates.append(_certificate(point, caller))
    assert point.native(message.SerializeToString()) == answer


def _certificate(point: Point, path: str) -> bytes:
    return point.identities.domain.certificates(f"spiffe://{DOMAIN}/{path}", key().public_key(), now_us(), HOUR)[0]


def nested(levels: int) -> bytes:
    value = b"\x10\x01"
    for _ in range(levels):
        value = field(7, field(1, value))
    return value


@pytest.mark.parametrize(
    ("levels", "answer"),
    [(31, NO), (32, NO), (33, "INVALID_ARGUMENT too_deep"), (40, "INVALID_ARGUMENT too_deep"), (10_000, "INVALID_ARGUMENT malformed")],
)  # fmt: skip
def test_46_deep(point: Point, levels: int, answer: str) -> None:
    assert point.native(valued("n", nested(levels))) == answer
    assert point.native(question().SerializeToString()) == "allowed"


@pytest.mark.parametrize(
    ("row", "raw", "answer"),
    [
        ("47-wide-list", valued("nums", field(7, field(1, b"\x10\x01") * (VALUES_MAX + 1))), "INVALID_ARGUMENT too_many_values"),
        ("47-wide-context", bytes(question(**{f"k{i}": 1 for i in range(VALUES_MAX + 1)}).SerializeToString()), "INVALID_ARGUMENT too_many_values"),
        ("47-message", bytes(question(s="x" * 262_144).SerializeToString()), "RESOURCE_EXHAUSTED too_large"),
        ("47-50-MB", valued("s", field(3, b"x" * 50_000_000)), "RESOURCE_EXHAUSTED"),
        ("48-hash-flood", bytes(question(nums=[i * (2**61 - 1) for i in range(-2, 3)] * 300).SerializeToString()), NO),
    ],
    ids=lambda v: v if isinstance(v, str) and v[:2].isdigit() else "",
)  # fmt: skip
def test_47_wide(point: Point, row: str, raw: bytes, answer: str) -> None:
    assert point.native(raw) == answer
    assert point.native(question().SerializeToString()) == "allowed"


@pytest.mark.parametrize("count", [1000, 1001])
def test_47_many_questions(point: Point, count: int) -> None:
    raw = PDP.CheckManyRequest(requests=[question("read")] * count).SerializeToString()
    expected = " ".join(["allowed"] * count) if count == 1000 else "INVALID_ARGUMENT too_many_items"
    assert point.native(raw, "CheckMany") == expected


@pytest.mark.parametrize("size", [300_000, 50_000_000], ids=["52-above-ours", "52-above-grpcios"])
def test_52_gzip_bomb(point: Point, size: int) -> None:
    """What counts is what it becomes: 50 kB on the wire. A gate is told no in words below what grpcio itself takes."""
    raw = bytes(question(s="x" * size).SerializeToString())
    small = bytes(question(s="x" * 1000).SerializeToString())
    packed = {"compression": grpc.Compression.Gzip}
    assert point.native(small, **packed) == "allowed"
    assert point.native(raw, **packed).split()[0] == "RESOURCE_EXHAUSTED"
    asked = checking(certificate=point.certificate, accept="x" * size).SerializeToString()
    if size < MESSAGE_BYTES_HARD:
        assert point.envoy(asked, **packed) == "too_large"
    else:  # no handler sees it, and the gate's own failure mode is what decides: it has to be a denial
        with pytest.raises(grpc.RpcError) as ended:
            point.envoy(asked, **packed)
        assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert point.native(question().SerializeToString()) == "allowed"


@pytest.mark.parametrize("subject", [b"", field(3, b"")], ids=["53-no-subject", "53-empty-subject"])
def test_53_nobody_is_nobody(point: Point, subject: bytes) -> None:
    """The gate itself, or nobody: never whoever was asked about before."""
    answer = point.native(plain() + subject)
    assert answer in ("default_deny", "no_subject")


def test_a_caller_that_is_no_gate_says_nothing_of_others(point: Point) -> None:
    assert point.native(plain(kind="Page"), by=point.itself) == "allowed"
    assert point.native(question().SerializeToString(), by=point.itself) == "PERMISSION_DENIED unknown_gate"
    assert (
        point.native(plain() + field(4, field(1, b"n") + field(2, b"\x10\x01")), by=point.itself)
        == "PERMISSION_DENIED value_not_asserted"
    )


# ---- ext_authz


HTTP: list[tuple[str, Callable[[Any], Any], str]] = [
    ("30-int-forms-are-texts", lambda m: path(m, "/docs/d?s=%31"), "default_deny"),
    ("35-missing", lambda m: path(m, "/docs/d"), "missing_value"),
    ("35-empty-is-not-absent", lambda m: path(m, "/docs/d?s="), "default_deny"),
    ("36-nfc", lambda m: path(m, "/docs/caf%65%CC%81?s=x"), "malformed_value"),
    ("36-nfc-neighbour", lambda m: path(m, "/docs/caf%C3%A9?s=x"), "allowed"),
    ("37-confusable", lambda m: path(m, "/docs/%D4%81?s=x"), "default_deny"),
    ("38-case", lambda m: path(m, "/docs/D?s=x"), "default_deny"),
    ("39-bidi", lambda m: path(m, "/docs/d%E2%80%AE?s=x"), "malformed_path"),
    ("39-zero-width", lambda m: path(m, "/docs/d%E2%80%8B?s=x"), "malformed_path"),
    ("40-surrogate", lambda m: path(m, "/docs/%ED%A0%80?s=x"), "malformed_path"),
    ("41-newline", lambda m: path(m, "/docs/d%0A?s=x"), "malformed_path"),
    ("41-newline-in-a-value", lambda m: path(m, "/docs/d?s=x%0A"), "default_deny"),
    ("42-dot-of-a-host", lambda m: host(m, "apixacmexinternal"), "no_route"),
    ("43-redos", lambda m: path(m, "/docs/" + "a" * 8000 + "?s=x"), "malformed_value"),
    ("44-empty-segment", lambda m: path(m, "/docs/?s=x"), "non_canonical_path"),
    ("44-two-segments", lambda m: path(m, "/docs/d/e?s=x"), "no_route"),
    ("47-large", lambda m: m.attributes.request.http.headers.update({"accept": "x" * 262_144}), "too_large"),
    ("49-unknown-field", lambda m: m.MergeFromString(field(1, field(199, b"x")) + field(100, b"x")), "allowed"),
    ("53-empty", lambda m: m.Clear(), "empty_request"),
    ("53-no-certificate", lambda m: m.attributes.source.Clear(), "no_subject"),
]  # fmt: skip


def path(message: Any, told: str) -> None:
    http = message.attributes.request.http
    http.path = http.headers[":path"] = told


def host(message: Any, told: str) -> None:
    http = message.attributes.request.http
    http.host = http.headers[":authority"] = told


@pytest.mark.parametrize(("change", "answer"), [pytest.param(c, a, id=i) for i, c, a in HTTP])
def test_ext_authz(point: Point, change: Callable[[Any], Any], answer: str) -> None:
    message = checking(certificate=point.certificate)
    change(message)
    assert point.envoy(message.SerializeToString()) == answer


@pytest.mark.parametrize(
    "raw",
    [b"\xff", b"\x0b", b"\x0a\x05ab", field(1, field(4, field(2, field(5, b"/\xff")))), field(1, nested(10_000))],
    ids=["51-no-tag", "51-group", "51-truncated", "51-invalid-utf8", "46-deep"],
)
def test_51_ext_authz_of_what_cannot_be_parsed(point: Point, raw: bytes) -> None:
    """Status OK, and a denial: an error would leave it to `failure_mode_allow`."""
    assert point.envoy(raw) in ("malformed", "empty_request")


# ---- which rows there are


#: Rows that have no form here, and why.
ABSENT = {
    30: "a number on the wire is a number; its forms as texts are rows of VALUES, and routes convert nothing",
}


def test_every_row_is_asked() -> None:
    named = [
        *[r[0] for r in SENT],
        *[r[0] for r in BYTES],
        *[r[0] for r in FIELDS],
        *[r[0] for r in TWO],
        *[r[0] for r in HTTP],
    ]
    numbers = {int(name.split("-")[0]) for name in named} | {44, 46, 47, 48, 51, 52, 53}
    assert numbers == set(range(26, 54))
    assert ABSENT.keys() <= numbers
