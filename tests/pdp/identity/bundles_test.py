"""B-1 to B-7 and B-10: what a document of trust says, and what takes its place."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.grants.people_keys import read_key_set
from pdp.identity import (
    NEVER,
    Options,
    Origin,
    TrustBundle,
    TrustStore,
    poll_after_us,
    read_bundle_map,
    read_jwks,
    read_pem,
    read_token_keys,
    split_der,
    stale_after_us,
    verify_jwt_svid,
    verify_x509_svid,
)
from pdp.identity.dev.tokens import authority_jwk, bundle_document, public_jwk
from pdp.store.trust import Trust
from tests.pdp.identity.world import (
    AUDIENCE,
    DOMAIN,
    ED_KEY,
    HOUR,
    ID,
    KEY,
    NOW,
    ROCA_KEY,
    RSA_KEY,
    SECOND,
    WEAK_KEY,
    WORLD,
    domain,
    outcome,
    refused,
)


def _map_of(domains: int, keys: int) -> bytes:
    return json.dumps({"trust_domains": {f"d{n}": {"keys": [{"kty": "x"}] * keys} for n in range(domains)}}).encode()


def _root_of_size(left: int) -> dict[str, Any]:
    """An authority whose DER leaves so many bytes over in base64: the size of a signature is chance."""
    roots = (domain().root for _ in range(500))
    return authority_jwk(next(r.certificate for r in roots if len(r.der) % 3 == left))


def _loose(text: str) -> str:
    """The same bytes, spelled with other bits left over at the end."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    bare = text.rstrip("=")
    return bare[:-1] + alphabet[alphabet.index(bare[-1]) ^ 1] + text[len(bare) :]


WHOLE_ROOT, ODD_ROOT = _root_of_size(0), _root_of_size(1)
ORIGIN = Origin("test", NOW)
ROOT = authority_jwk(WORLD.root.certificate)
TOKEN = public_jwk(WORLD.token_key, use="jwt-svid", kid="t1")
WIT = public_jwk(KEY, use="wit-svid", kid="w1")


def jwks(*entries: dict[str, Any], options: Options | None = None, **members: Any) -> TrustBundle:
    return read_jwks(DOMAIN, bundle_document(entries, **members), ORIGIN, options or Options())


def without(entry: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if k not in names}


def test_a_whole_document() -> None:
    found = jwks(ROOT, TOKEN, WIT, spiffe_sequence=7, spiffe_refresh_hint=60)
    assert found.authorities == (WORLD.root.certificate,)
    assert (set(found.token_keys), set(found.wit_keys)) == ({"t1"}, {"w1"})
    assert (found.sequence, found.refresh_hint_us, found.left_out) == (7, 60 * SECOND, ())
    assert not found.is_empty


PRIVATE_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

