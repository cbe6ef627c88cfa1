"""Every way to get an X509-SVID wrong, each one thing away from a good one, with the code that must refuse it.

`pdp dev svid --malformed NAME` issues them, and the tests go through the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from pdp.identity.dev.certificates import CertificateShape, changed

HOUR_US = 3_600_000_000
_ECDSA_WITH_SHA256 = bytes.fromhex("2a8648ce3d040302")


@dataclass(frozen=True, slots=True)
class SvidShape:
    """A leaf and the intermediate above it."""

    leaf: CertificateShape
    intermediate: CertificateShape
    weak_key: bool = False
    patch: Callable[[bytes], bytes] | None = None  # what is done to the finished leaf


@dataclass(frozen=True, slots=True)
class MalformedSvid:
    code: str
    change: Callable[[SvidShape], SvidShape]


def _leaf(**changes: Any) -> Callable[[SvidShape], SvidShape]:
    return lambda shape: replace(shape, leaf=changed(shape.leaf, **changes))


def _intermediate(**changes: Any) -> Callable[[SvidShape], SvidShape]:
    return lambda shape: replace(shape, intermediate=changed(shape.intermediate, **changes))


def _id(change: Callable[[str], str]) -> Callable[[SvidShape], SvidShape]:
    return lambda shape: replace(shape, leaf=changed(shape.leaf, uris=(change(shape.leaf.uris[0]),)))


def _leaf_times(before_us: int, after_us: int) -> Callable[[SvidShape], SvidShape]:
    """Relative to the start that a good one has."""
    return lambda s: replace(
        s,
        leaf=changed(s.leaf, not_before_us=s.leaf.not_before_us + before_us, not_after_us=s.leaf.not_before_us + after_us),
    )


def _intermediate_times(before_us: int, after_us: int) -> Callable[[SvidShape], SvidShape]:
    return lambda s: replace(
        s,
        intermediate=changed(
            s.intermediate, not_before_us=s.leaf.not_before_us + before_us, not_after_us=s.leaf.not_before_us + after_us
        ),
    )


def _other_domain(text: str) -> str:
    return "spiffe://other." + text.removeprefix("spiffe://")


_UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.59999.1"), b"\x05\x00")
_URI_CONSTRAINT = x509.NameConstraints([x509.UniformResourceIdentifier("dev.test")], None)

MALFORMED_SVIDS: dict[str, MalformedSvid] = {
    "no-names": MalformedSvid("no_uri_name", _leaf(uris=())),
    "id-in-dns": MalformedSvid("no_uri_name", _leaf(uris=(), dns=("dev.test",))),
    "id-in-email": MalformedSvid("no_uri_name", _leaf(uris=(), emails=("a@dev.test",))),
    "two-ids": MalformedSvid(
        "several_uri_names", lambda s: replace(s, leaf=changed(s.leaf, uris=(*s.leaf.uris, *s.leaf.uris)))
    ),
    "id-and-https": MalformedSvid(
        "several_uri_names", lambda s: replace(s, leaf=changed(s.leaf, uris=(*s.leaf.uris, "https://dev.test/")))
    ),
    "https-name": MalformedSvid("id_wrong_scheme", _leaf(uris=("https://dev.test/app",))),
    "id-without-path": MalformedSvid("id_no_path", _id(lambda u: "/".join(u.split("/")[:3]))),
    "id-upper-case": MalformedSvid("id_not_canonical", _id(lambda u: u.replace("spiffe://", "SPIFFE://"))),
    "id-trailing-slash": MalformedSvid("id_trailing_slash", _id(lambda u: u + "/")),
    "id-newline": MalformedSvid("id_bad_path", _id(lambda u: u + "\n")),
    "id-dot-segment": MalformedSvid("id_dot_segment", _id(lambda u: u + "/..")),
    "id-query": MalformedSvid("id_bad_path", _id(lambda u: u + "?a")),
    "id-port": MalformedSvid("id_bad_trust_domain", _id(lambda u: "/".join([*u.split("/")[:2], "dev.test:1", "x"]))),
    "id-too-long": MalformedSvid("id_too_long", _id(lambda u: u + "/" + "a" * 2048)),
    "leaf-is-ca": MalformedSvid("leaf_is_ca", _leaf(is_ca=True)),
    "leaf-signs-certificates": MalformedSvid(
        "leaf_signs_certificates", _leaf(usage=frozenset({"digital_signature", "key_cert_sign"}))
    ),
    "leaf-signs-crls": MalformedSvid("leaf_signs_crls", _leaf(usage=frozenset({"digital_signature", "crl_sign"}))),
    "no-key-usage": MalformedSvid("no_key_usage", _leaf(usage=None)),
    "key-usage-not-critical": MalformedSvid("key_usage_not_critical", _leaf(usage_critical=False)),
    "no-digital-signature": MalformedSvid("no_digital_signature", _leaf(usage=frozenset({"key_agreement"}))),
    "server-only": MalformedSvid("wrong_extended_usage", _leaf(extended_usage=(ExtendedKeyUsageOID.SERVER_AUTH,))),
    "empty-subject": MalformedSvid("name_not_critical", _leaf(common_name=None)),
    "not-yet-valid": MalformedSvid("not_yet_valid", _leaf_times(24 * HOUR_US, 25 * HOUR_US)),
    "expired": MalformedSvid("expired", _leaf_times(-2 * HOUR_US, -HOUR_US)),
    "weak-key": MalformedSvid("weak_key", lambda s: replace(s, weak_key=True)),
    "unknown-signature": MalformedSvid(
        "weak_signature",
        lambda s: replace(s, patch=lambda der: der.replace(_ECDSA_WITH_SHA256, _ECDSA_WITH_SHA256[:-1] + b"\x7f")),
    ),
    "other-domain": MalformedSvid("no_bundle", _id(_other_domain)),
    "wrong-signature": MalformedSvid(
        "untrusted_issuer", lambda s: replace(s, patch=lambda der: der[:-1] + bytes([der[-1] ^ 1]))
    ),
    "truncated": MalformedSvid("certificate_malformed", lambda s: replace(s, patch=lambda der: der[:-40])),
    "trailing-bytes": MalformedSvid("certificate_malformed", lambda s: replace(s, patch=lambda der: der + b"\x00")),
    "unknown-critical": MalformedSvid("unknown_critical_extension", _leaf(extra=((_UNKNOWN, True),))),
    "issuer-not-ca": MalformedSvid("issuer_not_ca", _intermediate(is_ca=False, path_length=None)),
    "issuer-without-constraints": MalformedSvid("issuer_not_ca", _intermediate(is_ca=None, path_length=None)),
    "issuer-may-not-sign": MalformedSvid("issuer_may_not_sign", _intermediate(usage=frozenset({"digital_signature"}))),
    "issuer-without-usage": MalformedSvid("issuer_may_not_sign", _intermediate(usage=None)),
    "issuer-with-workload-id": MalformedSvid("issuer_with_workload_id", _intermediate(uris=("spiffe://dev.test/ca",))),
    "issuer-of-other-domain": MalformedSvid("issuer_of_other_domain", _intermediate(uris=("spiffe://other.test",))),
    "issuer-expired": MalformedSvid("issuer_expired", _intermediate_times(-2 * HOUR_US, -HOUR_US)),
    "issuer-not-yet-valid": MalformedSvid("issuer_not_yet_valid", _intermediate_times(24 * HOUR_US, 25 * HOUR_US)),
    "issuer-unknown-critical": MalformedSvid("unknown_critical_extension", _intermediate(extra=((_UNKNOWN, True),))),
    "name-constraint": MalformedSvid("unsupported_name_constraint", _intermediate(extra=((_URI_CONSTRAINT, True),))),
}
