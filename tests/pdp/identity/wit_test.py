"""W-1 to W-4: WIT-SVIDs and their proofs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from pdp.identity import NEVER, Options, Origin, ProvenWorkload, TrustStore, UnprovenWit, read_jwks, read_wit, verify_proof
from pdp.identity.dev.tokens import TokenShape, bundle_document, public_jwk, sign_token
from pdp.tokens.compact import digest
from tests.pdp.identity.world import DOMAIN, HOUR, ID, KEY, NOW, RSA_KEY, SECOND, key, refused

ISSUER = key()
OPTIONS = Options(accept_wit=True)
HEADER = "workload-identity-token"
TARGET = "https://pdp.dev.test/check"
S = NOW // SECOND
CONFIRMED = public_jwk(KEY, alg="ES256")
TRUST = TrustStore().with_bundle(
    read_jwks(
        DOMAIN,
        bundle_document([public_jwk(ISSUER, use="wit-svid", kid="w1"), public_jwk(RSA_KEY, use="jwt-svid", kid="j1")]),
        Origin("test", NOW, NEVER),
    )
)


def wit_token(header: Mapping[str, Any] | None = None, signer: Any = ISSUER, **claims: Any) -> str:
    head = {"alg": "ES256", "kid": "w1", "typ": "wit+jwt", **(header or {})}
    body = {"sub": ID, "exp": S + 300, "jti": "shared", "cnf": {"jwk": CONFIRMED}, **claims}
    return sign_token(TokenShape(_given(head), _given(body), signed_as="ES256"), signer)


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in members.items() if v is not ...}


def read(
    token: str, header: str = HEADER, options: Options = OPTIONS, trust: TrustStore = TRUST, now: int = NOW
) -> UnprovenWit:
    return read_wit(token, header, trust, now, options)


GOOD = wit_token()


def proof_token(header: Mapping[str, Any] | None = None, signer: Any = KEY, signed_as: str = "ES256", **claims: Any) -> str:
    head = {"alg": "ES256", "typ": "wpt+jwt", **(header or {})}
    body = {"aud": TARGET, "exp": S + 60, "jti": "p1", "wth": digest(GOOD), **claims}
    return sign_token(TokenShape(_given(head), _given(body), signed_as=signed_as), signer)


def prove(
    proofs: Sequence[str], others: Mapping[str, str] | None = None, first: bool = True, now: int = NOW
) -> ProvenWorkload:
    return verify_proof(read(GOOD), proofs, TARGET, others or {}, lambda _, __: first, now)


def test_a_workload_is_proven() -> None:
    found = prove([proof_token()])
    assert str(found.id) == ID
    assert found.not_after_us == NOW + 300 * SECOND - 1
    assert found.key_thumbprint == read(GOOD).key.thumbprint


WITS: dict[str, tuple[str, Callable[[], Any]]] = {
    "off": ("wit_not_enabled", lambda: read_wit(GOOD, HEADER, TRUST, NOW)),
    "as authorization": ("wit_wrong_header", lambda: read(GOOD, "Authorization")),
    "typ": ("type_not_allowed", lambda: read(wit_token({"typ": "JWT"}))),
    "no typ": ("type_not_allowed", lambda: read(wit_token({"typ": ...}))),
    "no kid": ("key_id_missing", lambda: read(wit_token({"kid": ...}))),
    "kid of another use": ("key_unknown", lambda: read(wit_token({"kid": "j1"}))),
    "alg": ("algorithm_not_allowed", lambda: read(wit_token({"alg": "HS256"}))),
    "alg of another key": ("algorithm_not_of_key", lambda: read(wit_token({"alg": "RS256"}))),
    "crit": ("critical_not_understood", lambda: read(wit_token({"crit": ["x"]}))),
    "no sub": ("subject_missing", lambda: read(wit_token(sub=...))),
    "sub without path": ("id_no_path", lambda: read(wit_token(sub="spiffe://dev.test"))),
    "no exp": ("expiry_missing", lambda: read(wit_token(exp=...))),
    "exp as text": ("expiry_malformed", lambda: read(wit_token(exp="1"))),
    "expired": ("token_expired", lambda: read(wit_token(exp=S))),
    "nbf": ("token_not_yet_valid", lambda: read(wit_token(nbf=S + 1))),
    "lives too long": ("lifetime_too_long", lambda: read(wit_token(exp=S + 3601))),
    "lives too long, from an iat ahead": ("lifetime_too_long", lambda: read(wit_token(iat=S + 9000, exp=S + 9300))),
    "iat a text": ("issued_at_malformed", lambda: read(wit_token(iat="0"))),
    "aud": ("wit_audience_present", lambda: read(wit_token(aud="x"))),
    "no cnf": ("confirmation_missing", lambda: read(wit_token(cnf=...))),
    "cnf without jwk": ("confirmation_missing", lambda: read(wit_token(cnf={"jkt": "x"}))),
    "cnf.jwk a text": ("confirmation_malformed", lambda: read(wit_token(cnf={"jwk": "x"}))),
    "cnf.jwk without alg": ("confirmation_malformed", lambda: read(wit_token(cnf={"jwk": public_jwk(KEY)}))),
    "cnf.jwk of other alg": ("confirmation_malformed", lambda: read(wit_token(cnf={"jwk": {**CONFIRMED, "alg": "ES384"}}))),
    "cnf.jwk off the curve": ("confirmation_malformed", lambda: read(wit_token(cnf={"jwk": {**CONFIRMED, "x": "AAAA"}}))),
    "cnf.jwk private": ("confirmation_private", lambda: read(wit_token(cnf={"jwk": {**CONFIRMED, "d": "AAAA"}}))),
    "cnf.jwk symmetric": ("confirmation_private", lambda: read(wit_token(cnf={"jwk": {"kty": "oct", "k": "AAAA"}}))),
    "signature": ("signature_wrong", lambda: read(wit_token(signer=KEY))),
    "no bundle": ("no_bundle", lambda: read(GOOD, trust=TrustStore())),
}

OTHER_TOKEN = "some.access.token"

PROOFS: dict[str, tuple[str, Callable[[], Any]]] = {
    "none": ("proof_missing", lambda: prove([])),
    "two": ("proof_several", lambda: prove([proof_token(), proof_token()])),
    "typ": ("type_not_allowed", lambda: prove([proof_token({"typ": "JWT"})])),
    "crit": ("critical_not_understood", lambda: prove([proof_token({"crit": ["x"]})])),
    "alg": ("proof_algorithm_differs", lambda: prove([proof_token({"alg": "ES384"})])),
    "signature": ("proof_signature_wrong", lambda: prove([proof_token(signer=ISSUER)])),
    "aud": ("proof_wrong_target", lambda: prove([proof_token(aud="https://evil.test/check")])),
    "aud a list": ("proof_wrong_target", lambda: prove([proof_token(aud=[TARGET])])),
    "no exp": ("proof_expired", lambda: prove([proof_token(exp=...)])),
    "expired": ("proof_expired", lambda: prove([proof_token(exp=S)])),
    "exp far": ("proof_lives_too_long", lambda: prove([proof_token(exp=S + 61)])),
    "wth": ("proof_of_other_token", lambda: prove([proof_token(wth=digest("x"))])),
    "no wth": ("proof_of_other_token", lambda: prove([proof_token(wth=...)])),
    "uncovered": ("proof_does_not_cover", lambda: prove([proof_token()], {"ath": OTHER_TOKEN})),
    "uncovered other": ("proof_does_not_cover", lambda: prove([proof_token(oth={})], {"grant": OTHER_TOKEN})),
    "wrong hash": ("proof_hash_wrong", lambda: prove([proof_token(ath=digest("x"))], {"ath": OTHER_TOKEN})),
    "covers what is not there": ("proof_covers_unknown", lambda: prove([proof_token(tth=digest("x"))])),
    "oth not understood": ("proof_covers_unknown", lambda: prove([proof_token(oth={"x": digest("x")})])),
    "oth no object": ("proof_covers_unknown", lambda: prove([proof_token(oth=["x"])])),
    "ath inside oth": (
        "proof_covers_unknown",
        lambda: prove([proof_token(oth={"ath": digest(OTHER_TOKEN)})], {"ath": OTHER_TOKEN}),
    ),
    "no jti": ("proof_id_missing", lambda: prove([proof_token(jti=...)])),
    "replayed": ("proof_replayed", lambda: prove([proof_token()], first=False)),
}


@pytest.mark.parametrize("name", WITS)
def test_one_thing_wrong_in_the_token(name: str) -> None:
    refused(*WITS[name])


@pytest.mark.parametrize("name", PROOFS)
def test_one_thing_wrong_in_the_proof(name: str) -> None:
    refused(*PROOFS[name])


def test_what_is_covered_is_usable() -> None:
    covered = proof_token(ath=digest(OTHER_TOKEN), oth={"grant": digest("g")})
    assert prove([covered], {"ath": OTHER_TOKEN, "grant": "g"})


def test_unknown_headers_of_a_wit_are_ignored() -> None:
    assert read(wit_token({"x": 1, "jku": "https://evil.test"}))


def test_the_same_wit_serves_several_instances() -> None:
    """W-4: what may be used once is the proof, by its key and jti; the WIT's own jti is no replay key."""
    seen: set[tuple[str, str]] = set()

    def first_use(proof: tuple[str, str], until_us: int) -> bool:
        assert until_us == NOW + 60 * SECOND
        return not (proof in seen or seen.add(proof))

    wit = read(GOOD)
    for jti in ("p1", "p2"):
        assert verify_proof(wit, [proof_token(jti=jti)], TARGET, {}, first_use, NOW)
    refused("proof_replayed", lambda: verify_proof(wit, [proof_token(jti="p2")], TARGET, {}, first_use, NOW))


def test_a_refused_proof_is_not_used_up() -> None:
    def first_use(_: tuple[str, str], __: int) -> bool:
        raise AssertionError("asked too early")

    wit = read(GOOD)
    for name, (code, _) in PROOFS.items():
        if name in ("signature", "aud"):
            token = proof_token(signer=ISSUER) if name == "signature" else proof_token(aud="x")
            refused(code, lambda t=token: verify_proof(wit, [t], TARGET, {}, first_use, NOW))  # type: ignore[misc]


def test_a_wit_that_ended_proves_nothing() -> None:
    wit = read(GOOD)
    late = NOW + 300 * SECOND
    token = proof_token(exp=S + 330)
    refused("token_expired", lambda: verify_proof(wit, [token], TARGET, {}, lambda _, __: True, late))


def test_nothing_else_makes_one() -> None:
    with pytest.raises(TypeError):
        ProvenWorkload(read(GOOD).id, NOW + HOUR, "t", "v", object())
