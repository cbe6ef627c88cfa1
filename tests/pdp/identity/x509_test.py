"""X-1 to X-13: each certificate is one thing away from a good one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.identity import (
    NEVER,
    REFUSALS,
    Options,
    Origin,
    Refused,
    Side,
    TrustStore,
    VerifiedWorkload,
    accept_leaf,
    make_bundle,
    read_jwks,
    split_der,
    split_pem,
    thumbprint,
    verify_x509_svid,
)
from pdp.identity.dev.certificates import Authority, ca_shape, changed, issue, revocation_list, self_signed
from pdp.identity.dev.malformed_svids import MALFORMED_SVIDS
from pdp.identity.dev.tokens import bundle_document
from pdp.identity.revocation import not_revoked_until
from tests.pdp.identity.world import (
    DOMAIN,
    ED_KEY,
    HOUR,
    ID,
    KEY,
    NOW,
    RSA_KEY,
    SECOND,
    TRUST,
    WEAK_KEY,
    WORLD,
    domain,
    key,
    outcome,
    refused,
    trusting,
)

GOOD = WORLD.certificates(ID, KEY.public_key(), NOW, HOUR)


def verify(
    presented: tuple[bytes, ...] = GOOD, trust: TrustStore = TRUST, now: int = NOW, **options: Any
) -> VerifiedWorkload:
    return verify_x509_svid(presented, trust, now, Options(**options))


def shaped(**leaf: Any) -> tuple[bytes, ...]:
    shape = WORLD.shape(ID, NOW, HOUR)
    return WORLD.issue(replace(shape, leaf=changed(shape.leaf, **leaf)), KEY.public_key())


def trusting_certificates(*certificates: x509.Certificate, **more: Any) -> TrustStore:
    return TrustStore().with_bundle(make_bundle(DOMAIN, "test", NOW, certificates=certificates, **more))


def test_a_good_one_is_verified() -> None:
    found = verify()
    assert str(found.id) == ID
    assert found.trust_domain == DOMAIN
    assert found.leaf_sha256 == thumbprint(GOOD[0])
    assert found.not_after_us == NOW + HOUR
    assert found.verified_by == "pdp"
    assert found.path_length == 3
    assert found.bundle_version == TRUST.bundles[DOMAIN].version


@pytest.mark.parametrize("name", MALFORMED_SVIDS)
def test_one_thing_wrong(name: str) -> None:
    used = WEAK_KEY if name == "weak-key" else KEY
    presented = WORLD.certificates(ID, used.public_key(), NOW, HOUR, name)
    refused(MALFORMED_SVIDS[name].code, lambda: verify(presented))


#: What the table of `pdp dev` cannot say: more certificates, other bundles, other times.
def _long_path() -> tuple[tuple[bytes, ...], TrustStore]:
    """Five certificates, each allowed to be where it is."""
    above = self_signed(ca_shape("root", DOMAIN, NOW - HOUR, NOW + HOUR), key())
    root, ders = above.certificate, []
    for n in range(3):
        below = key()
        above = Authority(issue(ca_shape(f"ca{n}", DOMAIN, NOW - HOUR, NOW + HOUR), below.public_key(), above), below)
        ders.append(above.der)
    leaf = issue(WORLD.shape(ID, NOW, HOUR).leaf, KEY.public_key(), above).public_bytes(Encoding.DER)
    return (leaf, *reversed(ders)), trusting_certificates(root)


def _two_intermediates() -> tuple[tuple[bytes, ...], TrustStore]:
    """The first allows nothing but leaves below it."""
    lower_key = key()
    lower = issue(ca_shape("lower", DOMAIN, NOW - HOUR, NOW + HOUR), lower_key.public_key(), WORLD.intermediate)
    leaf = issue(WORLD.shape(ID, NOW, HOUR).leaf, KEY.public_key(), Authority(lower, lower_key))
    return tuple(c.public_bytes(Encoding.DER) for c in (leaf, lower, WORLD.intermediate.certificate)), TRUST


def _weak_intermediate() -> tuple[tuple[bytes, ...], TrustStore]:
    shape = ca_shape("weak", DOMAIN, NOW - HOUR, NOW + HOUR)
    weak = Authority(issue(shape, WEAK_KEY.public_key(), WORLD.root), WEAK_KEY)
    leaf = issue(WORLD.shape(ID, NOW, HOUR).leaf, KEY.public_key(), weak)
    return (leaf.public_bytes(Encoding.DER), weak.der), TRUST


def _sha1() -> tuple[tuple[bytes, ...], TrustStore]:
    issuer = Authority(issue(ca_shape("rsa", DOMAIN, NOW - HOUR, NOW + HOUR), RSA_KEY.public_key(), WORLD.root), RSA_KEY)
    der = issue(WORLD.shape(ID, NOW, HOUR).leaf, KEY.public_key(), issuer).public_bytes(Encoding.DER)
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    return (der.replace(sha256, sha1), issuer.der), TRUST


OTHER = domain()  # the same name, other keys

CASES: dict[str, tuple[str, Any]] = {
    "nothing presented": ("no_certificate", lambda: ((), TRUST)),
    "nine presented": ("too_many_certificates", lambda: (GOOD + GOOD[1:] * 7, TRUST)),
    "17 kB": ("certificate_too_large", lambda: ((GOOD[0] + bytes(16_384),), TRUST)),
    "junk beside it": ("certificate_malformed", lambda: ((*GOOD, b"junk"), TRUST)),
    "intermediate left out": ("untrusted_issuer", lambda: (GOOD[:1], TRUST)),
    "bundle of the same name with other keys": ("untrusted_issuer", lambda: (GOOD, trusting(OTHER))),
    "bundle without authorities": (
        "untrusted_issuer",
        lambda: (GOOD, TrustStore().with_bundle(read_jwks(DOMAIN, _only_tokens(), Origin("t", NOW)))),
    ),
    "no bundle": ("no_bundle", lambda: (GOOD, TrustStore())),
    "bundle of another domain, same keys": ("no_bundle", lambda: (GOOD, _same_keys_elsewhere())),
    "emptied bundle": ("bundle_revoked", lambda: (GOOD, _emptied())),
    "stale bundle": ("bundle_stale", lambda: (GOOD, TRUST.fresh_until(DOMAIN, NOW - 1))),
    "five in the path": ("chain_too_long", _long_path),
    "one intermediate too many": ("path_length_exceeded", _two_intermediates),
    "weak intermediate": ("weak_issuer", _weak_intermediate),
    "signed with SHA-1": ("weak_signature", _sha1),
    "leaf in the store": ("bundle_revoked", lambda: (GOOD, trusting_certificates(x509.load_der_x509_certificate(GOOD[0])))),
}


def _only_tokens() -> bytes:
    from pdp.identity.dev.tokens import key_id_for, public_jwk

    return bundle_document([public_jwk(WORLD.token_key, use="jwt-svid", kid=key_id_for(WORLD.token_key))])


def _same_keys_elsewhere() -> TrustStore:
    """C10: another environment that shares the root's key is another environment."""
    return TrustStore().with_bundle(make_bundle("staging.test", "test", NOW, certificates=[WORLD.root.certificate]))


