"""Every way to get a JWT-SVID wrong, each one thing away from a good one, with the code that must refuse it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pdp.identity.dev.tokens import TokenShape, json_bytes


@dataclass(frozen=True, slots=True)
class MalformedToken:
    code: str
    change: Callable[[TokenShape], TokenShape]


def _header(**members: Any) -> Callable[[TokenShape], TokenShape]:
    return lambda t: replace(t, header={k: v for k, v in {**t.header, **members}.items() if v is not None})


def _claims(**members: Any) -> Callable[[TokenShape], TokenShape]:
    return lambda t: replace(t, claims={k: v for k, v in {**t.claims, **members}.items() if v is not None})


def _after_exp(name: str, offset_s: int) -> Callable[[TokenShape], TokenShape]:
    return lambda t: replace(t, claims={**t.claims, name: t.claims["exp"] + offset_s})


def _sub(change: Callable[[str], str]) -> Callable[[TokenShape], TokenShape]:
    return lambda t: replace(t, claims={**t.claims, "sub": change(t.claims["sub"])})


def _twice(name: str) -> Callable[[Mapping[str, Any]], bytes]:
    """A document with one name twice, both times with the value that it has."""
    return lambda members: json_bytes(members)[:-1] + b"," + json_bytes({name: members[name]})[1:]


def _respell(change: Callable[[str], str]) -> Callable[[TokenShape], TokenShape]:
    return lambda t: replace(t, respell=change)


def _loose_bits(token: str) -> str:
    """The same signature bytes, spelled with other bits left over at the end."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


