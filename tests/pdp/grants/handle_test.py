"""Handles: each is one thing away from a good one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.errors import PdpError
from pdp.grants.grant import Bindings, EndReason, Permit, Scope, State, Target
from pdp.grants.handle import Handle, Names, make_handle, read_handle
from pdp.grants.handles import Handles
from pdp.grants.issuer_keys import LEAD_US, OVERLAP_US, IssuerKeys, first_keys
from pdp.identity.dev.tokens import sign_token
from pdp.tokens.compact import TOKEN_BYTES_MAX, base64url, digest, read_compact
from tests.pdp.grants.handles_world import (
    GRANT,
    HANDLE,
    HOLDER,
    HOUR,
    ISSUER,
    JKT,
    KEYS,
    NAMES,
    NOW,
    OTHER_KEY,
    PROOF,
    RSA_KEY,
    SECOND,
    TASK_KEY,
    Refused,
    TokenShape,
    fuzz,
    handle_with,
    handle_without,
    key,
    public_jwk,
    refused,
)

READ = read_compact(HANDLE)
_HEADER, _CLAIMS, _SIGNATURE = HANDLE.split(".")


def read(token: str = HANDLE, names: Names = NAMES, keys: IssuerKeys = KEYS, now: int = NOW) -> Handle:
    return read_handle(token, names, keys, now)


def raw(header: bytes | None = None, claims: bytes | None = None) -> str:
    return sign_token(TokenShape(READ.header, READ.claims, header, claims), ISSUER)


def test_what_a_handle_says() -> None:
    found = read()
    assert (found.grant, found.task, found.holder) == (GRANT.id, GRANT.task, HOLDER)
    assert (found.key, found.certificate) == (JKT, None)
    assert (found.parent, found.depth, found.environment) == (None, 0, "prod")
    assert (found.begins_us, found.ends_us) == (NOW, GRANT.ends)
    assert found.digest == digest(HANDLE)
    assert READ.claims["authorization_details"] == [
        {"type": "Table", "actions": ["select"], "within": ["Database", "ledger"]}
    ]
    assert dict(READ.header) == {"alg": "ES256", "kid": KEYS.keys[0].id, "typ": "task-grant+jwt"}


def test_one_grant_has_one_handle_at_one_time() -> None:
    assert make_handle(GRANT, NAMES, KEYS, NOW) == HANDLE


def test_in_whose_name() -> None:
    grant = replace(GRANT, people=(("User", "ada"),), parent="p" * 22, depth=1, binding=Bindings("c" * 43, JKT))
    token = make_handle(grant, NAMES, KEYS, NOW)
    claims = read_compact(token).claims
    assert (claims["sub"], claims["act"]) == ("User/ada", {"sub": HOLDER})
    found = read(token)
    assert (found.holder, found.parent, found.depth) == (HOLDER, "p" * 22, 1)
    assert (found.certificate, found.key) == ("c" * 43, JKT)


def test_a_large_scope_is_not_told() -> None:
    many = Scope(tuple(Permit(frozenset({"select"}), (Target("Table", f"t{n}"),)) for n in range(200)))
    token = make_handle(replace(GRANT, scope=many), NAMES, KEYS, NOW)
    assert "authorization_details" not in read_compact(token).claims
    assert read(token).grant == GRANT.id


def test_it_ends_with_the_grant_and_after_an_hour_at_most() -> None:
    assert read(make_handle(replace(GRANT, ends=NOW + 1), NAMES, KEYS, NOW)).ends_us == NOW + SECOND
    assert read(make_handle(replace(GRANT, ends=NOW + 9 * HOUR), NAMES, KEYS, NOW)).ends_us == NOW + HOUR


@pytest.mark.parametrize(
    "grant",
    [
        replace(GRANT, binding=Bindings()),
        replace(GRANT, state=State.ENDED, ended=EndReason.REVOKED, ended_at=NOW),
        replace(GRANT, ends=NOW),
        replace(GRANT, id="x" * 9000),
    ],
)
def test_no_handle_is_made(grant: Any) -> None:
    with pytest.raises(PdpError) as caught:
        make_handle(grant, NAMES, KEYS, NOW)
    assert caught.value.code == "invalid_argument"


def _json(**members: Any) -> bytes:
    return json.dumps(members).encode()


def _none() -> str:
    return f"{base64url(_json(**{**READ.header, 'alg': 'none'}))}.{_CLAIMS}.{base64url(b'x')}"


CASES: dict[str, tuple[str, Callable[[], Any]]] = {
    "too large": ("token_too_large", lambda: read("a" * (TOKEN_BYTES_MAX + 1))),
    "empty": ("token_not_compact", lambda: read("")),
    "two parts": ("token_not_compact", lambda: read(f"{_HEADER}.{_CLAIMS}")),
    "four parts": ("token_not_compact", lambda: read(f"{HANDLE}.{_SIGNATURE}")),
    "padded": ("token_not_compact", lambda: read(f"{HANDLE}=")),
    "with a space": ("token_not_compact", lambda: read(f"{HANDLE} ")),
    "not ascii": ("token_not_compact", lambda: read(f"{HANDLE}é")),
    "unsigned": ("token_not_compact", lambda: read(f"{_HEADER}.{_CLAIMS}.")),
    "claims no JSON": ("token_not_json", lambda: read(raw(claims=b"{"))),
    "claims a list": ("token_not_json", lambda: read(raw(claims=b"[]"))),
    "a number that is none": ("token_not_json", lambda: read(raw(claims=b'{"exp":NaN}'))),
    "grant twice": (
        "token_duplicate_name",
        lambda: read(raw(claims=b'{"jti":"a","jti":"b"}')),
    ),
    "no alg": (
        "algorithm_missing",
        lambda: read(raw(json.dumps({"kid": KEYS.keys[0].id, "typ": READ.header["typ"]}).encode())),
    ),
    "alg none": ("algorithm_not_allowed", lambda: read(_none())),
    "alg HS256": ("algorithm_not_allowed", lambda: read(handle_with(alg="HS256"))),
    "alg RS256": ("algorithm_not_allowed", lambda: read(handle_with(key=RSA_KEY, alg="RS256"))),
    "alg in lower case": ("algorithm_not_allowed", lambda: read(handle_with(alg="es256"))),
    "jku": ("header_not_allowed", lambda: read(handle_with(jku="https://evil.test/keys"))),
    "jwk": ("header_not_allowed", lambda: read(handle_with(jwk=public_jwk(OTHER_KEY)))),
    "x5c": ("header_not_allowed", lambda: read(handle_with(x5c=[]))),
    "x5u": ("header_not_allowed", lambda: read(handle_with(x5u="https://evil.test"))),
    "crit": ("header_not_allowed", lambda: read(handle_with(crit=["exp"]))),
    "b64": ("header_not_allowed", lambda: read(handle_with(b64=False))),
    "cty": ("header_not_allowed", lambda: read(handle_with(cty="JWT"))),
    "zip": ("header_not_allowed", lambda: read(handle_with(zip="DEF"))),
    "no typ": ("type_not_allowed", lambda: read(handle_with(typ=None))),
    "typ JWT": ("type_not_allowed", lambda: read(handle_with(typ="JWT"))),
    "typ in upper case": ("type_not_allowed", lambda: read(handle_with(typ="TASK-GRANT+JWT"))),
    "typ of a proof": ("type_not_allowed", lambda: read(handle_with(typ="task-proof+jwt"))),
    "typ a list": ("type_not_allowed", lambda: read(handle_with(typ=["task-grant+jwt"]))),
    "no kid": ("key_id_missing", lambda: read(handle_with(kid=None))),
    "kid a number": ("key_id_malformed", lambda: read(handle_with(kid=1))),
    "kid too long": ("key_id_malformed", lambda: read(handle_with(kid="k" * 257))),
    "kid a path": ("key_unknown", lambda: read(handle_with(kid="../../etc/passwd"))),
    "key of another": ("key_unknown", lambda: read(keys=first_keys(key(), NOW))),
    "signed by another": ("signature_wrong", lambda: read(handle_with(key=OTHER_KEY))),
    "signed by its task key": ("signature_wrong", lambda: read(handle_with(key=TASK_KEY))),
    "signature of another handle": (
        "signature_wrong",
        lambda: read(".".join([*HANDLE.split(".")[:2], handle_with({"depth": 1}).split(".")[2]])),
    ),
    "a short signature": ("signature_wrong", lambda: read(f"{_HEADER}.{_CLAIMS}.AAAA")),
    "a claim more": ("handle_claims_wrong", lambda: read(handle_with({"scope": "all"}))),
    "depth true": ("handle_claims_wrong", lambda: read(handle_with({"depth": True}))),
    "depth negative": ("handle_claims_wrong", lambda: read(handle_with({"depth": -1}))),
    "depth a fraction": ("handle_claims_wrong", lambda: read(handle_with({"depth": 0.5}))),
    "jti empty": ("handle_claims_wrong", lambda: read(handle_with({"jti": ""}))),
    "jti null": ("handle_claims_wrong", lambda: read(handle_with({"jti": None}))),
    "jti too long": ("handle_claims_wrong", lambda: read(handle_with({"jti": "x" * 257}))),
    "sub a list": ("handle_claims_wrong", lambda: read(handle_with({"sub": [HOLDER]}))),
    "act nested": ("handle_claims_wrong", lambda: read(handle_with({"act": {"sub": HOLDER, "act": {"sub": HOLDER}}}))),
    "aud a list": ("handle_claims_wrong", lambda: read(handle_with({"aud": ["dev.test", "other.test"]}))),
    "environment a number": ("handle_claims_wrong", lambda: read(handle_with({"environment": 1}))),
    "details an object": ("handle_claims_wrong", lambda: read(handle_with({"authorization_details": {}}))),
    "details of texts": ("handle_claims_wrong", lambda: read(handle_with({"authorization_details": ["all"]}))),
    "exp a text": ("handle_claims_wrong", lambda: read(handle_with({"exp": "1767258100"}))),
    "exp true": ("handle_claims_wrong", lambda: read(handle_with({"exp": True}))),
    "exp huge": ("handle_claims_wrong", lambda: read(handle_with({"exp": 1 << 53}))),
    "cnf empty": ("handle_unconfirmed", lambda: read(handle_with({"cnf": {}}))),
    "cnf a text": ("handle_claims_wrong", lambda: read(handle_with({"cnf": JKT}))),
    "cnf with a key": ("handle_unconfirmed", lambda: read(handle_with({"cnf": {"jwk": public_jwk(OTHER_KEY)}}))),
    "cnf with more": ("handle_unconfirmed", lambda: read(handle_with({"cnf": {"jkt": JKT, "kid": "a"}}))),
    "cnf null": ("handle_unconfirmed", lambda: read(handle_with({"cnf": {"jkt": None}}))),
    "another issuer": ("handle_wrong_issuer", lambda: read(handle_with({"iss": "spiffe://dev.test/pdp2"}))),
    "our issuer as a prefix": ("handle_wrong_issuer", lambda: read(names=Names("spiffe://dev.test/pd", "dev.test"))),
    "another audience": ("audience_wrong", lambda: read(handle_with({"aud": "staging.test"}))),
    "read in another environment": ("audience_wrong", lambda: read(names=Names(NAMES.issuer, "staging.test"))),
    "at its end": ("token_expired", lambda: read(now=GRANT.ends)),
    "before its beginning": ("token_not_yet_valid", lambda: read(now=NOW - 1)),
    "Finding F4: lives too long with an iat ahead": (
        "lifetime_too_long",
        lambda: read(handle_with({"iat": NOW // SECOND + 3601, "exp": NOW // SECOND + 7200})),
    ),
    "lives too long": ("lifetime_too_long", lambda: read(handle_with({"exp": NOW // SECOND + 3601}))),
    **{
        f"without {name}": ("handle_claims_wrong", lambda name=name: read(handle_without(name)))
        for name in ("jti", "txn", "iss", "aud", "sub", "cnf", "iat", "nbf", "exp", "depth")
    },
}


@pytest.mark.parametrize("name", CASES)
def test_one_thing_wrong(name: str) -> None:
    code, call = CASES[name]
    refused(code, call)


def test_what_may_be_missing() -> None:
    assert read(handle_without("authorization_details", "parent", "environment")).environment is None


def test_through_a_rotation() -> None:
    """C-5: a handle holds through the overlap, and no longer than its own end anyway."""
    rotated = KEYS.rotated(key(), NOW)
    assert read(keys=rotated, now=NOW + LEAD_US) == read()
    after = NOW + LEAD_US + OVERLAP_US
    late = handle_with({"iat": after // SECOND, "nbf": after // SECOND, "exp": after // SECOND + 60})
    refused("key_unknown", lambda: read(late, keys=rotated, now=after))
    withdrawn = rotated.without(KEYS.keys[0].id, key, NOW)
    refused("key_unknown", lambda: read(keys=withdrawn))


# ---- remembered


def test_remembered_is_fresh() -> None:
    handles = Handles(NAMES, entries_max=2)
    first = handles.read(HANDLE, KEYS, NOW)
    assert handles.read(HANDLE, KEYS, NOW + 1) is first
    refused("token_expired", lambda: handles.read(HANDLE, KEYS, GRANT.ends))
    refused("token_not_yet_valid", lambda: handles.read(HANDLE, KEYS, NOW - 1))
    withdrawn = KEYS.without(KEYS.keys[0].id, key, NOW)
    refused("key_unknown", lambda: handles.read(HANDLE, withdrawn, NOW))
    for n in range(5):
        handles.read(make_handle(replace(GRANT, depth=n), NAMES, KEYS, NOW), KEYS, NOW)
    assert len(handles) == 2


def test_refusals_are_not_remembered() -> None:
    handles = Handles(NAMES)
    refused("token_too_large", lambda: handles.read("a" * 100_000, KEYS, NOW))
    refused("token_not_compact", lambda: handles.read("\ud800.a.b", KEYS, NOW))
    assert len(handles) == 0


def test_only_reading_makes_one() -> None:
    with pytest.raises(TypeError):
        Handle("g", "t", HOLDER, None, JKT, None, 0, None, 0, 1, "k", "d")
    with pytest.raises(PdpError):
        Names("", "dev.test")


# ---- whatever comes


@fuzz
@given(st.data())
def test_no_mutation_is_accepted(data: st.DataObject) -> None:
    """One character changed, cut or added: a coded refusal, always."""
    at = data.draw(st.integers(0, len(HANDLE) - 1))
    letter = data.draw(st.sampled_from("ABz09-_.= \n\x00é"))
    token = data.draw(
        st.sampled_from([HANDLE[:at] + letter + HANDLE[at + 1 :], HANDLE[:at] + letter + HANDLE[at:], HANDLE[:at]])
    )
    if token != HANDLE:
        assert_refused(token)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@fuzz
@given(st.sampled_from([*READ.claims, "act", "more"]), JSON)
def test_no_claim_of_another_type_gets_through(name: str, value: Any) -> None:
    """Signed by us, even: it is read, or it is a coded refusal."""
    with contextlib.suppress(Refused):
        found = read(handle_with({name: value}))
        assert found.key or found.certificate
        assert type(found.depth) is int


@fuzz
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")))
def test_no_text_is_a_handle(token: str) -> None:
    assert_refused(token)


def assert_refused(token: str) -> None:
    with pytest.raises(Refused) as caught:
        read(token)
    assert str(caught.value)


def test_a_proof_is_no_handle() -> None:
    refused("header_not_allowed", lambda: read(sign_token(PROOF, ISSUER)))