def _emptied() -> TrustStore:
    return TRUST.with_bundle(read_jwks(DOMAIN, b'{"keys":[],"spiffe_sequence":2}', Origin("test", NOW + 1)))


@pytest.mark.parametrize("name", CASES)
def test_what_is_presented_and_trusted(name: str) -> None:
    code, make = CASES[name]
    presented, trust = make()
    refused(code, lambda: verify(presented, trust))


def test_a_member_that_is_no_ca_is_left_out_and_said(
) -> None:
    leaf = x509.load_der_x509_certificate(GOOD[0])
    bundle = make_bundle(DOMAIN, "test", NOW, certificates=[WORLD.root.certificate, leaf])
    assert bundle.authorities == (WORLD.root.certificate,)
    assert [(o.place, o.why) for o in bundle.left_out] == [(1, "not_an_authority: issuer_not_ca")]


def test_an_intermediate_may_be_the_anchor() -> None:
    assert verify(GOOD[:1], trusting_certificates(WORLD.intermediate.certificate)).path_length == 2


def test_times_to_the_second() -> None:
    """X-10: both ends belong to it, no leeway after the end."""
    shape = WORLD.shape(ID, NOW, HOUR).leaf
    presented = shaped()
    assert verify(presented, now=shape.not_before_us)
    assert verify(presented, now=shape.not_after_us)
    refused("not_yet_valid", lambda: verify(presented, now=shape.not_before_us - 1))
    refused("expired", lambda: verify(presented, now=shape.not_after_us + 1, not_before_leeway_us=60 * SECOND))


