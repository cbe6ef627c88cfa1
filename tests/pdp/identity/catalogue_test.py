"""Section C of the catalogue of bad inputs, as far as it is about credentials; what else it names is listed at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from language import parse_pattern
from pdp.identity import (
    NEVER,
    Origin,
    TrustStore,
    Verifier,
    parse_workload_id,
    read_jwks,
    read_pem,
    verify_jwt_svid,
    verify_x509_svid,
)
from pdp.identity.dev.tokens import sign_token
from tests.pdp.identity.world import AUDIENCE, DOMAIN, HOUR, ID, KEY, NOW, SECOND, TRUST, WORLD, domain, refused, trusting

ORIGIN = Origin("test", NOW, NEVER)


def certificate(malformed: str | None = None) -> Callable[[], Any]:
    return lambda: verify_x509_svid(WORLD.certificates(ID, KEY.public_key(), NOW, HOUR, malformed), TRUST, NOW)


def token(malformed: str | None = None, **claims: Any) -> Callable[[], Any]:
    if malformed is not None:
        return lambda: verify_jwt_svid(WORLD.token(ID, AUDIENCE, NOW, HOUR, malformed), AUDIENCE, TRUST, NOW)
    shape = WORLD.token_shape(ID, AUDIENCE, NOW, HOUR)
    signed = sign_token(replace(shape, claims={**shape.claims, **claims}), WORLD.token_key)
    return lambda: verify_jwt_svid(signed, AUDIENCE, TRUST, NOW)


def remembered_then(now: int, trust: TrustStore) -> Callable[[], Any]:
    verifier = Verifier(AUDIENCE)
    presented = WORLD.certificates(ID, KEY.public_key(), NOW, HOUR)
    verifier.workload(presented, TRUST, NOW)
    return lambda: verifier.workload(presented, trust, now)


OTHER = domain()

ROWS: list[tuple[int, str, Callable[[], Any], str]] = [
    (54, "two URI names", certificate("two-ids"), "several_uri_names"),
    (54, "a second URI of another kind", certificate("id-and-https"), "several_uri_names"),
    (55, "the ID in a DNS name", certificate("id-in-dns"), "no_uri_name"),
    (55, "the ID in an e-mail name", certificate("id-in-email"), "no_uri_name"),
    *[
        (56, text, lambda t=text: parse_workload_id(t), code)  # type: ignore[misc]
        for text, code in [
            ("spiffe://TD/x", "id_not_canonical"),
            ("spiffe://td//x", "id_empty_segment"),
            ("spiffe://td/./x", "id_dot_segment"),
            ("spiffe://td/../x", "id_dot_segment"),
            ("spiffe://td/%78", "id_bad_path"),
            ("spiffe://td/x?y", "id_bad_path"),
            ("spiffe://td:1/x", "id_bad_trust_domain"),
            ("spiffe://td/" + "x" * 2048, "id_too_long"),
        ]
    ],
    (58, "the same path in a federated domain", token(sub="spiffe://partner.test/ns/billing/api"), "no_bundle"),
    (59, "CA:true", certificate("leaf-is-ca"), "leaf_is_ca"),
    (59, "keyCertSign", certificate("leaf-signs-certificates"), "leaf_signs_certificates"),
    (60, "expired", certificate("expired"), "expired"),
    (60, "not yet valid", certificate("not-yet-valid"), "not_yet_valid"),
    (60, "expired while remembered", remembered_then(NOW + HOUR + SECOND, TRUST), "expired"),
    (61, "verified under an old bundle", remembered_then(NOW, trusting(OTHER)), "untrusted_issuer"),
    (62, "a CA that has not arrived yet", lambda: verify_x509_svid(_by(OTHER), TRUST, NOW), "untrusted_issuer"),
    (63, "a bundle file without a certificate", lambda: read_pem(DOMAIN, b"", ORIGIN), "bundle_malformed"),
    (63, "a bundle without a list of keys", lambda: read_jwks(DOMAIN, b"{}", ORIGIN), "bundle_without_keys"),
    (63, "a bundle that says there are none", lambda: verify_x509_svid(_by(WORLD), _emptied(), NOW), "bundle_revoked"),
    (64, "alg none", token("alg-none"), "algorithm_not_allowed"),
    (64, "HS256 with the public key", token("alg-hs256"), "algorithm_not_allowed"),
    (64, "alg of another type of key", token("alg-of-other-key"), "algorithm_not_of_key"),
    (65, "no exp", token("no-exp"), "expiry_missing"),
    (65, "exp a text", token("exp-text"), "expiry_malformed"),
    (65, "exp huge", token("exp-huge"), "expiry_malformed"),
    (65, "exp infinite", token("exp-infinite"), "expiry_malformed"),
    (66, "no aud", token("no-aud"), "audience_missing"),
    (66, "aud a prefix of ours", token(aud=AUDIENCE[:-1]), "audience_wrong"),
    (66, "aud with ours as prefix", token("aud-prefix"), "audience_wrong"),
    (66, "our audience unset", lambda: Verifier().token("a.b.c", TRUST, NOW), "audience_wrong"),
    (68, "crit", token("crit"), "header_not_allowed"),
    (68, "b64", token("b64"), "header_not_allowed"),
    (68, "jku", token("jku"), "header_not_allowed"),
    (68, "x5u", token("x5u"), "header_not_allowed"),
    (68, "jwk", token("jwk"), "header_not_allowed"),
    (69, "kid a path", token("kid-unknown"), "key_unknown"),
    (69, "kid long", token("kid-long"), "key_id_malformed"),
    (69, "kid of 1 MB", lambda: verify_jwt_svid("a" * (1 << 20) + ".b.c", AUDIENCE, TRUST, NOW), "token_too_large"),
    (70, "a claim twice", token("duplicate-sub"), "token_duplicate_name"),
    (70, "a header twice", token("duplicate-alg"), "token_duplicate_name"),
    (73, "token of another than the channel", lambda: _unbound(), "bearer_unbound"),
]


def _by(of: Any) -> tuple[bytes, ...]:
    found: tuple[bytes, ...] = of.certificates(ID, KEY.public_key(), NOW, HOUR)
    return found


def _emptied() -> TrustStore:
    return TRUST.with_bundle(read_jwks(DOMAIN, b'{"keys":[],"spiffe_sequence":2}', ORIGIN))


def _unbound() -> None:
    from pdp.identity import refuse_unbound

    peer = verify_x509_svid(WORLD.certificates(ID + "/y", KEY.public_key(), NOW, HOUR), TRUST, NOW)
    refuse_unbound(token()(), peer)


@pytest.mark.parametrize(
    ("number", "name", "call", "code"), ROWS, ids=lambda v: str(v)[:40] if isinstance(v, int | str) else ""
)
def test_row(number: int, name: str, call: Callable[[], Any], code: str) -> None:
    refused(code, call)


def test_57_a_prefix_of_text_is_no_prefix_of_segments() -> None:
    pattern = parse_pattern("spiffe://td/ns/prod/**")
    assert pattern is not None
    assert not pattern.matches("spiffe://td/ns/prod-evil")


def test_62_what_is_known_keeps_being_served_while_a_ca_rotates() -> None:
    both = read_pem(DOMAIN, WORLD.bundle_pem() + OTHER.bundle_pem(), ORIGIN)
    rotated = TrustStore().with_bundle(both)
    assert verify_x509_svid(_by(WORLD), rotated, NOW)
    assert verify_x509_svid(_by(OTHER), rotated, NOW)


def test_66_an_audience_that_nobody_set_fails_at_the_start() -> None:
    with pytest.raises(ValueError):
        Verifier("")


def test_67_iss_is_never_compared() -> None:
    """A JWT-SVID's issuer is the trust domain of `sub`, whose keys verify it; `iss` decides nothing."""
    assert token(iss="https://dev.test.evil")()


#: Not about a credential by itself; they are rows where the thing that they are about is built.
ELSEWHERE = {
    61: "TLS tickets: the listener (L-2); here, that nothing remembered outlives the bundle",
    71: "task binding: grants",
    72: "depth of delegation: grants",
    73: "a principal claimed beside the channel: the service; here, the token beside it",
}


def test_the_whole_section_is_accounted_for() -> None:
    assert {n for n, _, _, _ in ROWS} | {57, 62, 66, 67} | set(ELSEWHERE) == set(range(54, 74))
