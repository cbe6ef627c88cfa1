"""What a certificate must be to issue others (X-7, X-8), as rules and as a policy for the path builder."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import SignatureAlgorithmOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy

from pdp.identity.ids import trust_domain_of
from pdp.identity.keys import is_strong

#: How a code travels through the path builder, which tells of our refusals only as text.
MARK = "refused:"

_T = TypeVar("_T", bound=x509.ExtensionType)
_WEAK_HASHES = (hashes.MD5, hashes.SHA1)


def authority_problem(certificate: x509.Certificate) -> str | None:
    """Why a certificate cannot be an authority of a bundle, as a code; nothing when it can (X-8)."""
    try:
        extensions = certificate.extensions
        if not may_be_issuer(_value(find(extensions, x509.BasicConstraints))):
            return "issuer_not_ca"
        if not may_sign(_value(find(extensions, x509.KeyUsage))):
            return "issuer_may_not_sign"
        return None if is_strong(certificate.public_key()) else "weak_issuer"
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return "certificate_malformed"


def may_be_issuer(constraints: x509.BasicConstraints | None) -> bool:
    return constraints is not None and constraints.ca


def may_sign(usage: x509.KeyUsage | None) -> bool:
    return usage is not None and usage.key_cert_sign


def issuer_name_problem(names: x509.SubjectAlternativeName | None, trust_domain: str, own_domain_only: bool) -> str | None:
    """X-7: a CA that carries a URI carries one path-less ID, of the domain that it issues for."""
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
    if not uris:
        return None
    domain = trust_domain_of(uris[0]) if len(uris) == 1 else None
    if domain is None:
        return "issuer_with_workload_id"
    return "issuer_of_other_domain" if own_domain_only and domain != trust_domain else None


def has_weak_signature(certificate: x509.Certificate) -> bool:
    """X-11. Ed25519 has no separate hash; what the library does not know is weak."""
    if certificate.signature_algorithm_oid == SignatureAlgorithmOID.ED25519:
        return False
    try:
        found = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return True
    return found is None or isinstance(found, _WEAK_HASHES)


@lru_cache(maxsize=256)
def issuer_policy(trust_domain: str, own_domain_only: bool) -> ExtensionPolicy:
    """The same rules for every issuing certificate that the path builder tries, so that a bad one is never a way.

    `permit_all` leaves out more than extensions: without these an intermediate that may not sign would do.
    """

    def constraints(_: Policy, __: x509.Certificate, value: x509.BasicConstraints) -> None:
        if not may_be_issuer(value):
            raise ValueError(MARK + "issuer_not_ca")

    def usage(_: Policy, __: x509.Certificate, value: x509.KeyUsage | None) -> None:
        if not may_sign(value):
            raise ValueError(MARK + "issuer_may_not_sign")

    def names(_: Policy, certificate: x509.Certificate, value: x509.SubjectAlternativeName | None) -> None:
        problem = issuer_name_problem(value, trust_domain, own_domain_only)
        if problem is None and not is_strong(certificate.public_key()):
            problem = "weak_issuer"
        if problem is not None:
            raise ValueError(MARK + problem)

    policy = ExtensionPolicy.permit_all()
    policy = policy.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, constraints)
    policy = policy.may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, usage)
    return policy.may_be_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, names)


def _value(extension: x509.Extension[_T] | None) -> _T | None:
    return None if extension is None else extension.value


def find(extensions: x509.Extensions, kind: type[_T]) -> x509.Extension[_T] | None:
    """An extension, or nothing."""
    try:
        return extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None
