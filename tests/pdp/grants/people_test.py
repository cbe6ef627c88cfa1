"""People: each token, and each set of keys, is one thing away from a good one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.errors import PdpError
from pdp.grants.people import Issuer, Person, Role, verify_person
from pdp.grants.people_keys import read_key_set
from pdp.identity.dev.tokens import bundle_document, json_bytes, public_jwk, sign_token
from pdp.tokens.compact import base64url
from tests.pdp.grants.handles_world import (
    HANDLE,
    HOUR,
    NOW,
    OTHER_KEY,
    RSA_KEY,
    SECOND,
    Refused,
    TokenShape,
    changed,
    fuzz,
    key,
    refused,
)

KEY = key()
NOW_S = NOW // SECOND
NAME = "https://login.test/"
ES = frozenset({"ES256"})


def document(*keys: Any, **members: Any) -> bytes:
    return bundle_document(keys or [entry()], **members)


def entry(of: Any = KEY, **changes: Any) -> dict[str, Any]:
    return changed(public_jwk(of, kid="k1", use="sig", alg="ES256"), changes)


ISSUER = Issuer(
    NAME,
    "https://pdp.test",
    "User",
    frozenset({Role.USER, Role.APPROVER}),
    read_key_set(document(), ES),
    NOW + HOUR,
)
SHAPE = TokenShape(
    {"alg": "ES256", "kid": "k1", "typ": "JWT"},
    {"iss": NAME, "sub": "ada", "aud": ISSUER.audience, "iat": NOW_S, "exp": NOW_S + 300, "auth_time": NOW_S - 60},
)


def claims(**changes: Any) -> str:
    return sign_token(replace(SHAPE, claims=changed(SHAPE.claims, changes)), KEY)


def header(with_key: Any = KEY, **changes: Any) -> str:
    return sign_token(replace(SHAPE, header=changed(SHAPE.header, changes)), with_key)


GOOD = claims()


def verify(token: str = GOOD, role: Role = Role.APPROVER, now: int = NOW, **options: Any) -> Person:
    return verify_person(token, role, {NAME: replace(ISSUER, **options)}, now)


def test_who_it_is() -> None:
    found = verify()
    assert (found.reference, found.issuer, found.role) == (("User", "ada"), NAME, Role.APPROVER)
    assert (found.ends_us, found.logged_in_us) == (NOW + 300 * SECOND, NOW - 60 * SECOND)
    assert verify(claims(email="ada@acme.test"), subject="email").id == "ada@acme.test"
    assert verify(claims(aud=["a", ISSUER.audience]), audiences_max=2).id == "ada"
    assert verify(header(typ=None)).id == "ada"
    assert verify(header(typ="at+jwt"), types=frozenset({"at+jwt"})).id == "ada"
    assert verify(header(x5t="AAAA"), other_headers=frozenset({"x5t"})).id == "ada"
    assert verify(login_age_us_max=61 * SECOND).id == "ada"
    assert verify(claims(auth_time=None)).logged_in_us is None
    assert verify(now=NOW + 300 * SECOND, leeway_us=SECOND).id == "ada"


RS_KEYS = read_key_set(document(entry(RSA_KEY, alg=None)), {"RS256"})

CASES: dict[str, tuple[str, Callable[[], Any]]] = {
    "too large": ("token_too_large", lambda: verify("a" * 9000)),
    "no token": ("token_not_compact", lambda: verify("ada")),
    "no JSON": ("token_not_json", lambda: verify(sign_token(replace(SHAPE, raw_claims=b"["), KEY))),
    "sub twice": (
        "token_duplicate_name",
        lambda: verify(sign_token(replace(SHAPE, raw_claims=b'{"sub":"ada","sub":"eve"}'), KEY)),
    ),
    "no alg": ("algorithm_missing", lambda: verify(header(alg=None))),
    "alg none": ("algorithm_not_allowed", lambda: verify(header(alg="none"))),
    "alg HS256 with the public key": ("algorithm_not_allowed", lambda: verify(header(alg="HS256"))),
    "alg that the issuer does not use": (
        "algorithm_not_allowed",
        lambda: verify(header(RSA_KEY, alg="RS256"), keys=RS_KEYS, algorithms=ES),
    ),
    "alg of another key": ("algorithm_not_of_key", lambda: verify(keys=RS_KEYS)),
    "no iss": ("person_issuer_missing", lambda: verify(claims(iss=None))),
    "iss a list": ("person_issuer_missing", lambda: verify(claims(iss=[NAME]))),
    "another iss": ("person_issuer_unknown", lambda: verify(claims(iss="https://evil.test/"))),
    "iss that begins alike": ("person_issuer_unknown", lambda: verify(claims(iss=NAME + "x"))),
    "iss that ours begins with": ("person_issuer_unknown", lambda: verify(claims(iss=NAME[:-1]))),
    "issuer under another name": (
        "person_issuer_unknown",
        lambda: verify_person(claims(iss="b"), Role.USER, {"b": ISSUER}, NOW),
    ),
    "an approver by an issuer of users": (
        "person_role_not_of_issuer",
        lambda: verify(roles=frozenset({Role.USER})),
    ),
    "a user by an issuer of approvers": (
        "person_role_not_of_issuer",
        lambda: verify(role=Role.USER, roles=frozenset({Role.APPROVER})),
    ),
    "jku": ("header_not_allowed", lambda: verify(header(jku="https://evil.test"))),
    "jwk": ("header_not_allowed", lambda: verify(header(jwk=public_jwk(OTHER_KEY)))),
    "crit": ("header_not_allowed", lambda: verify(header(crit=["exp"]))),
    "x5t where it was not allowed": ("header_not_allowed", lambda: verify(header(x5t="AAAA"))),
    "typ of an access token": ("type_not_allowed", lambda: verify(header(typ="at+jwt"))),
    "typ of a grant": ("type_not_allowed", lambda: verify(header(typ="task-grant+jwt"))),
    "no typ where one must be": ("type_not_allowed", lambda: verify(header(typ=None), require_type=True)),
    "no kid": ("key_id_missing", lambda: verify(header(kid=None))),
    "kid a number": ("key_id_malformed", lambda: verify(header(kid=1))),
    "unknown kid": ("key_unknown", lambda: verify(header(kid="../k1"))),
    "signed by another": ("signature_wrong", lambda: verify(header(OTHER_KEY))),
    "keys that nobody refreshed": ("person_keys_stale", lambda: verify(keys_until_us=NOW)),
    "no exp": ("expiry_missing", lambda: verify(claims(exp=None))),
    "exp a text": ("expiry_malformed", lambda: verify(claims(exp="9"))),
    "expired": ("token_expired", lambda: verify(now=NOW + 300 * SECOND)),
    "not yet": ("token_not_yet_valid", lambda: verify(claims(nbf=NOW_S + 1))),
    "nbf a text": ("not_before_malformed", lambda: verify(claims(nbf="1"))),
    "iat true": ("issued_at_malformed", lambda: verify(claims(iat=True))),
    "Finding F4: lives for years, from an iat ahead": (
        "lifetime_too_long",
        lambda: verify(claims(iat=NOW_S + 10**8, exp=NOW_S + 10**8 + 300)),
    ),
    "lives too long": ("lifetime_too_long", lambda: verify(claims(exp=NOW_S + 3601))),
    "no aud": ("audience_missing", lambda: verify(claims(aud=None))),
    "aud a number": ("audience_malformed", lambda: verify(claims(aud=1))),
    "another aud": ("audience_wrong", lambda: verify(claims(aud="https://pdp.test.evil"))),
    "two audiences": ("person_audiences_several", lambda: verify(claims(aud=[ISSUER.audience, "b"]))),
    "no sub": ("subject_missing", lambda: verify(claims(sub=None))),
    "sub a number": ("subject_missing", lambda: verify(claims(sub=1))),
    "sub empty": ("person_subject_malformed", lambda: verify(claims(sub=""))),
    "sub too long": ("person_subject_malformed", lambda: verify(claims(sub="a" * 257))),
    "no email": ("person_subject_malformed", lambda: verify(subject="email")),
    "no login": ("person_login_unknown", lambda: verify(claims(auth_time=None), login_age_us_max=HOUR)),
    "login a text": ("person_login_unknown", lambda: verify(claims(auth_time="1"))),
    "login too old": ("person_login_old", lambda: verify(login_age_us_max=60 * SECOND)),
    "login to come": ("person_login_old", lambda: verify(claims(auth_time=NOW_S + 1), login_age_us_max=HOUR)),
    "a handle": ("person_issuer_unknown", lambda: verify(HANDLE)),
    "keys: too large": ("key_set_too_large", lambda: read_key_set(b" " * 300_000, ES)),
    "keys: no JSON": ("key_set_malformed", lambda: read_key_set(b"{", ES)),
    "keys: a list": ("key_set_malformed", lambda: read_key_set(b"[]", ES)),
    "keys: none": ("key_set_malformed", lambda: read_key_set(b"{}", ES)),
    "keys: of texts": ("key_set_malformed", lambda: read_key_set(b'{"keys":["a"]}', ES)),
    "keys: a name twice": ("key_set_malformed", lambda: read_key_set(b'{"keys":[],"keys":[]}', ES)),
    "keys: private": ("key_set_private", lambda: read_key_set(document(entry(d="AAAA")), ES)),
    "keys: symmetric": ("key_set_private", lambda: read_key_set(document({"kty": "oct", "k": "AAAA"}), ES)),
    "keys: no kid": ("key_set_without_id", lambda: read_key_set(document(entry(kid=None)), ES)),
    "keys: kid empty": ("key_set_without_id", lambda: read_key_set(document(entry(kid="")), ES)),
    "keys: kid twice": ("key_set_id_twice", lambda: read_key_set(document(entry(), entry(OTHER_KEY)), ES)),
    "keys: not on its curve": ("key_set_bad_key", lambda: read_key_set(document(entry(x=entry()["y"])), ES)),
    "keys: alg of another": ("key_set_bad_key", lambda: read_key_set(document(entry(alg="RS256")), ES)),
}


@pytest.mark.parametrize("name", CASES)
def test_one_thing_wrong(name: str) -> None:
    code, call = CASES[name]
    refused(code, call)


@pytest.mark.parametrize(
    "left_out",
    [
        entry(use="enc"),
        entry(key_ops=["encrypt"]),
        entry(key_ops="verify"),
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        {"kty": "new"},
        {},
        entry(RSA_KEY, alg="RS256"),
    ],
)
def test_keys_for_something_else_are_left_out(left_out: dict[str, Any]) -> None:
    assert list(read_key_set(document({**left_out, "kid": "other"}, entry()), ES)) == ["k1"]


OPTIONS: list[dict[str, Any]] = [
    {"name": ""},
    {"audience": ""},
    {"entity": ""},
    {"roles": frozenset()},
    {"algorithms": frozenset()},
    {"algorithms": frozenset({"HS256"})},
    {"algorithms": frozenset({"none"})},
    {"types": frozenset({"task-grant+jwt"})},
    {"other_headers": frozenset({"jku"})},
    {"leeway_us": 31 * SECOND},
    {"leeway_us": -1},
    {"audiences_max": 0},
    {"life_us_max": 0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_no_such_issuer(options: dict[str, Any]) -> None:
    with pytest.raises(PdpError) as caught:
        replace(ISSUER, **options)
    assert caught.value.code == "invalid_argument"


def test_only_verifying_makes_one() -> None:
    with pytest.raises(TypeError):
        Person(Role.USER, "User", "ada", NAME, NOW, None, "d")


@fuzz
@given(st.data())
def test_no_mutation_is_accepted(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD) - 1))
    letter = data.draw(st.sampled_from("ABz09-_.= \n\x00é"))
    token = data.draw(st.sampled_from([GOOD[:at] + letter + GOOD[at + 1 :], GOOD[:at] + letter + GOOD[at:], GOOD[:at]]))
    if token != GOOD:
        with pytest.raises(Refused) as caught:
            verify(token)
        assert str(caught.value)


@fuzz
@given(st.binary(max_size=200) | st.text(max_size=80).map(lambda t: json.dumps({"keys": [{"kty": "EC", "x": t}]}).encode()))
def test_no_document_ends_in_anything_but_keys_or_a_code(raw: bytes) -> None:
    try:
        found = read_key_set(raw, ES)
    except Refused as error:
        shown = str(error)
    else:
        shown = ""
        assert not found
    assert "Traceback" not in shown


def test_the_signature_is_no_part_of_the_digest() -> None:
    assert verify(GOOD).digest == verify(claims()).digest
    assert base64url(json_bytes(SHAPE.claims)) not in repr(verify())
