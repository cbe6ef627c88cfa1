"""Task-Proof: each is one thing away from a good one. Used once, whoever else uses it at the same time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from pdp.errors import PdpError
from pdp.grants.nonces import Nonces
from pdp.grants.proof import ProofRules, ProvenRequest
from pdp.grants.replay import ReplayMemory, Use
from pdp.identity.dev.tokens import key_id_for
from pdp.tokens.compact import TOKEN_BYTES_MAX, base64url
from tests.pdp.grants.handles_world import (
    BODY,
    GOOD_PROOF,
    HANDLE,
    HOUR,
    ISSUER,
    JKT,
    NOW,
    OTHER_KEY,
    PROOF,
    RSA_KEY,
    SECOND,
    SHOWN,
    TASK_KEY,
    Refused,
    TokenShape,
    changed,
    fuzz,
    memory,
    proof_claims,
    proof_header,
    prove,
    public_jwk,
    refused,
    sha256,
    sign_token,
)

NOW_S = NOW // SECOND
JWK = public_jwk(TASK_KEY)
P384 = ec.generate_private_key(ec.SECP384R1())
NONCES = Nonces(b"n" * 32)
_HEADER, _CLAIMS, _SIGNATURE = GOOD_PROOF.split(".")


class Broken:
    """A memory on another machine that cannot be reached."""

    def use(self, *_: Any) -> Use:
        raise ConnectionError("no route to host")


class Odd:
    def use(self, *_: Any) -> Any:
        return True


def shown(**changes: Any) -> Any:
    return replace(SHOWN, **changes)


def jwk(**changes: Any) -> str:
    return proof_header(jwk=changed(JWK, changes))


def raw(claims: bytes) -> str:
    return sign_token(TokenShape(PROOF.header, PROOF.claims, raw_claims=claims), TASK_KEY)


def demanding(nonce: str | None, now: int = NOW) -> Callable[[], Any]:
    return lambda: prove(proof_claims(nonce=nonce), rules=ProofRules(nonces=NONCES.accepted(now)))


def used_up(**bounds: Any) -> ReplayMemory:
    found = memory(**bounds)
    found.use(JKT, "before", NOW, NOW + HOUR, NOW)
    return found


def test_a_good_one() -> None:
    found = prove(GOOD_PROOF)
    assert (found.key, found.covers_body, found.ends_us) == (JKT, True, NOW + 35 * SECOND)
    assert found.id == base64url(hashlib.sha256(b"one").digest())
    assert not prove(proof_claims(bdh=None)).covers_body
    assert not prove(proof_claims(bdh=None), shown=shown(body_sha256=None)).covers_body
    assert prove(proof_claims(bdh=None), shown=shown(body_sha256=sha256(b""), body_required=True)).covers_body
    assert prove(proof_claims(nonce="anything")).key == JKT


CASES: dict[str, tuple[str, Callable[[], Any]]] = {
    "none": ("proof_missing", lambda: prove()),
    "two": ("proof_several", lambda: prove(GOOD_PROOF, proof_claims(jti="two"))),
    "the same twice in one request": ("proof_several", lambda: prove(GOOD_PROOF, GOOD_PROOF)),
    "for a grant without a task key": ("proof_key_unbound", lambda: prove(GOOD_PROOF, shown=shown(key=None))),
    "too large": ("token_too_large", lambda: prove("a" * (TOKEN_BYTES_MAX + 1))),
    "empty": ("token_not_compact", lambda: prove("")),
    "joined by a comma": ("token_not_compact", lambda: prove(f"{GOOD_PROOF}, {GOOD_PROOF}")),
    "claims no JSON": ("token_not_json", lambda: prove(raw(b"{"))),
    "a name twice": ("token_duplicate_name", lambda: prove(raw(b'{"jti":"a","jti":"b"}'))),
    "no alg": ("algorithm_missing", lambda: prove(_no_algorithm())),
    "alg none": ("algorithm_not_allowed", lambda: prove(proof_header(alg="none"))),
    "alg HS256 with the public key": ("algorithm_not_allowed", lambda: prove(proof_header(alg="HS256"))),
    "alg RS256": ("algorithm_not_allowed", lambda: prove(proof_header(RSA_KEY, alg="RS256", jwk=public_jwk(RSA_KEY)))),
    "alg of another curve": (
        "algorithm_not_of_key",
        lambda: prove(sign_token(replace(PROOF, header={**PROOF.header, "alg": "ES384"}, signed_as="ES256"), TASK_KEY)),
    ),
    "typ of DPoP": ("type_not_allowed", lambda: prove(proof_header(typ="dpop+jwt"))),
    "typ of a handle": ("type_not_allowed", lambda: prove(proof_header(typ="task-grant+jwt"))),
    "no typ": ("type_not_allowed", lambda: prove(proof_header(typ=None))),
    "kid": ("header_not_allowed", lambda: prove(proof_header(kid="a"))),
    "jku": ("header_not_allowed", lambda: prove(proof_header(jku="https://evil.test"))),
    "x5c": ("header_not_allowed", lambda: prove(proof_header(x5c=[]))),
    "crit": ("header_not_allowed", lambda: prove(proof_header(crit=["exp"]))),
    "b64": ("header_not_allowed", lambda: prove(proof_header(b64=False))),
    "a claim more": ("proof_claims_wrong", lambda: prove(proof_claims(only="reads"))),
    "bdh a number": ("proof_claims_wrong", lambda: prove(proof_claims(bdh=1))),
    "nonce a number": ("proof_claims_wrong", lambda: prove(proof_claims(nonce=1))),
    "htm a list": ("proof_claims_wrong", lambda: prove(proof_claims(htm=["POST"]))),
    "no iat": ("proof_claims_wrong", lambda: prove(proof_claims(iat=None))),
    "no jwk": ("proof_key_missing", lambda: prove(proof_header(jwk=None))),
    "jwk a text": ("proof_key_malformed", lambda: prove(proof_header(jwk=JKT))),
    "jwk with a private part": ("proof_key_private", lambda: prove(jwk(d="AAAA"))),
    "jwk symmetric": ("proof_key_private", lambda: prove(proof_header(jwk={"kty": "oct", "k": "AAAA"}))),
    "jwk not on its curve": ("proof_key_malformed", lambda: prove(jwk(y=JWK["x"]))),
    "jwk with more": ("proof_key_malformed", lambda: prove(jwk(x5u="https://evil.test"))),
    "jwk of numbers": ("proof_key_malformed", lambda: prove(jwk(x=1))),
    "jwk padded": ("proof_key_malformed", lambda: prove(jwk(x=JWK["x"] + "="))),
    "jwk of an unknown curve": ("proof_key_malformed", lambda: prove(jwk(crv="secp256k1"))),
    "made with another key": (
        "proof_wrong_key",
        lambda: prove(proof_header(OTHER_KEY, jwk=public_jwk(OTHER_KEY))),
    ),
    "made with the issuer's key": ("proof_wrong_key", lambda: prove(proof_header(ISSUER, jwk=public_jwk(ISSUER)))),
    "another grant's key": ("proof_wrong_key", lambda: prove(GOOD_PROOF, shown=shown(key=key_id_for(OTHER_KEY)))),
    "signed by another": ("proof_signature_wrong", lambda: prove(proof_header(OTHER_KEY))),
    "signature of another proof": (
        "proof_signature_wrong",
        lambda: prove(".".join([*GOOD_PROOF.split(".")[:2], proof_claims(jti="two").split(".")[2]])),
    ),
    "no aud": ("proof_wrong_target", lambda: prove(proof_claims(aud=None))),
    "for another target": ("proof_wrong_target", lambda: prove(GOOD_PROOF, shown=shown(target="spiffe://dev.test/g"))),
    "no htm": ("proof_wrong_method", lambda: prove(proof_claims(htm=None))),
    "another method": ("proof_wrong_method", lambda: prove(GOOD_PROOF, shown=shown(method="DELETE"))),
    "method in lower case": ("proof_wrong_method", lambda: prove(proof_claims(htm="post"))),
    "no htu": ("proof_wrong_url", lambda: prove(proof_claims(htu=None))),
    "another path": ("proof_wrong_url", lambda: prove(GOOD_PROOF, shown=shown(url="https://ledger.test/row"))),
    "another host": ("proof_wrong_url", lambda: prove(GOOD_PROOF, shown=shown(url="https://other.test/rows"))),
    "a query": ("proof_wrong_url", lambda: prove(proof_claims(htu=f"{SHOWN.url}?tenant=b"))),
    "no gth": ("proof_of_other_grant", lambda: prove(proof_claims(gth=None))),
    "another handle": ("proof_of_other_grant", lambda: prove(GOOD_PROOF, shown=shown(handle="x" * 43))),
    "no bdh where it must be": (
        "proof_without_body",
        lambda: prove(proof_claims(bdh=None), shown=shown(body_required=True)),
    ),
    "another body": ("proof_body_wrong", lambda: prove(GOOD_PROOF, shown=shown(body_sha256=sha256(BODY + b" ")))),
    "bdh empty": ("proof_claims_wrong", lambda: prove(proof_claims(bdh=""))),
    "a body that nobody saw": ("proof_body_unseen", lambda: prove(GOOD_PROOF, shown=shown(body_sha256=None))),
    "no exp": ("proof_expired", lambda: prove(proof_claims(exp=None))),
    "exp a text": ("expiry_malformed", lambda: prove(proof_claims(exp="1"))),
    "exp true": ("expiry_malformed", lambda: prove(proof_claims(exp=True))),
    "exp huge": ("expiry_malformed", lambda: prove(proof_claims(exp=1 << 60))),
    "exp infinite": ("token_not_json", lambda: prove(raw(b'{"exp":Infinity}'))),
    "iat a text": ("issued_at_malformed", lambda: prove(proof_claims(iat="1"))),
    "expired": ("proof_expired", lambda: prove(GOOD_PROOF, now=NOW + 35 * SECOND)),
    "issued ahead": ("proof_issued_ahead", lambda: prove(GOOD_PROOF, now=NOW - 5 * SECOND - 1)),
    "lives too long": ("proof_lives_too_long", lambda: prove(proof_claims(exp=NOW_S + 61))),
    "lives too long from long ago": ("proof_lives_too_long", lambda: prove(proof_claims(iat=NOW_S - 31))),
    "no nonce": ("proof_wrong_nonce", demanding(None)),
    "a nonce of its own": ("proof_wrong_nonce", demanding("n" * 43)),
    "an old nonce": ("proof_wrong_nonce", demanding(NONCES.given(NOW - 121 * SECOND))),
    "no jti": ("proof_id_missing", lambda: prove(proof_claims(jti=None))),
    "jti empty": ("token_id_malformed", lambda: prove(proof_claims(jti=""))),
    "jti too long": ("token_id_malformed", lambda: prove(proof_claims(jti="j" * 257))),
    "memory out of reach": ("proof_memory_unreachable", lambda: prove(GOOD_PROOF, used=Broken())),
    "memory with another answer": ("proof_memory_unreachable", lambda: prove(GOOD_PROOF, used=Odd())),
    "memory full for the key": (
        "proof_memory_full",
        lambda: prove(GOOD_PROOF, used=used_up(share=1, of_key_max=1)),
    ),
    "memory began after it": (
        "proof_memory_young",
        lambda: prove(GOOD_PROOF, used=ReplayMemory(NOW, threading.Lock())),
    ),
}


def _no_algorithm() -> str:
    header = json.dumps({"typ": "task-proof+jwt", "jwk": JWK}).encode()
    return f"{base64url(header)}.{_CLAIMS}.{_SIGNATURE}"


@pytest.mark.parametrize("name", CASES)
def test_one_thing_wrong(name: str) -> None:
    code, call = CASES[name]
    refused(code, call)


def test_used_before() -> None:
    used = memory()
    prove(GOOD_PROOF, used=used)
    refused("proof_replayed", lambda: prove(GOOD_PROOF, used=used))
    refused("proof_replayed", lambda: prove(GOOD_PROOF, used=used, now=NOW + 35 * SECOND - 1))
    assert prove(proof_claims(jti="two"), used=used).key == JKT


def test_another_signature_of_the_same_proof_is_the_same_proof() -> None:
    """Who holds (r, s) can write (r, -s), and the key's owner can sign anew: the id is what is used up."""
    used = memory()
    prove(GOOD_PROOF, used=used)
    signature = _bytes(_SIGNATURE)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    other = r.to_bytes(32, "big") + (order - s).to_bytes(32, "big")
    assert decode_dss_signature(encode_dss_signature(r, order - s)) == (r, order - s)
    refused("proof_replayed", lambda: prove(f"{_HEADER}.{_CLAIMS}.{base64url(other)}", used=used))
    refused("proof_replayed", lambda: prove(proof_claims(), used=used))


