"""Messages of the Workload API, read: each is the whole state, or is refused as a whole (B-9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from pdp.identity import (
    Options,
    Refused,
    SpiffeId,
    TrustStore,
    make_bundle,
    read_token_keys,
    split_der,
    trust_domain_of,
    verify_x509_svid,
)
from pdp.tokens.keys import TokenKey

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


@dataclass(frozen=True, slots=True)
class OwnSvid:
    """An SVID of ours, verified like anybody's, with its key."""

    id: SpiffeId
    certificates: tuple[bytes, ...] = field(repr=False)  # DER, leaf first
    private_key: bytes = field(repr=False)  # DER, PKCS #8
    not_after_us: int
    hint: str


@dataclass(frozen=True, slots=True)
class X509State:
    own: tuple[OwnSvid, ...]
    authorities: Mapping[str, tuple[x509.Certificate, ...]] = field(repr=False)
    revocation_lists: tuple[x509.CertificateRevocationList, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenState:
    keys: Mapping[str, Mapping[str, TokenKey]] = field(repr=False)


def read_x509_message(message: Any, now: int, options: Options) -> X509State:
    """An X509SVIDResponse."""
    if not message.svids:
        raise Refused("update_incomplete", "svids")
    authorities: dict[str, tuple[x509.Certificate, ...]] = {}
    raw_of: dict[str, bytes] = {}
    own = []
    for told in message.svids:
        for name in ("spiffe_id", "x509_svid", "x509_svid_key", "bundle"):
            if not getattr(told, name):
                raise Refused("update_incomplete", name)
        certificates = _certificates(told.bundle)
        svid = _own(told, certificates, now, options)
        domain = svid.id.trust_domain
        if raw_of.setdefault(domain, told.bundle) != told.bundle:
            raise Refused("update_incomplete", "two bundles for one domain")
        authorities[domain] = certificates
        own.append(svid)
    for name, raw in message.federated_bundles.items():
        federated = _domain(name)
        if federated in raw_of:
            raise Refused("update_incomplete", "two bundles for one domain")
        authorities[federated] = _certificates(raw)
    return X509State(tuple(own), authorities, _revocation_lists(message.crl))


def read_tokens_message(message: Any) -> TokenState:
    """A JWTBundlesResponse."""
    if not message.bundles:
        raise Refused("update_incomplete", "bundles")
    return TokenState({_domain(name): read_token_keys(raw)[0] for name, raw in message.bundles.items()})


def _own(told: Any, authorities: Sequence[x509.Certificate], now: int, options: Options) -> OwnSvid:
    chain = split_der(told.x509_svid)
    domain = told.spiffe_id.removeprefix("spiffe://").partition("/")[0]
    trust = TrustStore().with_bundle(make_bundle(domain, "message", now, certificates=authorities))
    verified = verify_x509_svid(chain, trust, now, options)
    if str(verified.id) != told.spiffe_id:
        raise Refused("update_incomplete", "spiffe_id is not that of the certificate")
    if not _is_key_of(told.x509_svid_key, chain[0]):
        raise Refused("update_incomplete", "x509_svid_key is not that of the certificate")
    return OwnSvid(verified.id, chain, told.x509_svid_key, verified.not_after_us, told.hint)


def _is_key_of(raw: bytes, leaf: bytes) -> bool:
    try:
        own = load_der_private_key(raw, None).public_key()
        shown = x509.load_der_x509_certificate(leaf).public_key()
    except _UNREADABLE:
        return False
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return own.public_bytes(*form) == shown.public_bytes(*form)


def _certificates(raw: bytes) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_der_x509_certificate(der) for der in split_der(raw))
    except _UNREADABLE:
        pass
    raise Refused("certificate_malformed")


def _revocation_lists(raw: Sequence[bytes]) -> tuple[x509.CertificateRevocationList, ...]:
    try:
        return tuple(x509.load_der_x509_crl(der) for der in raw)
    except _UNREADABLE:
        pass
    raise Refused("revocation_list_unsigned")


def _domain(name: str) -> str:
    """Trust domains are written as IDs here; a bare name is accepted, as others do."""
    domain = trust_domain_of(name if name.startswith("spiffe://") else f"spiffe://{name}")
    if domain is None:
        raise Refused("bundle_wrong_domain")
    return domain
