"""Certificates of any shape. A shape says everything that goes into one, so that a test can differ in one thing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: Stands in every subject, so that nobody takes one for a real certificate.
MARK = "DEVELOPMENT ONLY"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

SIGNS = frozenset({"key_cert_sign", "crl_sign"})
_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CertificateShape:
    """All that is in a certificate but its key and its issuer."""

    common_name: str | None  # none: an empty subject
    not_before_us: int
    not_after_us: int
    uris: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    names_critical: bool = False
    is_ca: bool | None = False  # none: no basicConstraints
    path_length: int | None = None
    usage: frozenset[str] | None = frozenset({"digital_signature"})  # none: no keyUsage
    usage_critical: bool = True
    extended_usage: tuple[x509.ObjectIdentifier, ...] | None = (
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    )
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate with the key that signs below it."""

    certificate: x509.Certificate = field(repr=False)
    key: PrivateKey = field(repr=False)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def ca_shape(
    name: str, trust_domain: str, not_before_us: int, not_after_us: int, path_length: int | None = None
) -> CertificateShape:
    """A CA of a trust domain, with the path-less ID that it may carry (X-7)."""
    return CertificateShape(
        name,
        not_before_us,
        not_after_us,
        uris=(f"spiffe://{trust_domain}",),
        is_ca=True,
        path_length=path_length,
        usage=SIGNS,
        extended_usage=None,
    )


def leaf_shape(spiffe_id: str, not_before_us: int, not_after_us: int) -> CertificateShape:
    return CertificateShape("workload", not_before_us, not_after_us, uris=(spiffe_id,))


def self_signed(shape: CertificateShape, key: PrivateKey) -> Authority:
    name = _name(shape)
    return Authority(_sign(shape, key.public_key(), name, key), key)


def issue(shape: CertificateShape, key: PublicKey, issuer: Authority) -> x509.Certificate:
    return _sign(shape, key, issuer.certificate.subject, issuer.key)


def revocation_list(
    issuer: Authority,
    serials: Mapping[int, int],
    this_update_us: int,
    next_update_us: int,
    extra: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> x509.CertificateRevocationList:
    """A CRL over serial numbers, each with the time of its revocation."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(_datetime(this_update_us)).next_update(_datetime(next_update_us))
    for serial, revoked_us in serials.items():
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_datetime(revoked_us))
        builder = builder.add_revoked_certificate(entry.build())
    for value, critical in extra:
        builder = builder.add_extension(value, critical)
    return builder.sign(issuer.key, _hash_for(issuer.key))


def changed(shape: CertificateShape, **changes: object) -> CertificateShape:
    """The same shape with something else in it."""
    return replace(shape, **changes)  # type: ignore[arg-type]  # the names are checked when it runs


def _sign(shape: CertificateShape, key: PublicKey, issuer: x509.Name, signer: PrivateKey) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(shape))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(_serial(shape, key))
        .not_valid_before(_datetime(shape.not_before_us))
        .not_valid_after(_datetime(shape.not_after_us))
    )
    for value, critical in _extensions(shape):
        builder = builder.add_extension(value, critical)
    return builder.sign(signer, _hash_for(signer))


def _hash_for(signer: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _name(shape: CertificateShape) -> x509.Name:
    if shape.common_name is None:
        return x509.Name([])
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, MARK),
            x509.NameAttribute(NameOID.COMMON_NAME, shape.common_name),
        ]
    )


def _serial(shape: CertificateShape, key: PublicKey) -> int:
    """A number of its own for each shape and key: no chance is needed, and what is asked for twice is the same."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return int.from_bytes(hashlib.sha256(repr(shape).encode() + spki).digest()[:16], "big") | 1


def _extensions(shape: CertificateShape) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = []
    if shape.is_ca is not None:
        found.append((x509.BasicConstraints(shape.is_ca, shape.path_length), True))
    if shape.usage is not None:
        found.append((x509.KeyUsage(**{u: u in shape.usage for u in _USAGES}), shape.usage_critical))
    if shape.extended_usage is not None:
        found.append((x509.ExtendedKeyUsage(shape.extended_usage), False))
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(u) for u in shape.uris]
    names += [x509.DNSName(d) for d in shape.dns]
    names += [x509.RFC822Name(e) for e in shape.emails]
    if names:
        found.append((x509.SubjectAlternativeName(names), shape.names_critical))
    return [*found, *shape.extra]


def _datetime(moment_us: int) -> datetime:
    return datetime.fromtimestamp(moment_us // 1_000_000, UTC)
