"""Entries as lines: one encoding, no secret in it, back again, and the same answer when decided again."""

from __future__ import annotations

import dataclasses
import json
import string
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pdp
from language import RowData
from pdp.record import (
    BINDING_REASONS,
    Circumstances,
    Decided,
    Kind,
    Masking,
    Notice,
    ReuseCounts,
    Step,
    SuspendAfter,
    is_due,
)
from pdp.record.canonical import canonical
from pdp.record.encode import ENTRY_BYTES_MAX, encode
from pdp.record.encoder import Encoder
from pdp.record.line import START, make_line, parse_line
from pdp.record.reading import read_entry, touched
from pdp.record.replay import DIFFERS, NOT_REPLAYABLE, OTHER_GENERATION, SAME, replay
from pdp.record.token_shapes import _NAMES, HINTS, find_tokens, may_hold_token
from pdp.record.values import Lost, show, tell, tell_fields, untell
from tests.pdp.record.world import AGENT, MASKING, NOW, POLICY, REQUESTS, TASK, World, bundle

WORLD = World()

JWT = "eyJhbGciOiJFUzI1NiIsInR5cCI6InRhc2stZ3JhbnQrand0In0.eyJqdGkiOiJjYW5hcnktMTIzIn0.c2lnbmF0dXJlLW9mLXRoZS1jYW5hcnk"
PEM = (
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIFNlY3JldENhbmFyeVNlY3JldENhbmFyeVNlYw==\n-----END PRIVATE KEY-----\n"
)
TOKENS = {
    "jwt": (JWT, JWT.split(".")[1]),
    "jwe": ("eyJhbGciOiJkaXIifQ..aXZpdml2aXZpdg.Y2lwaGVydGV4dA.dGFndGFndGFn", "Y2lwaGVydGV4dA"),
    "spaced jwt": ("ewogICJhbGciOiAiRVMyNTYiCn0.eyJqdGkiOiJjYW5hcnktMTIzIn0.c2lnc2lnc2ln", "eyJqdGkiOiJjYW5hcnktMTIzIn0"),
    "pem": (PEM, "MC4CAQAwBQYDK2VwBCIEIFNl"),
    "half a pem": (PEM[:70], "MC4CAQAwBQYDK2VwBCIEIFNl"),
    "bearer": ("Authorization: Bearer canary-0123456789", "canary-0123456789"),
    "basic": ("Basic Y2FuYXJ5OmNhbmFyeQ==", "Y2FuYXJ5OmNhbmFyeQ"),
    # Finding F3: behind a letter, digit, `-`, `_` or an encoding; in other forms; keys of services.
    "jwt behind a dash": (f"session-{JWT}", JWT.split(".")[1]),
    "jwt behind an underscore": (f"jwt_{JWT}", JWT.split(".")[1]),
    "jwt behind a letter": (f"A{JWT}", JWT.split(".")[1]),
    "jwt behind a digit": (f"7{JWT}", JWT.split(".")[1]),
    "jwt in a query": (f"token%3D{JWT}", JWT.split(".")[1]),
    "jwt behind an encoded space": (f"Bearer%20{JWT}", JWT.split(".")[1]),
    "jwt with encoded dots": (JWT.replace(".", "%2E"), JWT.split(".")[1]),
    "jwt encoded twice": (JWT.replace(".", "%252e"), JWT.split(".")[1]),
    "jwt in the json form": (
        '{{"payload":"{1}","protected":"{0}","signature":"{2}"}}'.format(*JWT.split(".")),
        JWT.split(".")[1],
    ),
    "signature in the json form": ('{{"signature": "{2}"}}'.format(*JWT.split(".")), JWT.split(".")[2]),
    "part of a jwt": (JWT.split(".")[1] + "eyJ", JWT.split(".")[1]),
    "folded jwt": (JWT[:30] + "\r\n  " + JWT[30:75] + "\n\t" + JWT[75:], JWT[40:70]),
    "folded at a dot": (JWT.replace(".", ".\n  "), JWT.split(".")[1]),
    "spaced jwt behind a letter": (
        "xewogICJhbGciOiAiRVMyNTYiCn0.eyJqdGkiOiJjYW5hcnktMTIzIn0.c2ln",
        "eyJqdGkiOiJjYW5hcnktMTIzIn0",
    ),
    "paseto": ("v4.public.Y2FuYXJ5Y2FuYXJ5", "Y2FuYXJ5Y2FuYXJ5"),
    "bearer and a colon": ("bearer: canary-0123456789", "canary-0123456789"),
    "bearer in odd letters": ("BeArEr canary-0123456789", "canary-0123456789"),
    "bearer and a tab": ("Bearer\tcanary-0123456789", "canary-0123456789"),
    "bearer and encoded": ("Bearer%20canary-0123456789", "canary-0123456789"),
    "basic in odd letters": ("bASIC\tY2FuYXJ5OmNhbmFyeQ==", "Y2FuYXJ5OmNhbmFyeQ"),
    "userinfo without a password": ("https://canary-0123456789@db.example/x", "canary-0123456789"),
    "userinfo, encoded": ("https%3A%2F%2Fapp:canary-pass%40db.example%2Fx", "canary-pass"),
    "pem, encoded": ("-----BEGIN%20PRIVATE%20KEY-----%0AMC4CAQAwBQYDK2VwBCIEIFNl", "MC4CAQAwBQYDK2VwBCIEIFNl"),
    "pem as a form": ("-----BEGIN+RSA+PRIVATE+KEY-----MC4CAQAwBQYDK2VwBCIEIFNl", "MC4CAQAwBQYDK2VwBCIEIFNl"),
    "openai": ("sk-proj-canary0123456789canary", "canary0123456789"),
    "google": ("key AIzaSyCanary0123456789canary0123456789", "Canary0123456789"),
    "google oauth": ("ya29.a0canary0123456789", "canary0123456789"),
    "aws": ("id=AKIACANARY0123456789", "CANARY0123456789"),
    "aws secret": ("aws_secret_access_key = canary/0123456789+canary", "canary/0123456789"),
    "slack": ("xoxb-12345-canary0123456789", "canary0123456789"),
    "slack hook": ("https://hooks.slack.com/services/T01/B01/canary0123456789", "canary0123456789"),
    "npm": ("//r/:_authToken=npm_canary0123456789canary0123456789", "canary0123456789"),
    "pypi": ("pypi-AgEIcanary0123456789", "canary0123456789"),
    "gitlab": ("glpat-canary0123456789", "canary0123456789"),
    "stripe": ("sk_live_canary0123456789", "canary0123456789"),
    "vault": ("hvs.canary0123456789", "canary0123456789"),
    "a query": ("/x?page=1&access_token=canary0123456789&y=2", "canary0123456789"),
    "json in a text": ('{"password": "canary0123456789"}', "canary0123456789"),
    "url": ("postgres://app:canary-pass@db.example/x", "canary-pass"),
    "github": ("ghp_canary0123456789canary0123456789", "canary0123456789"),
}