def test_the_earliest_end_of_the_path_counts() -> None:
    shape = WORLD.shape(ID, NOW, HOUR)
    shorter = replace(shape, intermediate=changed(shape.intermediate, not_after_us=NOW + HOUR // 2))
    presented = WORLD.issue(shorter, KEY.public_key())
    assert verify(presented).not_after_us == NOW + HOUR // 2
    refused("issuer_expired", lambda: verify(presented, now=NOW + HOUR // 2 + 1))


# ---- the options: each by name


def test_leeway_before() -> None:
    presented = shaped(not_before_us=NOW + 30 * SECOND)
    refused("not_yet_valid", lambda: verify(presented))
    assert verify(presented, not_before_leeway_us=30 * SECOND)
    refused("not_yet_valid", lambda: verify(presented, not_before_leeway_us=29 * SECOND))
    with pytest.raises(ValueError):
        Options(not_before_leeway_us=61 * SECOND)


@pytest.mark.parametrize("name", ["no-key-usage", "key-usage-not-critical", "no-digital-signature"])
def test_key_usage_may_be_relaxed(name: str) -> None:
    presented = WORLD.certificates(ID, KEY.public_key(), NOW, HOUR, name)
    assert verify(presented, require_critical_key_usage=False)


@pytest.mark.parametrize("name", ["leaf-signs-certificates", "leaf-signs-crls", "leaf-is-ca"])
def test_what_is_never_relaxed(name: str) -> None:
    presented = WORLD.certificates(ID, KEY.public_key(), NOW, HOUR, name)
    refused(MALFORMED_SVIDS[name].code, lambda: verify(presented, require_critical_key_usage=False))


def test_basic_constraints_may_be_demanded() -> None:
    presented = shaped(is_ca=None)
    assert verify(presented)
    refused("no_basic_constraints", lambda: verify(presented, require_basic_constraints=True))


def test_an_issuer_of_another_domain_may_be_allowed() -> None:
    presented = WORLD.certificates(ID, KEY.public_key(), NOW, HOUR, "issuer-of-other-domain")
    assert verify(presented, require_issuer_in_domain=False)


def test_other_names_are_allowed_and_mean_nothing() -> None:
    assert str(verify(shaped(dns=("billing.dev.test",), emails=("a@dev.test",))).id) == ID
    assert str(verify(shaped(common_name="spiffe://dev.test/admin")).id) == ID
    assert verify(shaped(names_critical=True))
    assert verify(shaped(common_name=None, names_critical=True))
    assert verify(shaped(extended_usage=None))


def test_sides() -> None:
    server_only = WORLD.certificates(ID, KEY.public_key(), NOW, HOUR, "server-only")
    assert verify_x509_svid(server_only, TRUST, NOW, side=Side.SERVER)


@pytest.mark.parametrize("made", [RSA_KEY, ED_KEY, ec.generate_private_key(ec.SECP384R1())])
def test_strong_keys(made: Any) -> None:
    assert verify(WORLD.certificates(ID, made.public_key(), NOW, HOUR))


def test_weak_curve() -> None:
    weak = ec.generate_private_key(ec.SECP256K1())
    refused("weak_key", lambda: verify(WORLD.certificates(ID, weak.public_key(), NOW, HOUR)))


def test_an_authority_of_ed25519_is_refused_in_words() -> None:
    """The path builder knows none; better an own code than a riddle."""
    root = self_signed(ca_shape("ed", DOMAIN, NOW - HOUR, NOW + HOUR), ED_KEY)
    leaf = issue(WORLD.shape(ID, NOW, HOUR).leaf, KEY.public_key(), root).public_bytes(Encoding.DER)
    refused("weak_issuer", lambda: verify((leaf,), trusting_certificates(root.certificate)))


# ----


def crls(*lists: x509.CertificateRevocationList) -> TrustStore:
    return trusting_certificates(WORLD.root.certificate, revocation_lists=lists)


def serial(der: bytes) -> int:
    return x509.load_der_x509_certificate(der).serial_number


def test_revocation_lists_are_enforced() -> None:
    good = revocation_list(WORLD.intermediate, {}, NOW - HOUR, NOW + HOUR // 2)
    assert verify(trust=crls(good)).not_after_us == NOW + HOUR // 2
    leaf_revoked = revocation_list(WORLD.intermediate, {serial(GOOD[0]): NOW}, NOW - HOUR, NOW + HOUR)
    refused("certificate_revoked", lambda: verify(trust=crls(leaf_revoked)))
    ca_revoked = revocation_list(WORLD.root, {serial(GOOD[1]): NOW}, NOW - HOUR, NOW + HOUR)
    refused("certificate_revoked", lambda: verify(trust=crls(good, ca_revoked)))
    old = revocation_list(WORLD.intermediate, {}, NOW - HOUR, NOW - 1)
    refused("revocation_list_stale", lambda: verify(trust=crls(old)))
    assert verify(trust=crls(old), require_fresh_revocation_list=False)
    forged = revocation_list(replace(WORLD.intermediate, key=key()), {}, NOW - HOUR, NOW + HOUR)
    refused("revocation_list_unsigned", lambda: verify(trust=crls(forged)))
    unrelated = revocation_list(self_signed(ca_shape("x", DOMAIN, NOW, NOW + HOUR), KEY), {}, NOW, NOW + 1)
    assert verify(trust=crls(unrelated))


def of_intermediate(
    *extra: tuple[x509.ExtensionType, bool], begins: int = NOW - HOUR, ends: int = NOW + HOUR, revokes: bool = False
) -> x509.CertificateRevocationList:
    return revocation_list(WORLD.intermediate, {serial(GOOD[0]): NOW} if revokes else {}, begins, ends, extra)


def point(**members: Any) -> tuple[x509.ExtensionType, bool]:
    """An IssuingDistributionPoint, unrestricted but for these."""
    open_to_all = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**{**open_to_all, **members}), True


_SHA256_WITH_RSA, _SHA1_WITH_RSA = (bytes.fromhex(f"2a864886f70d0101{end}") for end in ("0b", "05"))
_UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
_DELTA = (x509.DeltaCRLIndicator(1), True)
_AT = [x509.UniformResourceIdentifier("http://crl.test/1")]

PARTIAL: dict[str, tuple[x509.ExtensionType, bool]] = {
    "for authorities only": point(only_contains_ca_certs=True),
    "for leaves only": point(only_contains_user_certs=True),
    "for attributes only": point(only_contains_attribute_certs=True),
    "some reasons only": point(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise})),
    "of other issuers, too": point(indirect_crl=True, full_name=_AT),
    "one piece of several": point(full_name=_AT),
    "a delta": _DELTA,
    "a delta that says so in passing": (x509.DeltaCRLIndicator(1), False),
    "critical in something unknown": (_UNKNOWN, True),
}


@pytest.mark.parametrize("name", PARTIAL)
def test_a_list_of_a_part_can_only_revoke(name: str) -> None:
    """Finding F7: each counted as whole and fresh."""
    extension = PARTIAL[name]
    partial = of_intermediate(extension, ends=NOW + HOUR // 2)
    refused("revocation_list_partial", lambda: verify(trust=crls(partial)))
    refused("revocation_list_partial", lambda: verify(trust=crls(partial), require_fresh_revocation_list=False))
    assert verify(trust=crls(partial, of_intermediate())).not_after_us == verify(trust=crls(of_intermediate())).not_after_us
    refused("revocation_list_stale", lambda: verify(trust=crls(partial, of_intermediate(ends=NOW - 1))))
    refused("certificate_revoked", lambda: verify(trust=crls(of_intermediate(), of_intermediate(extension, revokes=True))))


def test_what_does_not_restrict_a_list() -> None:
    for extension in ((x509.CRLNumber(7), False), (_UNKNOWN, False)):
        assert verify(trust=crls(of_intermediate(extension)))


def test_one_piece_of_a_list_is_whole_for_those_that_name_it() -> None:
    shape = WORLD.shape(ID, NOW, HOUR)
    for named, code in ((_AT, ""), ([x509.UniformResourceIdentifier("http://crl.test/2")], "revocation_list_partial")):
        points = x509.CRLDistributionPoints([x509.DistributionPoint(named, None, None, None)])
        chain = WORLD.issue(replace(shape, leaf=changed(shape.leaf, extra=((points, False),))), KEY.public_key())
        trust = crls(of_intermediate(point(full_name=_AT)))
        assert outcome(lambda chain=chain, trust=trust: verify(chain, trust))[0] == code


def test_a_list_that_is_not_in_force_yet() -> None:
    """Finding F7: thisUpdate ahead."""
    ahead = of_intermediate(begins=NOW + 60 * SECOND)
    refused("revocation_list_ahead", lambda: verify(trust=crls(ahead)))
    refused("revocation_list_ahead", lambda: verify(trust=crls(ahead), require_fresh_revocation_list=False))
    refused("revocation_list_stale", lambda: verify(trust=crls(ahead, of_intermediate(ends=NOW - 1))))
    assert verify(trust=crls(ahead), not_before_leeway_us=60 * SECOND)
    refused("certificate_revoked", lambda: verify(trust=crls(of_intermediate(begins=NOW + HOUR // 2, revokes=True))))


def test_a_list_of_an_issuer_that_may_not_sign_lists() -> None:
    """Finding F7: keyUsage without cRLSign."""
    shape = WORLD.shape(ID, NOW, HOUR)
    shape = replace(shape, intermediate=changed(shape.intermediate, usage=frozenset({"key_cert_sign"})))
    chain = WORLD.issue(shape, KEY.public_key())
    assert verify(chain, crls())
    refused("issuer_may_not_sign_lists", lambda: verify(chain, crls(of_intermediate())))


def test_a_list_that_is_signed_weakly() -> None:
    """As with certificates; the library knows no list that is signed with SHA-1."""
    issuer = domain(intermediate=RSA_KEY).intermediate
    leaf = x509.load_der_x509_certificate(GOOD[0])
    good = revocation_list(issuer, {}, NOW - HOUR, NOW + HOUR)
    told = good.tbs_certlist_bytes.replace(_SHA256_WITH_RSA, _SHA1_WITH_RSA)
    signature = RSA_KEY.sign(told, PKCS1v15(), hashes.SHA1())
    raw = good.public_bytes(Encoding.DER).replace(_SHA256_WITH_RSA, _SHA1_WITH_RSA)
    weak = x509.load_der_x509_crl(raw[: -len(signature)] + signature)
    assert not_revoked_until(leaf, issuer.certificate, [good], NOW, Options()) == NOW + HOUR
    refused("revocation_list_unsigned", lambda: not_revoked_until(leaf, issuer.certificate, [weak], NOW, Options()))


# ---- names and constraints


def test_names_and_constraints_are_few() -> None:
    """Finding F12: the path builder holds each name against each constraint."""

    def issued(names: int = 0, constraints: int = 0, issuer_names: int = 0) -> tuple[bytes, ...]:
        shape = WORLD.shape(ID, NOW, HOUR)
        leaf = changed(shape.leaf, dns=tuple(f"a{n}.x.test" for n in range(names)))
        above = changed(shape.intermediate, dns=tuple(f"a{n}.x.test" for n in range(issuer_names)))
        if constraints:
            permitted = [x509.DNSName(f"{'x' if n == 0 else n}.test") for n in range(constraints)]
            above = changed(above, extra=((x509.NameConstraints(permitted, None), True),))
        return WORLD.issue(replace(shape, leaf=leaf, intermediate=above), KEY.public_key())

    assert verify(issued(99, 100))
    refused("too_many_names", lambda: verify(issued(100)))
    refused("too_many_names", lambda: verify(issued(issuer_names=100)))
    refused("unsupported_name_constraint", lambda: verify(issued(1, 101)))


# ---- one maker


def test_nothing_else_makes_one() -> None:
    found = verify()
    with pytest.raises(TypeError):
        VerifiedWorkload(found.id, NOW, NEVER, "x", "pdp", "v", 3, object())
    with pytest.raises((TypeError, ValueError)):
        replace(found, not_after_us=NEVER)
    with pytest.raises(AttributeError):
        found.id = found.id  # type: ignore[misc]  # frozen


def test_a_leaf_that_a_gate_vouches_for() -> None:
    found = accept_leaf(GOOD[0], TRUST, NOW)
    assert (found.verified_by, str(found.id)) == ("pep", ID)
    refused("bundle_revoked", lambda: accept_leaf(GOOD[0], _emptied(), NOW))
    for name, wrong in MALFORMED_SVIDS.items():
        if wrong.code not in ("untrusted_issuer", "unknown_critical_extension", "unsupported_name_constraint") and not (
            wrong.code.startswith("issuer_")
        ):
            used = WEAK_KEY if name == "weak-key" else KEY
            presented = WORLD.certificates(ID, used.public_key(), NOW, HOUR, name)
            refused(wrong.code, lambda p=presented: accept_leaf(p[0], TRUST, NOW))  # type: ignore[misc]


# ---- bytes that are no certificates


def test_pem_and_der_are_taken_apart() -> None:
    pem = b"".join(x509.load_der_x509_certificate(d).public_bytes(Encoding.PEM) for d in GOOD)
    assert split_pem(pem) == GOOD
    assert split_der(b"".join(GOOD)) == GOOD
    assert split_der(b"") == ()
    refused("certificate_malformed", lambda: split_pem(b"nothing"))
    refused("certificate_too_large", lambda: split_pem(bytes(1 << 20)))
    for raw in (b"\x30", b"\x31\x00", GOOD[0][:-1], b"\x30\x85\x01\x01\x01\x01\x01", b"\x30\x80"):
        refused("certificate_malformed", lambda r=raw: split_der(r))  # type: ignore[misc]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_altered_bytes_are_refused_by_a_code(data: st.DataObject) -> None:
    """Every byte of a certificate is signed, or signs."""
    which = data.draw(st.integers(0, 1))
    raw = bytearray(GOOD[which])
    place = data.draw(st.integers(0, len(raw) - 1))
    action = data.draw(st.sampled_from(["flip", "cut", "insert", "delete"]))
    if action == "flip":
        raw[place] ^= data.draw(st.integers(1, 255))
    elif action == "cut":
        del raw[place:]
    elif action == "insert":
        raw[place:place] = data.draw(st.binary(min_size=1, max_size=4))
    else:
        del raw[place]
    presented = (bytes(raw), GOOD[1]) if which == 0 else (GOOD[0], bytes(raw))
    if presented == GOOD:
        return
    with pytest.raises(Refused) as caught:
        verify(presented)
    assert caught.value.code in REFUSALS


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=9))
def test_any_bytes_are_refused_by_a_code(presented: list[bytes]) -> None:
    with pytest.raises(Refused) as caught:
        verify(tuple(presented))
    assert caught.value.code in REFUSALS


@settings(max_examples=60, deadline=None)
@given(
    uris=st.lists(st.sampled_from([ID, "https://a/", "spiffe://dev.test", "spiffe://dev.test/x"]), max_size=2),
    is_ca=st.sampled_from([None, False, True]),
    usage=st.one_of(
        st.none(),
        st.frozensets(st.sampled_from(["digital_signature", "key_cert_sign", "crl_sign", "key_agreement"]), min_size=1),
    ),
    critical=st.booleans(),
    starts=st.integers(-2, 1),
    name=st.sampled_from([None, "workload"]),
    names_critical=st.booleans(),
)
def test_generated_certificates_are_verified_exactly_when_the_rules_say(
    uris: list[str],
    is_ca: bool | None,
    usage: frozenset[str] | None,
    critical: bool,
    starts: int,
    name: str | None,
    names_critical: bool,
) -> None:
    presented = shaped(
        uris=tuple(uris),
        is_ca=is_ca,
        usage=usage,
        usage_critical=critical,
        not_before_us=NOW + starts * HOUR,
        not_after_us=NOW + (starts + 1) * HOUR,
        common_name=name,
        names_critical=names_critical,
    )
    good = (
        len(uris) == 1
        and uris[0] in (ID, "spiffe://dev.test/x")
        and not is_ca
        and usage is not None
        and "digital_signature" in usage
        and not usage & {"key_cert_sign", "crl_sign"}
        and critical
        and starts <= 0 <= starts + 1
        and (name is not None or names_critical)
    )
    try:
        assert str(verify(presented).id) == uris[0]
        assert good
    except Refused:
        assert not good