def _bytes(part: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_only_a_genuine_proof_is_remembered() -> None:
    """Else a thief of the jti could burn the holder's proof."""
    used = memory()
    refused("proof_signature_wrong", lambda: prove(proof_header(OTHER_KEY), used=used))
    refused("proof_wrong_key", lambda: prove(proof_header(OTHER_KEY, jwk=public_jwk(OTHER_KEY)), used=used))
    assert prove(GOOD_PROOF, used=used).key == JKT


def test_other_curves() -> None:
    shape = TokenShape({**PROOF.header, "alg": "ES384", "jwk": public_jwk(P384)}, PROOF.claims)
    assert prove(sign_token(shape, P384), shown=shown(key=key_id_for(P384))).key == key_id_for(P384)


def test_a_nonce_that_was_given_out() -> None:
    for at in (NOW, NOW - 60 * SECOND):
        assert demanding(NONCES.given(at))()
    assert "nnnn" not in repr(NONCES)
    with pytest.raises(PdpError):
        Nonces(b"short")


def test_only_verifying_makes_one() -> None:
    with pytest.raises(TypeError):
        ProvenRequest(JKT, "id", True, NOW)
    with pytest.raises(PdpError):
        ProofRules(leeway_us=31 * SECOND)


def test_of_many_at_once_one_is_first() -> None:
    """C9, with threads that start together."""
    for round_ in range(20):
        used, gate, won, lost = memory(), threading.Barrier(8), [], []
        token = proof_claims(jti=f"race {round_}")

        def present(
            used: Any = used, gate: Any = gate, won: list[str] = won, lost: list[str] = lost, token: str = token
        ) -> None:
            gate.wait()
            try:
                won.append(prove(token, used=used).key)
            except Refused as error:
                lost.append(error.code)

        threads = [threading.Thread(target=present) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (won, lost) == ([JKT], ["proof_replayed"] * 7)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@fuzz
@given(st.data())
def test_no_mutation_is_accepted(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD_PROOF) - 1))
    letter = data.draw(st.sampled_from("ABz09-_.= \n\x00é"))
    kept, rest = GOOD_PROOF[:at], GOOD_PROOF[at:]
    token = data.draw(st.sampled_from([kept + letter + rest[1:], kept + letter + rest, kept]))
    if token != GOOD_PROOF:
        with pytest.raises(Refused) as caught:
            prove(token)
        assert str(caught.value)