def hostile_strings() -> st.SearchStrategy[str]:
    nasty = st.sampled_from(
        [
            "\n",
            "\r\n",
            "\x00",
            "\x1b[2J",
            "\x7f",
            "\u2028",
            "\u202e",
            "\ud800",
            "\udfff",
            '"',
            "\\",
            "$masked",
            "$",
            "$$x",
            "😀",
        ]
    )
    return st.lists(st.one_of(nasty, st.text(max_size=8)), max_size=6).map("".join)


def values() -> st.SearchStrategy[Any]:
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        hostile_strings(),
        st.floats(),
        st.binary(max_size=20),
        st.ip_addresses(),
        st.sampled_from([ip_network("10.0.0.0/8"), object(), type, MappingProxyType({"a": 1})]),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=4).map(tuple),
            st.dictionaries(st.one_of(hostile_strings(), st.integers()), inner, max_size=4),
            st.frozensets(st.one_of(hostile_strings(), st.integers()), max_size=4),
        ),
        max_leaves=12,
    )


def round_trip(text: str) -> dict[str, Any]:
    """Through a line, as it would stand on disk."""
    raw, head = make_line(START, Kind.DECISION, text)
    assert raw.count(b"\n") == 1
    assert raw.isascii()
    assert b"\x7f" not in raw
    line = parse_line(raw)
    assert line is not None
    assert (line.seq, line.hash) == (0, head.hash)
    assert line.hangs_on("0" * 64)
    data = line.data()
    assert canonical(data) == text  # one encoding: reading and telling again is the same text
    return data


# ---- whatever is put in


@given(values())
@settings(max_examples=300, deadline=None)
def test_any_value_is_told_and_told_back_or_marked(value: Any) -> None:
    told = json.loads(canonical(tell(value, MASKING)))
    try:
        back = untell(told)
    except Lost:
        return
    assert canonical(tell(back, MASKING)) == canonical(told)


