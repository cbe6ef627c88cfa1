"""What a certificate must be to issue others: one set of rules, for members of bundles (X-8) and for paths (X-7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import SignatureAlgorithmOID

from pdp.identity.ids import trust_domain_of
from pdp.tokens.keys import is_strong

#: What reading a certificate can raise; the library reads extensions and keys only when they are asked for.
UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)

#: The path builder holds each name of a path against each constraint above it, so there are few of either.
NAMES_MAX = CONSTRAINTS_MAX = 100

_NAMES, _CONSTRAINTS, _USAGE = x509.SubjectAlternativeName.oid, x509.BasicConstraints.oid, x509.KeyUsage.oid
_NAME_CONSTRAINTS = x509.NameConstraints.oid
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WEAK_HASHES = (hashes.MD5, hashes.SHA1)


@dataclass(frozen=True, slots=True)
class Issuer:
    """What a path needs to know of an issuing certificate, besides what the path builder checks."""

    problem: str | None  # why it may not issue anything, as a code
    trust_domain: str | None  # of the ID that it carries; none where it carries none
    weak_signature: bool  # its own; of an authority that means nothing
    ends_us: int


@lru_cache(maxsize=1024)
def issuer_of(certificate: x509.Certificate) -> Issuer:
    """The few issuers of a domain come with every leaf. The answer depends on nothing but the certificate."""
    try:
        found = {e.oid: e.value for e in certificate.extensions}
        names, ends_us = found.get(_NAMES), microseconds(certificate.not_valid_after_utc)
        uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
        domain = trust_domain_of(uris[0]) if len(uris) == 1 else None
        problem = _problem(found.get(_CONSTRAINTS), found.get(_USAGE), bool(uris) and domain is None)
        problem = problem or _too_many(names, found.get(_NAME_CONSTRAINTS))
        if problem is None and not is_strong(certificate.public_key()):
            problem = "weak_issuer"
        return Issuer(problem, domain, has_weak_signature(certificate), ends_us)
    except UNREADABLE:
        return Issuer("certificate_malformed", None, True, 0)


def _problem(constraints: x509.BasicConstraints | None, usage: x509.KeyUsage | None, other_uri: bool) -> str | None:
    """X-7: a CA that may sign certificates; and, if it carries a URI, then one path-less ID."""
    if constraints is None or not constraints.ca:
        return "issuer_not_ca"
    if usage is None or not usage.key_cert_sign:
        return "issuer_may_not_sign"
    return "issuer_with_workload_id" if other_uri else None


def _too_many(names: x509.SubjectAlternativeName | None, constraints: x509.NameConstraints | None) -> str | None:
    if names is not None and len(list(names)) > NAMES_MAX:
        return "too_many_names"
    told = () if constraints is None else (constraints.permitted_subtrees or (), constraints.excluded_subtrees or ())
    return "unsupported_name_constraint" if sum(map(len, told)) > CONSTRAINTS_MAX else None


def microseconds(moment: datetime) -> int:
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000


def has_weak_signature(certificate: x509.Certificate) -> bool:
    """X-11. Ed25519 has no separate hash; what the library does not know is weak."""
    if certificate.signature_algorithm_oid == SignatureAlgorithmOID.ED25519:
        return False
    try:
        found = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return True
    return found is None or isinstance(found, _WEAK_HASHES)
