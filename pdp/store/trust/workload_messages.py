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
from pdp.identity.bundles import refuse_many
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
    certificates_in = _certificates(message)
    bundles: dict[str, bytes] = {}
    trusts: dict[str, TrustStore] = {}
    own = []
    for told in message.svids:
        for name in ("spiffe_id", "x509_svid", "x509_svid_key", "bundle"):
            if not getattr(told, name):
                raise Refused("update_incomplete", name)
        domain = told.spiffe_id.removeprefix("spiffe://").partition("/")[0]
        if bundles.setdefault(domain, told.bundle) != told.bundle:
            raise Refused("update_incomplete", "two bundles for one domain")
        if domain not in trusts:
            bundle = make_bundle(domain, "message", now, certificates=certificates_in[told.bundle])
            trusts[domain] = TrustStore().with_bundle(bundle)
        own.append(_own(told, trusts[domain], now, options))
    for name, raw in message.federated_bundles.items():
        federated = _domain(name)
        if federated in bundles:
            raise Refused("update_incomplete", "two bundles for one domain")
        bundles[federated] = raw
    authorities = {domain: certificates_in[raw] for domain, raw in bundles.items()}
    return X509State(tuple(own), authorities, _revocation_lists(message.crl))


def read_tokens_message(message: Any) -> TokenState:
    """A JWTBundlesResponse."""
    if not message.bundles:
        raise Refused("update_incomplete", "bundles")
    refuse_many(len(message.bundles))
    found: dict[str, Mapping[str, TokenKey]] = {}
    for name, raw in message.bundles.items():
        domain = _domain(name)
        if domain in found:
            raise Refused("update_incomplete", "two bundles for one domain")
        found[domain] = read_token_keys(raw)[0]
        refuse_many(sum(map(len, found.values())))
    return TokenState(found)


def _own(told: Any, trust: TrustStore, now: int, options: Options) -> OwnSvid:
    chain = split_der(told.x509_svid)
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


def _certificates(message: Any) -> Mapping[bytes, tuple[x509.Certificate, ...]]:
    """The bundles of a message, each text of them read once; that there are not too many is known before one is read."""
    refuse_many(len(message.svids) + len(message.federated_bundles) + len(message.crl))
    split: dict[bytes, tuple[bytes, ...]] = {}
    count = 0
    for raw in (*(told.bundle for told in message.svids), *message.federated_bundles.values()):
        if raw not in split:
            split[raw] = split_der(raw)
            count += len(split[raw])
            refuse_many(count)
    try:
        return {raw: tuple(map(x509.load_der_x509_certificate, each)) for raw, each in split.items()}
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