REFUSED: dict[str, tuple[str, Callable[[], Any]]] = {
    "not JSON": ("bundle_malformed", lambda: read_jwks(DOMAIN, b"{", ORIGIN)),
    "a list": ("bundle_malformed", lambda: read_jwks(DOMAIN, b"[]", ORIGIN)),
    "5 MB": ("bundle_too_large", lambda: read_jwks(DOMAIN, b" " * (5 << 20), ORIGIN)),
    "Finding F12: many keys": ("bundle_too_large", lambda: jwks(*[{"kty": "x"}] * 1001)),
    "Finding F12: many certificates in PEM": (
        "bundle_too_large",
        lambda: read_pem(DOMAIN, b"-----BEGIN X\n" * 1001, ORIGIN),
    ),
    "Finding F12: many certificates in DER": ("bundle_too_large", lambda: split_der(b"\x30\x00" * 1001)),
    "Finding F12: many keys of several domains": ("bundle_too_large", lambda: read_bundle_map(_map_of(2, 500), ORIGIN)),
    "Finding F12: many domains": ("bundle_too_large", lambda: read_bundle_map(_map_of(1001, 0), ORIGIN)),
    "Finding F12: many keys of the Workload API": (
        "bundle_too_large",
        lambda: read_token_keys(bundle_document([{"kty": "x"}] * 1001)),
    ),
    "a name twice": ("bundle_duplicate_name", lambda: read_jwks(DOMAIN, b'{"keys":[],"keys":[]}', ORIGIN)),
    "not a domain": ("bundle_wrong_domain", lambda: read_jwks("A/b", b'{"keys":[]}', ORIGIN)),
    "no keys": ("bundle_without_keys", lambda: read_jwks(DOMAIN, b"{}", ORIGIN)),
    "keys no list": ("bundle_without_keys", lambda: read_jwks(DOMAIN, b'{"keys":{}}', ORIGIN)),
    "keys null": ("bundle_without_keys", lambda: read_jwks(DOMAIN, b'{"keys":null}', ORIGIN)),
    "a key no object": ("bundle_malformed", lambda: read_jwks(DOMAIN, b'{"keys":[1]}', ORIGIN)),
    "private key": ("bundle_private_key", lambda: jwks({**TOKEN, "d": "AAAA"})),
    "private key in PEM": ("bundle_private_key", lambda: read_pem(DOMAIN, WORLD.bundle_pem() + PRIVATE_PEM, ORIGIN)),
    "PEM without certificate": ("bundle_malformed", lambda: read_pem(DOMAIN, b"", ORIGIN)),
    "PEM cut off": ("bundle_malformed", lambda: read_pem(DOMAIN, WORLD.bundle_pem()[:-40], ORIGIN)),
    "two in x5c": ("bundle_extra_certificates", lambda: jwks({**ROOT, "x5c": ROOT["x5c"] * 2})),
    "x5c no certificate": ("bundle_bad_certificate", lambda: jwks({**ROOT, "x5c": ["AAAA"]})),
    "x5c in base64url": ("bundle_bad_certificate", lambda: jwks({**ROOT, "x5c": ["-_-_"]})),
    "Finding F13: x5c with padding too long": (
        "bundle_bad_certificate",
        lambda: jwks({**WHOLE_ROOT, "x5c": [WHOLE_ROOT["x5c"][0] + "="]}),
    ),
    "Finding F13: x5c with bits left over": (
        "bundle_bad_certificate",
        lambda: jwks({**ODD_ROOT, "x5c": [_loose(ODD_ROOT["x5c"][0])]}),
    ),
    "Finding F13: a key with bits left over": ("bundle_bad_key", lambda: jwks({**TOKEN, "x": _loose(TOKEN["x"])})),
    "Finding F8: a key of the flawed generator": (
        "bundle_bad_key",
        lambda: jwks(public_jwk(ROCA_KEY, use="jwt-svid", kid="k")),
    ),
    "x5c a text": ("bundle_bad_certificate", lambda: jwks({**ROOT, "x5c": "AAAA"})),
    "x5c of another key": (
        "bundle_bad_certificate",
        lambda: jwks({**public_jwk(KEY), "use": "x509-svid", "x5c": ROOT["x5c"]}),
    ),
    "no kid": ("bundle_key_without_id", lambda: jwks(without(TOKEN, "kid"))),
    "kid twice": ("bundle_key_id_twice", lambda: jwks(TOKEN, TOKEN)),
    "kid twice over uses": ("bundle_key_id_twice", lambda: jwks(TOKEN, {**WIT, "kid": "t1"})),
    "kid a number": ("bundle_bad_key", lambda: jwks({**TOKEN, "kid": 1})),
    "key off the curve": ("bundle_bad_key", lambda: jwks({**TOKEN, "x": "AAAA"})),
    "key without y": ("bundle_bad_key", lambda: jwks(without(TOKEN, "y"))),
    "key padded": ("bundle_bad_key", lambda: jwks({**TOKEN, "x": TOKEN["x"] + "="})),
    "key weak": ("bundle_bad_key", lambda: jwks(public_jwk(WEAK_KEY, use="jwt-svid", kid="k"))),
    "key of HS256": ("bundle_bad_key", lambda: jwks({**TOKEN, "alg": "HS256"})),
    "key of another alg": ("bundle_bad_key", lambda: jwks({**TOKEN, "alg": "ES384"})),
    "unknown curve": ("bundle_bad_key", lambda: jwks({**TOKEN, "crv": "secp256k1"})),
    "sequence a text": ("bundle_bad_sequence", lambda: jwks(ROOT, spiffe_sequence="1")),
    "sequence true": ("bundle_bad_sequence", lambda: jwks(ROOT, spiffe_sequence=True)),
    "sequence negative": ("bundle_bad_sequence", lambda: jwks(ROOT, spiffe_sequence=-1)),
    "sequence null": ("bundle_bad_sequence", lambda: jwks(ROOT, spiffe_sequence=None)),
    "sequence over 64 bits": ("bundle_bad_sequence", lambda: jwks(ROOT, spiffe_sequence=1 << 64)),
    "hint a fraction": ("bundle_bad_refresh_hint", lambda: jwks(ROOT, spiffe_refresh_hint=1.5)),
    "map with a domain twice": (
        "bundle_duplicate_name",
        lambda: read_bundle_map(b'{"trust_domains":{"a":{"keys":[]},"a":{"keys":[]}}}', ORIGIN),
    ),
    "map without domains": ("bundle_malformed", lambda: read_bundle_map(b'{"keys":[]}', ORIGIN)),
    "map with a bad domain": (
        "bundle_wrong_domain",
        lambda: read_bundle_map(b'{"trust_domains":{"A":{"keys":[]}}}', ORIGIN),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_thing_wrong(name: str) -> None:
    refused(*REFUSED[name])


#: Entries that are for somebody else, and what is said of them.
IGNORED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown kty": ({**TOKEN, "kty": "PQ"}, "unknown kty"),
    "kty a number": ({**TOKEN, "kty": 1}, "unknown kty"),
    "symmetric": ({"kty": "oct", "k": "AAAA", "use": "jwt-svid", "kid": "s"}, "unknown kty"),
    "no use": (without(TOKEN, "use"), "unknown use"),
    "use in upper case": ({**TOKEN, "use": "JWT-SVID"}, "unknown use"),
    "use sig": ({**TOKEN, "use": "sig"}, "unknown use"),
    "Finding F8: key_ops for encryption": ({**TOKEN, "key_ops": ["encrypt"]}, "key_ops without verify"),
    "Finding F8: key_ops for decryption": ({**TOKEN, "key_ops": ["decrypt", "wrapKey"]}, "key_ops without verify"),
    "Finding F8: key_ops a text": ({**TOKEN, "key_ops": "verify"}, "key_ops without verify"),
    "Finding F8: key_ops of an authority": ({**ROOT, "key_ops": ["encrypt"]}, "key_ops without verify"),
    "Ed25519 for tokens": ({**TOKEN, "kty": "OKP"}, "kty is not for tokens"),
    "no x5c": (without(ROOT, "x5c"), "no x5c"),
    "empty x5c": ({**ROOT, "x5c": []}, "no x5c"),
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_ignored_is_said(name: str) -> None:
    entry, why = IGNORED[name]
    found = jwks(entry)
    assert found.is_empty
    assert [o.why for o in found.left_out] == [why]
    assert jwks(entry, ROOT, {**TOKEN, "kid": "t2"}).token_keys.keys() == {"t2"}


def test_lenient_choices() -> None:
    two = {**ROOT, "x5c": ROOT["x5c"] * 2}
    assert len(jwks(two, options=Options(refuse_extra_certificates=False)).authorities) == 1
    found = jwks(without(TOKEN, "kid"), options=Options(refuse_key_without_id=False))
    assert [o.why for o in found.left_out] == ["no kid"]


def test_other_forms() -> None:
    assert read_pem(DOMAIN, WORLD.bundle_pem(), ORIGIN).authorities == (WORLD.root.certificate,)
    other = domain("other.test")
    both = {"trust_domains": {d.trust_domain: json.loads(d.bundle_document()) for d in (WORLD, other)}}
    assert [b.trust_domain for b in read_bundle_map(json.dumps(both).encode(), ORIGIN)] == [DOMAIN, "other.test"]
    keys, _ = read_token_keys(bundle_document([without(TOKEN, "use"), ROOT, {**WIT, "use": "sig"}]))
    assert keys.keys() == {"t1", "w1"}  # the channel says what they are for


@pytest.mark.parametrize("members", [{"use": "enc"}, {"use": None}, {"key_ops": ["encrypt"]}, {"use": "sig", "key_ops": []}])
def test_a_key_for_something_else_signs_nothing_wherever_it_comes_from(members: dict[str, Any]) -> None:
    """Finding F8: one function judges keys of bundles, of the Workload API, and of issuers of people."""
    entry = {**without(TOKEN, "use"), **members}
    keys, left_out = read_token_keys(bundle_document([entry]))
    assert (len(keys), len(left_out)) == (0, 1)
    assert not read_key_set(bundle_document([entry]), {"ES256"})


def test_an_authority_of_the_flawed_generator_is_left_out() -> None:
    """Finding F8."""
    found = jwks(without(authority_jwk(domain(root=ROCA_KEY).root.certificate), "n", "e"))
    assert [o.why for o in found.left_out] == ["not_an_authority: weak_issuer"]


def test_authorities_of_other_kinds_of_key() -> None:
    for made in (RSA_KEY, ED_KEY):
        d = domain(root=made)
        found = read_jwks(DOMAIN, d.bundle_document(), ORIGIN)
        assert found.authorities == (d.root.certificate,)


# ---- what takes whose place


def store(*bundles: TrustBundle) -> TrustStore:
    found = TrustStore()
    for bundle in bundles:
        found = found.with_bundle(bundle)
    return found


def at(retrieved: int, *entries: dict[str, Any], source: str = "test", **members: Any) -> TrustBundle:
    return read_jwks(DOMAIN, bundle_document(entries, **members), Origin(source, retrieved))


CHANGES: dict[str, tuple[str, Callable[[], Any]]] = {
    "rollback": ("bundle_rollback", lambda: store(at(1, ROOT, spiffe_sequence=2), at(2, ROOT, spiffe_sequence=1))),
    "Finding F9: the number is gone": (
        "bundle_rollback",
        lambda: store(at(1, ROOT, spiffe_sequence=5), at(2, ROOT), at(3, ROOT, spiffe_sequence=4)),
    ),
    "Finding F9: back to a lower number, after one that was emptied without any": (
        "bundle_rollback",
        lambda: store(at(1, ROOT, spiffe_sequence=5), at(2), at(3, ROOT, spiffe_sequence=4)),
    ),
    "Finding F9: emptied without a number": (
        "bundle_revoked",
        lambda: store(at(1, ROOT, spiffe_sequence=5), at(2)).bundle_for(DOMAIN, NOW),
    ),
    "Finding F9: the number is gone, emptied": (
        "bundle_rollback",
        lambda: store(at(1, ROOT, spiffe_sequence=5), at(2, spiffe_sequence=6), at(3, ROOT)),
    ),
    "older": ("bundle_older", lambda: store(at(2, ROOT), at(1, ROOT))),
    "older with a first number": ("bundle_older", lambda: store(at(2, ROOT), at(1, ROOT, spiffe_sequence=1))),
    "other source": ("bundle_of_other_source", lambda: store(at(1, ROOT), at(2, ROOT, source="other"))),
    "none": ("no_bundle", lambda: store().bundle_for(DOMAIN, NOW)),
    "emptied": ("bundle_revoked", lambda: store(at(1, ROOT), at(2)).bundle_for(DOMAIN, NOW)),
    "stale": ("bundle_stale", lambda: store(at(NOW, ROOT)).bundle_for(DOMAIN, NOW + 900 * SECOND + 1)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_take_the_place(name: str) -> None:
    refused(*CHANGES[name])


def test_a_rollback_can_be_forced() -> None:
    before, after = at(1, ROOT, spiffe_sequence=2), at(2, ROOT, spiffe_sequence=1)
    assert store(before).with_bundle(after, force=True).bundles[DOMAIN].sequence == 1


def test_the_newest_without_a_number_wins() -> None:
    assert store(at(1, ROOT), at(2, TOKEN)).bundles[DOMAIN].token_keys


def test_versions_and_epochs() -> None:
    """B-10: the same content is the same version, and an epoch is a change of content."""
    first = store(at(1, ROOT, TOKEN))
    again = first.with_bundle(at(2, TOKEN, ROOT, spiffe_sequence=9))
    assert again.bundles[DOMAIN].version == first.bundles[DOMAIN].version
    assert (first.epoch, again.epoch) == (1, 1)
    for entries in ([ROOT], [{**TOKEN, "kid": "x"}, ROOT], [{**TOKEN, "alg": "ES256"}, ROOT], []):
        after = again.with_bundle(at(3, *entries, spiffe_sequence=9))
        assert after.epoch == 2
        assert after.bundles[DOMAIN].version != first.bundles[DOMAIN].version
    assert again.without(DOMAIN).epoch == 2
    assert again.without("unknown.test") is again
    assert first.bundles[DOMAIN].retrieved_us == 1, "a snapshot never changes"


def test_bounds_of_polling() -> None:
    """B-7."""

    def hint(seconds: int) -> TrustBundle:
        return jwks(ROOT, spiffe_refresh_hint=seconds)

    assert [poll_after_us(b) // SECOND for b in (jwks(ROOT), hint(0), hint(60), hint(1 << 60))] == [300, 5, 60, 3600]
    assert [stale_after_us(h) // SECOND for h in (None, 60 * SECOND, 600 * SECOND, 10**18)] == [900, 900, 1800, 10_800]
    assert hint(600).fresh_until_us == NOW + 1800 * SECOND
    assert read_pem(DOMAIN, WORLD.bundle_pem(), ORIGIN).fresh_until_us == NEVER


def test_an_emptied_bundle_revokes_everything_at_once() -> None:
    """B-5."""
    trusted = TrustStore().with_bundle(read_jwks(DOMAIN, WORLD.bundle_document(), ORIGIN))
    certificates = WORLD.certificates(ID, KEY.public_key(), NOW, HOUR)
    token = WORLD.token(ID, AUDIENCE, NOW, HOUR)
    assert verify_x509_svid(certificates, trusted, NOW)
    assert verify_jwt_svid(token, AUDIENCE, trusted, NOW)
    emptied = trusted.with_bundle(read_jwks(DOMAIN, b'{"keys":[],"spiffe_sequence":2}', ORIGIN))
    refused("bundle_revoked", lambda: verify_x509_svid(certificates, emptied, NOW))
    refused("bundle_revoked", lambda: verify_jwt_svid(token, AUDIENCE, emptied, NOW))


# ---- the holder


def test_one_swap_for_a_whole_source() -> None:
    trust = Trust()
    other = domain("other.test")
    both = [read_jwks(d.trust_domain, d.bundle_document(), ORIGIN) for d in (WORLD, other)]
    trust.replace_source("test", both)
    before = trust.current
    assert (set(before.bundles), before.epoch) == ({DOMAIN, "other.test"}, 1)
    trust.replace_source("test", [both[0]])
    assert (set(trust.current.bundles), trust.current.epoch) == ({DOMAIN}, 2)
    assert set(before.bundles) == {DOMAIN, "other.test"}


def test_all_or_none() -> None:
    trust = Trust()
    trust.put([at(5, ROOT)])
    before = trust.current
    other = read_jwks("other.test", WORLD.bundle_document(), ORIGIN)
    refused("bundle_older", lambda: trust.put([other, at(4, ROOT)]))
    assert trust.current is before


def test_silence_bounds_and_never_extends() -> None:
    trust = Trust()
    trust.put([at(NOW, ROOT)])
    bound = trust.current.bundles[DOMAIN].fresh_until_us
    trust.bound_source("test", bound + 1)
    assert trust.current.bundles[DOMAIN].fresh_until_us == bound
    trust.bound_source("test", NOW)
    refused("bundle_stale", lambda: trust.current.bundle_for(DOMAIN, NOW + 1))
    assert trust.current.epoch == 1


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["keys", "kty", "use", "kid", "x5c", "x", "y", "crv", "n", "e", "alg", "spiffe_sequence"]
                    ),
                    inner | st.sampled_from(["EC", "RSA", "P-256", "jwt-svid", "x509-svid", "AQAB", ROOT["x5c"]]),
                )
            ),
        ).map(lambda value: json.dumps({"keys": [value] if isinstance(value, dict) else value}).encode()),
    )
)
def test_any_document_is_a_bundle_or_has_a_code(raw: bytes) -> None:
    for read in (
        lambda: read_jwks(DOMAIN, raw, ORIGIN),
        lambda: read_pem(DOMAIN, raw, ORIGIN),
        lambda: read_token_keys(raw),
    ):
        outcome(read)


def test_bundles_show_no_keys() -> None:
    text = repr(jwks(ROOT, TOKEN, WIT))
    assert TOKEN["x"] not in text
    assert base64.b64encode(WORLD.root.der).decode()[:40] not in text