@fuzz
@given(st.sampled_from(sorted({*PROOF.claims, "nonce", "more"} - {"nonce", "jti", "iat", "exp"})), JSON)
def test_no_claim_of_another_value_gets_through(name: str, value: Any) -> None:
    if value != PROOF.claims.get(name) and not (name == "bdh" and value is None):
        with pytest.raises(Refused):
            prove(proof_claims(**{name: value}) if value is not None else raw(_with(name)))


def _with(name: str) -> bytes:
    return json.dumps({**PROOF.claims, name: None}).encode()


@fuzz
@given(st.sampled_from(["jti", "iat", "exp", "nonce"]), JSON)
def test_what_is_free_is_read_or_refused(name: str, value: Any) -> None:
    with contextlib.suppress(Refused):
        found = prove(proof_claims(**{name: value}))
        assert found.key == JKT


@fuzz
@given(JSON, st.sampled_from(["alg", "typ", "jwk"]))
def test_no_header_of_another_value_gets_through(value: Any, name: str) -> None:
    header = json.dumps({**PROOF.header, name: value}).encode()
    if value != PROOF.header[name]:
        with pytest.raises(Refused):
            prove(f"{base64url(header)}.{_CLAIMS}.{_SIGNATURE}")


def test_a_handle_is_no_proof() -> None:
    refused("header_not_allowed", lambda: prove(HANDLE))
