"""J-1 to J-9: each token is one thing away from a good one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.identity import (
    NEVER,
    REFUSALS,
    Options,
    Origin,
    Refused,
    TrustStore,
    VerifiedToken,
    read_jwks,
    refuse_unbound,
    verify_jwt_svid,
    verify_x509_svid,
)
from pdp.identity.dev.malformed_tokens import MALFORMED_TOKENS
from pdp.identity.dev.tokens import algorithm_for, base64url, bundle_document, key_id_for, public_jwk, sign_token
from tests.pdp.identity.world import (
    AUDIENCE,
    DOMAIN,
    HOUR,
    ID,
    KEY,
    NOW,
    RSA_KEY,
    SECOND,
    TRUST,
    WORLD,
    domain,
    key,
    outcome,
    refused,
    trusting,
)

SHAPE = WORLD.token_shape(ID, AUDIENCE, NOW, HOUR)
GOOD = sign_token(SHAPE, WORLD.token_key)


def verify(token: str = GOOD, trust: TrustStore = TRUST, now: int = NOW, **options: Any) -> VerifiedToken:
    return verify_jwt_svid(token, AUDIENCE, trust, now, Options(**options))


def claims(**changes: Any) -> str:
    return sign_token(replace(SHAPE, claims={**SHAPE.claims, **changes}), WORLD.token_key)


def header(**changes: Any) -> str:
    members = {k: v for k, v in {**SHAPE.header, **changes}.items() if v is not None}
    return sign_token(replace(SHAPE, header=members), WORLD.token_key)


def trusting_keys(*keys: dict[str, Any]) -> TrustStore:
    return TrustStore().with_bundle(read_jwks(DOMAIN, bundle_document(keys), Origin("test", NOW, NEVER)))


def jwk(k: Any, **members: Any) -> dict[str, Any]:
    return public_jwk(k, **{"use": "jwt-svid", "kid": key_id_for(WORLD.token_key), **members})


def test_a_good_one_is_verified() -> None:
    found = verify()
    assert str(found.id) == ID
    assert found.not_after_us == NOW + HOUR - 1
    assert (found.audience_count, found.strength) == (1, "bearer")
    assert found.bundle_version == TRUST.bundles[DOMAIN].version


@pytest.mark.parametrize("name", MALFORMED_TOKENS)
def test_one_thing_wrong(name: str) -> None:
    token = WORLD.token(ID, AUDIENCE, NOW, HOUR, name)
    refused(MALFORMED_TOKENS[name].code, lambda: verify(token))


CASES: dict[str, tuple[str, Callable[[], Any]]] = {
    "other key of the same kid": ("signature_wrong", lambda: verify(trust=trusting_keys(jwk(KEY)))),
    "key for certificates only": (
        "key_unknown",
        lambda: verify(trust=trusting_keys(jwk(WORLD.token_key, use="x509-svid"), jwk(KEY, kid="other"))),
    ),
    "key without use": (
        "key_unknown",
        lambda: verify(trust=trusting_keys({**jwk(WORLD.token_key), "use": "sig"}, jwk(KEY, kid="other"))),
    ),
    "key of another algorithm": (
        "algorithm_not_of_key",
        lambda: verify(trust=trusting_keys(jwk(RSA_KEY, alg="RS256"))),
    ),
    "no kid, two keys": (
        "key_id_ambiguous",
        lambda: verify(header(kid=None), trusting_keys(jwk(WORLD.token_key), jwk(KEY, kid="b")), require_key_id=False),
    ),
    "no bundle": ("no_bundle", lambda: verify(trust=TrustStore())),
    "bundle of another domain, same key": ("no_bundle", lambda: verify(trust=_same_key_elsewhere())),
    "emptied bundle": ("bundle_revoked", lambda: verify(trust=trusting_keys())),
    "stale bundle": ("bundle_stale", lambda: verify(trust=TRUST.fresh_until(DOMAIN, NOW - 1))),
    "other domain under our bundle": (
        "no_bundle",
        lambda: verify(claims(sub="spiffe://other.test/x"), TRUST),
    ),
}


def _same_key_elsewhere() -> TrustStore:
    return TrustStore().with_bundle(read_jwks("staging.test", WORLD.bundle_document(), Origin("test", NOW, NEVER)))


@pytest.mark.parametrize("name", CASES)
def test_keys_and_bundles(name: str) -> None:
    code, call = CASES[name]
    refused(code, call)


def test_a_key_signs_for_its_own_domain_only() -> None:
    """A token of domain B under the bundle of A: the flaw that py-spiffe had."""
    other = domain("other.test")
    token = other.token(ID, AUDIENCE, NOW, HOUR)  # signed by B, speaks for A
    refused("key_unknown", lambda: verify(token, trusting(WORLD, other)))


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_other_curves(curve: ec.EllipticCurve) -> None:
    other = domain(token=ec.generate_private_key(curve))
    assert verify(other.token(ID, AUDIENCE, NOW, HOUR), trusting(other))


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_rsa(algorithm: str) -> None:
    other = domain(token=RSA_KEY)
    shape = other.token_shape(ID, AUDIENCE, NOW, HOUR)
    token = sign_token(replace(shape, header={**shape.header, "alg": algorithm}), RSA_KEY)
    assert verify(token, trusting(other))
    pinned = TrustStore().with_bundle(
        read_jwks(
            DOMAIN, bundle_document([public_jwk(RSA_KEY, use="jwt-svid", kid=key_id_for(RSA_KEY), alg="RS256")]), _ORIGIN
        )
    )
    if algorithm == "RS256":
        assert verify(token, pinned)
    else:
        refused("algorithm_not_of_key", lambda: verify(token, pinned))


_ORIGIN = Origin("test", NOW, NEVER)


# ---- times and audiences at their borders


def test_expiry_to_the_microsecond() -> None:
    found = verify()
    assert verify(now=found.not_after_us)
    refused("token_expired", lambda: verify(now=found.not_after_us + 1))
    late = NOW + HOUR + 30 * SECOND
    assert verify(now=late - 1, token_leeway_us=30 * SECOND).not_after_us == late - 1
    refused("token_expired", lambda: verify(now=late, token_leeway_us=30 * SECOND))
    with pytest.raises(ValueError):
        Options(token_leeway_us=31 * SECOND)


def test_a_fraction_of_a_second_is_a_number() -> None:
    assert verify(claims(exp=NOW // SECOND + 10.25)).not_after_us == NOW + 10 * SECOND + 250_000 - 1


def test_not_before() -> None:
    ahead = claims(nbf=NOW // SECOND + 10)
    refused("token_not_yet_valid", lambda: verify(ahead))
    assert verify(ahead, token_leeway_us=10 * SECOND)
    assert verify(claims(nbf=NOW // SECOND))


def test_issued_in_the_future_is_no_bound() -> None:
    assert verify(claims(iat=NOW // SECOND + 600))


def test_lifetime() -> None:
    long = claims(exp=NOW // SECOND + 3601)
    refused("lifetime_too_long", lambda: verify(long))
    assert verify(long, token_lifetime_us_max=2 * HOUR)
    bare = {k: v for k, v in SHAPE.claims.items() if k != "iat"}
    unbounded = sign_token(replace(SHAPE, claims={**bare, "exp": NOW // SECOND + 3601}), WORLD.token_key)
    refused("lifetime_too_long", lambda: verify(unbounded))


def test_audiences() -> None:
    assert verify(claims(aud=AUDIENCE)).audience_count == 1
    assert verify(claims(aud=["a", AUDIENCE, "b"])).audience_count == 3
    with pytest.raises(ValueError):
        verify_jwt_svid(GOOD, "", TRUST, NOW)  # CVE-2026-55689: an audience that nobody set


def test_types_and_ids_that_are_allowed() -> None:
    assert verify(header(typ=None))
    assert verify(header(typ="JOSE"))
    assert verify(header(kid=None), trusting_keys(jwk(WORLD.token_key)), require_key_id=False)


# ---- J-8, J-9


def test_a_bearer_token_needs_the_channel_of_its_workload() -> None:
    def peer(name: str) -> Any:
        return verify_x509_svid(WORLD.certificates(name, KEY.public_key(), NOW, HOUR), TRUST, NOW)

    refuse_unbound(verify(), peer(ID))
    refused("bearer_unbound", lambda: refuse_unbound(verify(), peer(ID + "x")))
    refused("bearer_unbound", lambda: refuse_unbound(verify(), None))


def test_deny_lists_survive_another_signature_of_the_same_content() -> None:
    """(r, s) and (r, n - s) are both valid: a list keyed on bytes would miss the second."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    head, _, signature = GOOD.rpartition(".")
    import base64

    raw = base64.urlsafe_b64decode(signature + "==")
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    twin = f"{head}.{base64url(r.to_bytes(32, 'big') + (order - s).to_bytes(32, 'big'))}"
    assert decode_dss_signature(encode_dss_signature(r, s)) == (r, s)
    assert twin != GOOD
    assert verify(twin).deny_key == verify().deny_key
    assert verify(claims(jti="one")).deny_key == (DOMAIN, SHAPE.header["kid"], "one")
    assert verify(claims(more=1)).deny_key != verify().deny_key