MALFORMED_TOKENS: dict[str, MalformedToken] = {
    "too-large": MalformedToken("token_too_large", _claims(padding="a" * 8192)),
    "two-parts": MalformedToken("token_not_compact", _respell(lambda t: t.rpartition(".")[0])),
    "four-parts": MalformedToken("token_not_compact", _respell(lambda t: t + ".e30")),
    "padded": MalformedToken("token_not_compact", _respell(lambda t: t + "==")),
    "blank-after": MalformedToken("token_not_compact", _respell(lambda t: t + " ")),
    "newline-after": MalformedToken("token_not_compact", _respell(lambda t: t + "\n")),
    "other-spelling": MalformedToken("token_not_compact", _respell(_loose_bits)),
    "no-signature": MalformedToken("token_not_compact", _respell(lambda t: t.rpartition(".")[0] + ".")),
    "header-not-json": MalformedToken("token_not_json", lambda t: replace(t, raw_header=b"{'alg':1}")),
    "claims-not-object": MalformedToken("token_not_json", lambda t: replace(t, raw_claims=b"[]")),
    "claims-nan": MalformedToken("token_not_json", lambda t: replace(t, raw_claims=b'{"exp":NaN}')),
    "lone-surrogate": MalformedToken("token_not_json", lambda t: replace(t, raw_claims=b'{"sub":"\\ud800"}')),
    "nested-deeply": MalformedToken(
        "token_not_json", lambda t: replace(t, raw_claims=b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}")
    ),
    "duplicate-alg": MalformedToken("token_duplicate_name", lambda t: replace(t, raw_header=_twice("alg")(t.header))),
    "duplicate-sub": MalformedToken("token_duplicate_name", lambda t: replace(t, raw_claims=_twice("sub")(t.claims))),
    "no-alg": MalformedToken("algorithm_missing", _header(alg=None)),
    "alg-none": MalformedToken("algorithm_not_allowed", _header(alg="none")),
    "alg-hs256": MalformedToken("algorithm_not_allowed", _header(alg="HS256")),
    "alg-eddsa": MalformedToken("algorithm_not_allowed", _header(alg="EdDSA")),
    "alg-lower-case": MalformedToken("algorithm_not_allowed", _header(alg="es256")),
    "alg-of-other-key": MalformedToken(
        "algorithm_not_of_key", lambda t: replace(_header(alg="RS256")(t), signed_as="ES256")
    ),
    "alg-of-other-curve": MalformedToken(
        "algorithm_not_of_key", lambda t: replace(_header(alg="ES384")(t), signed_as="ES256")
    ),
    "jku": MalformedToken("header_not_allowed", _header(jku="https://dev.test/keys")),
    "jwk": MalformedToken("header_not_allowed", _header(jwk={"kty": "EC"})),
    "x5u": MalformedToken("header_not_allowed", _header(x5u="https://dev.test/ca")),
    "x5c": MalformedToken("header_not_allowed", _header(x5c=["MII"])),
    "crit": MalformedToken("header_not_allowed", _header(crit=["exp"])),
    "b64": MalformedToken("header_not_allowed", _header(b64=False)),
    "cty": MalformedToken("header_not_allowed", _header(cty="JWT")),
    "typ-lower-case": MalformedToken("type_not_allowed", _header(typ="jwt")),
    "typ-wit": MalformedToken("type_not_allowed", _header(typ="wit+jwt")),
    "typ-access-token": MalformedToken("type_not_allowed", _header(typ="at+jwt")),
    "typ-grant": MalformedToken("type_not_allowed", _header(typ="task-grant+jwt")),
    "no-kid": MalformedToken("key_id_missing", _header(kid=None)),
    "kid-number": MalformedToken("key_id_malformed", _header(kid=1)),
    "kid-empty": MalformedToken("key_id_malformed", _header(kid="")),
    "kid-long": MalformedToken("key_id_malformed", _header(kid="a" * 257)),
    "kid-unknown": MalformedToken("key_unknown", _header(kid="../../keys/mine")),
    "no-sub": MalformedToken("subject_missing", _claims(sub=None)),
    "sub-list": MalformedToken("subject_missing", lambda t: replace(t, claims={**t.claims, "sub": [t.claims["sub"]]})),
    "sub-without-path": MalformedToken("id_no_path", _sub(lambda u: "/".join(u.split("/")[:3]))),
    "sub-upper-case": MalformedToken("id_not_canonical", _sub(lambda u: u.replace("spiffe://", "Spiffe://"))),
    "sub-newline": MalformedToken("id_bad_path", _sub(lambda u: u + "\n")),
    "sub-of-other-domain": MalformedToken("no_bundle", _sub(lambda u: "spiffe://other." + u.removeprefix("spiffe://"))),
    "wrong-signature": MalformedToken("signature_wrong", lambda t: replace(t, respell=_other_signature)),
    "no-exp": MalformedToken("expiry_missing", _claims(exp=None)),
    "exp-text": MalformedToken("expiry_malformed", lambda t: replace(t, claims={**t.claims, "exp": str(t.claims["exp"])})),
    "exp-true": MalformedToken("expiry_malformed", _claims(exp=True)),
    "exp-null": MalformedToken("expiry_malformed", lambda t: replace(t, claims={**t.claims, "exp": None})),
    "exp-huge": MalformedToken("expiry_malformed", _claims(exp=10**30)),
    "exp-infinite": MalformedToken("expiry_malformed", lambda t: replace(t, raw_claims=_with_exp(t, b"1e999"))),
    "exp-negative": MalformedToken("expiry_malformed", _claims(exp=-1)),
    "expired": MalformedToken("token_expired", lambda t: replace(t, claims={**t.claims, "exp": t.claims["iat"] - 1})),
    "nbf-text": MalformedToken("not_before_malformed", _claims(nbf="0")),
    "nbf-ahead": MalformedToken("token_not_yet_valid", _after_exp("nbf", -1)),
    "iat-text": MalformedToken("issued_at_malformed", _claims(iat="0")),
    "lives-too-long": MalformedToken(
        "lifetime_too_long", lambda t: replace(t, claims={**t.claims, "iat": t.claims["exp"] - 3601})
    ),
    "lives-too-long-with-iat-ahead": MalformedToken(
        "lifetime_too_long",
        lambda t: replace(t, claims={**t.claims, "iat": t.claims["exp"] + 1, "exp": t.claims["exp"] + 3601}),
    ),
    "no-aud": MalformedToken("audience_missing", _claims(aud=None)),
    "aud-empty": MalformedToken("audience_missing", _claims(aud=[])),
    "aud-number": MalformedToken("audience_malformed", _claims(aud=[1])),
    "aud-object": MalformedToken("audience_malformed", _claims(aud={"a": "b"})),
    "aud-other": MalformedToken("audience_wrong", _claims(aud="other")),
    "aud-prefix": MalformedToken(
        "audience_wrong", lambda t: replace(t, claims={**t.claims, "aud": [t.claims["aud"][0] + "/x"]})
    ),
    "aud-case": MalformedToken(
        "audience_wrong", lambda t: replace(t, claims={**t.claims, "aud": t.claims["aud"][0].upper()})
    ),
    "jti-number": MalformedToken("token_id_malformed", _claims(jti=1)),
}


def _other_signature(token: str) -> str:
    """One bit of the signature is another one."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def _with_exp(shape: TokenShape, literal: bytes) -> bytes:
    return json_bytes({**shape.claims, "exp": "EXP"}).replace(b'"EXP"', literal)