def has_surrogates(value: Any) -> bool:
    return any("\ud800" <= c <= "\udfff" for each in (value if isinstance(value, frozenset) else [value]) for c in str(each))


@given(
    st.one_of(
        hostile_strings(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none(), st.frozensets(hostile_strings())
    )
)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    assume(not has_surrogates(value))  # no request with one is ever decided
    assert untell(json.loads(canonical(tell(value, MASKING)))) == value


@given(values(), values(), hostile_strings(), hostile_strings())
@settings(max_examples=300, deadline=None)
def test_the_quick_encoder_says_what_the_plain_one_says(context: Any, attributes: Any, text: str, other: str) -> None:
    request = pdp.Request(
        action=text,
        resource=pdp.Resource(
            other, text, attributes if isinstance(attributes, dict) else {"a": attributes}, [(text, other)]
        ),
        workload=pdp.Workload(other, {"kind": text, "executable": context}),
        user=(other, text),
        task=pdp.Task(
            text, other, {text: attributes}, text, 5, [other, text], text, other, 2, text, other, False, [text, other]
        ),
        context=context if isinstance(context, dict) else {text: context, "n": 1},
        gate={"id": text},
        location={"ip": ip_address("::1")},
        proof=[text],
    )
    decision = WORLD.engine.check(REQUESTS[0], now=NOW)
    entry = Decided(request, decision, NOW, 1)
    for masking in (MASKING, Masking(MASKING.key, frozenset({"context.n", f"{other}.id", f"task.{text}", f"{other}.a"}))):
        plain = encode(entry, masking)
        assert Encoder(masking).encode(entry) == plain
        round_trip(plain)


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("secrets", [frozenset(), frozenset({"Doc.tenant", "User.id", "task.tenant", "context.columns"})])
def test_the_quick_encoder_says_the_same_of_real_decisions(request_: pdp.Request, secrets: frozenset[str]) -> None:
    masking = Masking(MASKING.key, secrets)
    encoder = Encoder(masking)
    entry = WORLD.decided(request_)
    assert encoder.encode(entry) == encode(entry, masking)
    assert encoder.encode(entry) == encode(entry, masking)  # and from memory
    round_trip(encode(entry, masking))


@pytest.mark.parametrize("size", [2048, 2049, 1_000_000])
def test_a_huge_text_is_cut_with_a_mark(size: int) -> None:
    entry = dataclasses.replace(WORLD.decided(REQUESTS[0]), request=pdp.Request("read", ("Doc", "x" * size)))
    told = round_trip(encode(entry, MASKING))["request"]["resource"][1]
    assert told == "x" * size if size == 2048 else told["length"] == size and told["$cut"] == "x" * 256


def test_a_huge_entry_keeps_what_was_decided() -> None:
    context = {f"k{i}": ["y" * 2000] * 10 for i in range(900)}
    entry = dataclasses.replace(WORLD.decided(REQUESTS[0]), request=pdp.Request("read", ("Doc", "d"), context=context))
    for text in (encode(entry, MASKING), Encoder(MASKING).encode(entry)):
        assert len(text) <= ENTRY_BYTES_MAX
        told = round_trip(text)
        assert told["outcome"] == "allow"
        assert told["request"]["context"]["$cut"] == "context"
        assert (told["request"]["action"], told["request"]["resource"]) == ("read", ["Doc", "d"])
        assert replay(told, WORLD.bundle).why == "cut"


AROUND = Circumstances(
    "txn", ("g-1", "g-2"), ("ada",), "ab" * 32, "07", "cd" * 32, "db", ("key",), {"grant": "g-2", "task": "t-0"}
)
MADE_LONG = (
    "context", "resource", "parents", "user", "process", "task", "task proof", "gate", "location", "proof",
)  # fmt: skip


def made_long(parts: set[str], long: Any) -> pdp.Request:
    """A request in which these parts are the caller's own."""
    its = {name: {f"n{i}": long for i in range(40)} if name in parts else {} for name in MADE_LONG}
    above = [("Doc", f"{i}{long}") for i in range(40)] if "parents" in parts else None
    facts = [f"{i}{long}" for i in range(40)]
    return pdp.Request(
        action="read",
        resource=pdp.Resource("Doc", "d", its["resource"], above),
        workload=pdp.Workload(AGENT, its["process"]),
        user=pdp.Resource("User", "ada", its["user"], above),
        task=pdp.Task(
            "night", "t-1", its["task"], proof=facts if "task proof" in parts else ["key"], opener="spiffe://d/ci",
            holder=AGENT, parent="t-0", chain=["t-0", "t-9"],
        ),
        context=its["context"],
        gate={"id": "db-1", **its["gate"]},
        location=its["location"],
        proof=facts if "proof" in parts else ["key"],
    )  # fmt: skip


@given(
    st.sets(st.sampled_from(MADE_LONG), min_size=1),
    st.one_of(
        hostile_strings(),
        st.builds(
            lambda piece, times: piece * times,
            st.sampled_from(["x", "😀", "jwt ", "bearer x ", "password=abcd "]),
            st.sampled_from([100, 600, 2048, 9000]),
        ),
    ),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_whatever_a_caller_puts_in_the_entry_says_who_did_what_to_what(parts: set[str], long: str, around: bool) -> None:
    """Review 6: with a word such as `key` in 64 KiB of context, action, resource, user and workload were gone."""
    entry = dataclasses.replace(
        WORLD.decided(REQUESTS[0]), request=made_long(parts, long), around=AROUND if around else None
    )
    for text in (encode(entry, MASKING), Encoder(MASKING).encode(entry)):
        assert len(text) <= ENTRY_BYTES_MAX
        raw, _ = make_line(START, entry.kind, text)
        line = parse_line(raw)
        assert line is not None
        seen = read_entry(line)
        assert (seen.action, seen.resource_type, seen.resource, seen.outcome) == ("read", "Doc", "d", "allow")
        assert (seen.workload, seen.user, seen.gate, seen.task_kind) == (AGENT, "User ada", "db-1", "night")
        assert set(seen.tasks) == ({"t-1", "t-0", "txn", "g-1", "g-2"} if around else {"t-1", "t-0"})
        task = line.data()["request"]["task"]
        assert (task["chain"], task["opener"], task["holder"]) == (["t-0", "t-9"], "spiffe://d/ci", AGENT)
        assert [t.resource for t in touched([seen], AGENT)] == [t.resource for t in touched([seen], "t-1")] == ["d"]


@pytest.mark.parametrize("piece", ["x", "😀", "\x00", "key ", "password=abcd "])
def test_names_that_are_as_long_as_can_be_leave_room(piece: str) -> None:
    """Review 6: they are cut one by one; none takes away another."""
    name = (piece * 2048)[:2048]
    request = pdp.Request(
        name, pdp.Resource(name, name, {"a": name}), pdp.Workload(name, {"kind": [name] * 50}), (name, name),
        pdp.Task(name, name, {}, name, name, [name], name, name, 2, name, name, chain=[name] * 400),
        {"a": [name] * 50}, {"id": name}, {"ip": name}, [name],
    )  # fmt: skip
    around = Circumstances(name, (name,) * 400, (name,) * 400, name, name, name, name, (name,) * 400, {"grant": name})
    for each in (None, around):
        entry = dataclasses.replace(WORLD.decided(REQUESTS[0]), request=request, around=each, inputs=None)
        told = round_trip(encode(entry, MASKING))
        assert told["outcome"] == "allow"
        for value in (told["request"]["action"], *told["request"]["user"], told["request"]["gate"]["id"]):
            assert show(value).startswith(name[:20]) or "password" in piece


def test_the_largest_part_goes_first() -> None:
    """Review 6: what a caller adds takes away what it added, and not the evidence."""
    entry = WORLD.decided(REQUESTS[0])
    request = pdp.Request("read", ("Doc", "d"), user=("User", "ada"), context={"a": ["jwt " * 400] * 50, "b": 1})
    told = round_trip(encode(dataclasses.replace(entry, request=request), MASKING))
    assert told["request"]["context"]["$cut"] == "context"
    assert told["evidence"] == round_trip(encode(entry, MASKING))["evidence"]


def test_a_context_that_was_cut_is_not_decided_again() -> None:
    told = round_trip(encode(WORLD.decided(REQUESTS[0]), MASKING))
    told["request"]["context"] = {"$cut": "context", "length": 70_000, "digest": "x"}
    found = replay(told, WORLD.bundle)
    assert (found.verdict, found.why) == (NOT_REPLAYABLE, "cut")


def test_a_step_and_a_notice_keep_what_they_say() -> None:
    step = Step(Kind.GRANT, "approved", NOW, "g-2", "t-1", "x", ("g-1", "g-2"), AGENT, actor="ada", approvers=("ada",),
                state="active", ends_us=NOW + 1, details={"scope": ["read"], "password": "hunter2hunter2"})  # fmt: skip
    told = round_trip(encode(step, MASKING))
    assert (told["what"], told["chain"], told["holder"], told["details"]["scope"]) == (
        "approved",
        ["g-1", "g-2"],
        AGENT,
        ["read"],
    )
    assert "hunter2" not in json.dumps(told)
    assert round_trip(encode(Notice(Kind.DROP, NOW, {"count": 3}), MASKING)) == {"at_us": NOW, "count": 3}


def test_what_was_verified_around_a_decision_is_told() -> None:
    around = Circumstances("txn", ("g-1", "g-2"), ("ada",), "ab" * 32, "07", "cd" * 32, "db", ("key", "request"))
    entry = WORLD.decided(REQUESTS[0], around=around)
    told = round_trip(encode(entry, MASKING))
    assert told["chain"] == ["g-1", "g-2"]
    assert told["certificate"] == "ab" * 32
    assert Encoder(MASKING).encode(entry) == canonical(told)


def test_a_failed_binding_is_a_kind_of_its_own() -> None:
    stolen = next(d for q in REQUESTS if (d := WORLD.decided(q)).decision.reason == "task_misheld")
    assert stolen.kind is Kind.REUSE_ATTEMPT
    assert WORLD.decided(REQUESTS[0]).kind is Kind.DECISION
    assert "default_deny" not in BINDING_REASONS


# ---- secrets


def everywhere(secret: str) -> list[Any]:
    """A request for each place that a caller can fill, and steps, and what an engine says back."""
    base = REQUESTS[0]
    decision = WORLD.engine.check(base, now=NOW)
    requests = [
        dataclasses.replace(base, action=secret),
        dataclasses.replace(base, resource=("Doc", secret)),
        dataclasses.replace(base, resource=(secret, "x")),
        dataclasses.replace(base, resource=pdp.Resource("Parcel", "p", {"note": secret, secret: 1}, [("Team", secret)])),
        dataclasses.replace(base, user=("User", secret)),
        dataclasses.replace(base, workload=secret),
        dataclasses.replace(base, workload=pdp.Workload("w", {"executable": secret})),
        dataclasses.replace(base, context={"columns": [secret], "token": secret, secret: {"deep": [{"er": secret}]}}),
        dataclasses.replace(
            base, context={"text": f"before {secret} after", "long": "z" * 3000 + secret, "l2": secret + "z" * 3000}
        ),
        dataclasses.replace(base, context={"text": "z" * (256 - len(secret) // 2) + " " + secret + " " + "z" * 3000}),
        dataclasses.replace(base, gate={"id": secret}, location={"ip": secret}, proof=[secret]),
        dataclasses.replace(base, task=dataclasses.replace(TASK, id=secret, parent=secret, attributes={"ticket": secret})),
        dataclasses.replace(base, task=dataclasses.replace(TASK, kind=secret, holder=secret, opener=secret, proof=[secret])),
    ]
    outcome = dataclasses.replace(decision.outcome, because=f"`{secret}` is not an id")
    said = pdp.Decision(decision.settled._replace(outcome=outcome), 1)
    return [
        *[Decided(q, decision, NOW, 1) for q in requests],
        Decided(base, said, NOW, 1),
        Decided(
            base, decision, NOW, 1, around=Circumstances(secret, (secret,), (secret,), proof=secret, destination=secret)
        ),
        Step(
            Kind.GRANT,
            "opened",
            NOW,
            secret,
            secret,
            actor=secret,
            reason=f"because {secret}",
            details={"a": {"b": [secret]}},
        ),
        Notice(Kind.DROP, NOW, {"error": secret}),
    ]


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_is_never_in_the_text(name: str) -> None:
    secret, canary = TOKENS[name]
    encoder = Encoder(MASKING)
    for entry in everywhere(secret):
        for text in (encode(entry, MASKING), encoder.encode(entry)):
            assert canary not in text, entry
            assert canonical(canary)[1:-1] not in text
        assert canary not in repr(list(encoder._texts))  # nor kept beside its digest


def test_a_declared_secret_is_never_in_the_text_and_matches_wherever_it_is_seen() -> None:
    """Finding F5: wherever one field is seen, and nowhere else."""
    secrets = {"context.columns", "context.token", "task.tenant", "Parcel.note", "User.id", "Doc.id", "gate.environment"}
    masking = Masking(MASKING.key, frozenset(secrets))
    request = pdp.Request(
        "list", ("Doc", "canary"), pdp.Workload(AGENT), ("User", "canary"),
        dataclasses.replace(TASK, attributes={"tenant": "canary"}), {"columns": ["canary"], "token": "canary"},
        {"id": "spiffe://d/g", "environment": "canary"},
    )  # fmt: skip
    entry = dataclasses.replace(WORLD.decided(REQUESTS[0]), request=request)
    for text in (encode(entry, masking), Encoder(masking).encode(entry)):
        assert "canary" not in text
        told = json.loads(text)["request"]
        found = {
            "Doc.id": told["resource"][1],
            "User.id": told["user"][1],
            "task.tenant": told["task"]["attributes"]["tenant"],
            "context.token": told["context"]["token"],
        }
        assert found == {field: masking.hide("canary", field) for field in found}
        assert len({json.dumps(digest) for digest in found.values()}) == len(found)


def test_f5_a_field_of_the_caller_says_nothing_about_another() -> None:
    """Finding F5: a guess is put into a field that the caller may fill, and compared with what the directory holds."""
    masking = Masking(MASKING.key, frozenset({"Doc.tenant"}))
    guess = pdp.Request("list", ("Doc", "d"), context={"password": "acme", "a": {"password": "acme"}})
    entry = dataclasses.replace(WORLD.decided(REQUESTS[0]), request=guess)
    told = json.loads(encode(entry, masking))["request"]["context"]
    held = json.loads(encode(WORLD.decided(REQUESTS[7]), masking))["evidence"]["resource"][1][1]
    assert held == masking.hide("acme", "Doc.tenant")
    assert len({json.dumps(d) for d in (held, told["password"], told["a"]["password"])}) == 3
    assert masking.hide("5", "a.b") != masking.hide("5", "a") != masking.hide("5")


def test_a_token_is_the_same_wherever_it_is_seen() -> None:
    fields = tell_fields({"token": JWT, "text": f"Bearer {JWT}", "odd": f"session-{JWT}"}, MASKING, "context")
    told = MASKING.scan(fields)
    assert told["token"] == told["text"]["$text"][1] == told["odd"]["$text"][1] == MASKING.hide(JWT)


@pytest.mark.parametrize("name", TOKENS)
def test_what_is_a_token_is_hinted_at(name: str) -> None:
    assert may_hold_token(TOKENS[name][0])
    assert may_hold_token(canonical({"a": TOKENS[name][0]}))


@given(st.lists(st.one_of(st.sampled_from(HINTS), st.text(max_size=3)).map(lambda piece: piece[:-1] or piece), max_size=6))
@settings(max_examples=300)
def test_the_quick_look_finds_just_the_hints(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert may_hold_token(text) == any(hint in text.lower() for hint in HINTS)


@given(
    st.lists(
        st.one_of(
            st.sampled_from([*HINTS, *[f"{n}{s}" for n in _NAMES for s in ("=", " = ", '":"', "%3D")], "://a@", "x" * 9]),
            st.text(max_size=2),
        ),
        max_size=5,
    )
)
@settings(max_examples=500)
def test_where_a_token_is_found_there_is_a_hint(pieces: list[str]) -> None:
    """Also in what JSON made of the text, which is looked at first."""
    text = "".join(pieces)
    if next(find_tokens(text), None) is not None:
        assert may_hold_token(text)
        assert may_hold_token(canonical(text))


@pytest.mark.parametrize(
    "text", ['["key"]', "ada@acme.example", "a global single", "spiffe://prod.acme/ns/x", "the key of ada"]
)
def test_ordinary_words_are_no_hints(text: str) -> None:
    assert not may_hold_token(text)


def test_what_was_looked_through_is_looked_through_once_and_no_token_is_kept() -> None:
    looked_at: list[str] = []

    class Watched(Masking):
        def parts(self, text: str) -> list[str | dict[str, str]]:
            looked_at.append(text)
            return super().parts(text)

    masking, token = Watched(MASKING.key), TOKENS["bearer"][0]
    for _ in range(3):
        assert masking.scan(["the token of ada", {"the token of bob": "a basic thing"}]) == [
            "the token of ada", {"the token of bob": "a basic thing"},
        ]  # fmt: skip
        assert masking.scan(token) == MASKING.scan(token) != token
    assert looked_at == ["the token of ada", "a basic thing", token, token, token]


REPEATED = [
    "eyJ.", "eyJ", "eyJ\n ", "eyJabcdefghijkl.", "e30.", " e30.a", "e30.a\n ", "://", "://a", "bearer", "bearer ", "basic:",
    "-----BEGIN ", "-----BEGIN A-----", "token=", "=", '"payload":', '"payload" : "', "%3A%2F%2F", "sk-", " sk-aaaa",
    "xoxb-", "%252E", "eyJabcdefghijklmn%25", "ghp_", "https://hooks.slack.com/services/",
]  # fmt: skip


@pytest.mark.parametrize("piece", REPEATED)
def test_f2_the_work_for_a_text_is_linear_in_it(piece: str) -> None:
    """Finding F2: no text makes the search go over the same characters again and again. A square would take minutes."""
    text = (piece * 300_000)[:300_000]
    spans = list(find_tokens(text))
    assert all(start < end for start, end in spans)
    assert [s for s in spans if s[1] > len(text)] == []


@pytest.mark.parametrize("name", TOKENS)
def test_f2_of_a_long_text_only_the_beginning_is_looked_through(name: str) -> None:
    """Finding F2: 256 characters are kept, so what is far behind them is not masked, but left out."""
    secret, canary = TOKENS[name]
    looked_at = []

    class Watched(Masking):
        def parts(self, text: str) -> list[str | dict[str, str]]:
            looked_at.append(len(text))
            return super().parts(text)

    for text in (secret + "z" * 500_000, "z " * 100 + secret + " z" * 250_000, "z " * 120 + secret + " z" * 250_000):
        told = tell(text, Watched(MASKING.key))
        assert (told["length"], canary in json.dumps(told)) == (len(text), False)
    assert looked_at == []


def test_f2_an_entry_full_of_tokens_is_cut_before_it_is_looked_through() -> None:
    context = {f"k{i}": ["bearer x " * 200] * 10 for i in range(10)}
    entry = dataclasses.replace(WORLD.decided(REQUESTS[0]), request=pdp.Request("read", ("Doc", "d"), context=context))
    for text in (encode(entry, MASKING), Encoder(MASKING).encode(entry)):
        told = round_trip(text)
        assert told["request"]["context"]["$cut"] == "context"
        assert told["outcome"] == "allow"


def test_secrets_of_the_directory_are_masked_in_the_evidence() -> None:
    masking = Masking(MASKING.key, frozenset({"Doc.tenant", "Doc.owner", "User.id"}))
    for request in REQUESTS:
        text = encode(WORLD.decided(request), masking)
        assert '"bob"' not in text
        assert '"acme"' not in json.dumps(json.loads(text).get("evidence", {}))


def test_digests_match_under_one_key_only() -> None:
    other = Masking(bytes(range(1, 33)))
    assert MASKING.hide("s") == MASKING.hide("s") != other.hide("s")
    assert MASKING.hide("5") != MASKING.hide(5)
    with pytest.raises(ValueError, match="32 bytes"):
        Masking(b"short")


def test_a_caller_cannot_imitate_a_mask_or_a_cut() -> None:
    context = {"$masked": "00000000:00", "a": {"$cut": "x", "length": 1}, "b": {"$text": "x"}, "$$c": 1}
    entry = dataclasses.replace(WORLD.decided(REQUESTS[0]), request=pdp.Request("read", ("Doc", "d"), context=context))
    told = round_trip(encode(entry, MASKING))["request"]["context"]
    assert sorted(told) == ["$$$c", "$$masked", "a", "b"]
    assert untell(told) == context


@given(st.text(string.printable, max_size=60))
def test_ordinary_text_stays_readable(text: str) -> None:
    if not may_hold_token(text):
        assert MASKING.scan(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "example.com.org", "every.day.is.fine", "spiffe://prod.acme/ns/billing/api", "a@b.example", "x:y@z",
        "risk-assessment-2026",
        "brew1-internal.example.com", "node30.prod.acme", "framework-internal-api.prod.acme", "keyAgentService.prod.acme",
        "surveyJobIdentifier.prod.acme.test", "task-something-that-is-long", "a token, a password: words",
        "disk_space_is_low_today",
    ],
)  # fmt: skip
def test_names_are_no_tokens(text: str) -> None:
    assert MASKING.scan(text) == text


# ---- deciding again


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("now", [NOW, NOW + 59_999_999, NOW + 60_000_000, NOW + 1_300_000_000, NOW + 10**15])
def test_every_decision_replays_the_same(request_: pdp.Request, now: int) -> None:
    entry = WORLD.decided(request_, now)
    told = round_trip(encode(entry, MASKING))
    found = replay(told, bundle())
    assert found.verdict == SAME, (str(entry.decision), found)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"outcome": "deny"}, DIFFERS),
        ({"reason": "default_deny"}, DIFFERS),
        ({"rule": "readers"}, DIFFERS),
        ({"valid_until_us": NOW + 5}, DIFFERS),
        ({"errors": [{"rule": "own", "code": "absent"}]}, DIFFERS),
        ({"generation": "0" * 16}, OTHER_GENERATION),
        ({"evidence": {"changed": True}}, NOT_REPLAYABLE),
        ({"evidence": {"resource": [[], []]}}, NOT_REPLAYABLE),
        ({"request": {}}, NOT_REPLAYABLE),
        ({"request": {"$cut": "request", "length": 1}}, NOT_REPLAYABLE),
    ],
)
def test_a_changed_entry_replays_otherwise(change: dict[str, Any], verdict: str) -> None:
    told = json.loads(encode(WORLD.decided(REQUESTS[0]), MASKING))
    assert replay({**told, **change}, WORLD.bundle).verdict == verdict


def test_another_policy_is_another_generation_and_a_flipped_rule_a_difference() -> None:
    told = json.loads(encode(WORLD.decided(REQUESTS[0]), MASKING))
    flipped = bundle(POLICY.replace("resource.owner == user }", "resource.owner != user }", 1))
    assert replay(told, flipped).verdict == OTHER_GENERATION
    found = replay({**told, "generation": flipped.digest[:16]}, flipped)
    assert found.verdict == DIFFERS
    assert found.differences is not None
    assert found.differences["outcome"] == ("allow", "deny")


def test_a_directory_that_changed_before_the_writing_makes_no_difference() -> None:
    world = World()
    entry = world.decided(REQUESTS[1])
    assert entry.decision.allowed
    world.directory.remove_rows([RowData("reader", (("User", "bob"), ("Doc", "d")))])
    told = json.loads(encode(entry, MASKING))
    assert replay(told, world.bundle).verdict == SAME
    assert Encoder(MASKING).encode(entry) == canonical(told)


def test_evidence_that_gives_another_answer_is_said_and_not_guessed() -> None:
    world = World()
    entry = world.decided(REQUESTS[1])
    assert entry.inputs is not None
    entry = dataclasses.replace(entry, inputs=dataclasses.replace(entry.inputs, rows={"reader": {}}))
    told = json.loads(encode(entry, MASKING))
    assert told["evidence"]["changed"] is True
    assert replay(told, world.bundle).why == "changed"
    assert Encoder(MASKING).encode(entry) == canonical(told)


def test_a_masked_value_that_a_rule_reads_cannot_be_decided_again() -> None:
    masking = Masking(MASKING.key, frozenset({"Doc.tenant"}))
    told = json.loads(encode(WORLD.decided(REQUESTS[7]), masking))
    assert replay(told, WORLD.bundle).why == "masked"


# ---- the rule for reuse


def test_suspension_counts_attempts_within_a_while() -> None:
    rule = SuspendAfter(3, 100)
    assert not is_due(rule, [1, 2], 2)
    assert is_due(rule, [1, 2, 3], 3)
    assert is_due(rule, [1, 50, 100], 100)
    assert not is_due(rule, [1, 50, 101], 101)  # half open
    assert not is_due(rule, [1, 2, 300], 3)  # what lies ahead does not count


def test_counts_are_bounded_and_apart() -> None:
    counts = ReuseCounts(SuspendAfter(2, 100), grants_max=2)
    assert [counts.note(g, 1) for g in ("a", "b")] == [False, False]
    assert counts.note("a", 2)
    counts.forget("a")
    assert not counts.note("a", 3)
    assert not counts.note("c", 4)  # pushes out `b`, the oldest
    assert not counts.note("b", 5)
    with pytest.raises(ValueError):
        SuspendAfter(0, 1)