def test_nothing_else_makes_one() -> None:
    with pytest.raises(TypeError):
        VerifiedToken(verify().id, NOW, NEVER, 1, ("", "", ""), "v", object())


# ---- anything at all


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_an_altered_token_is_refused_by_a_code(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(GOOD) - 1))
    with_what = data.draw(st.text(st.characters(min_codepoint=1, max_codepoint=300), max_size=3))
    cut = data.draw(st.integers(0, 3))
    token = GOOD[:place] + with_what + GOOD[place + cut :]
    if token == GOOD:
        return
    with pytest.raises(Refused) as caught:
        verify(token)
    assert caught.value.code in REFUSALS


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "x"]), _JSON, max_size=4),
    st.dictionaries(st.sampled_from(["sub", "exp", "aud", "nbf", "iat", "jti", "cnf"]), _JSON, max_size=6),
)
def test_any_members_are_refused_by_a_code_or_verified(head: dict[str, Any], body: dict[str, Any]) -> None:
    shape = replace(SHAPE, header={**SHAPE.header, **head}, claims={**SHAPE.claims, **body}, signed_as="ES256")
    token = sign_token(
        replace(shape, raw_header=json.dumps(shape.header).encode(), raw_claims=json.dumps(shape.claims).encode()),
        WORLD.token_key,
    )
    code, found = outcome(lambda: verify(token))
    if code == "":
        assert shape.claims["sub"] == str(found.id)
        assert AUDIENCE in shape.claims["aud"]
        assert shape.claims["exp"] * SECOND > NOW


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.builds("{}.{}.{}".format, *[st.binary(max_size=60).map(base64url)] * 3))
def test_any_text_is_refused_by_a_code(token: str) -> None:
    with pytest.raises(Refused) as caught:
        verify(token)
    assert caught.value.code in REFUSALS


def test_the_key_of_another_type_has_its_algorithm() -> None:
    assert [algorithm_for(k) for k in (key(), RSA_KEY)] == ["ES256", "RS256"]
