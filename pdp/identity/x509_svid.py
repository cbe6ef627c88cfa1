"""X509-SVIDs: from the certificates that a peer presented to a verified workload, or to one refusal (X-1 to X-13).

`verify_x509_svid` reads from top to bottom as the specification. The path is built and its signatures are checked by
`cryptography.x509.verification`; what makes a certificate an SVID is checked here. The verifier of that library
freezes the time when it is built, so it is built for each verification; what lasts is remembered one floor up.

Possession of the private key is not shown here: the handshake, or whoever speaks for it, has shown it.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, VerificationError

from pdp.identity.authorities import NAMES_MAX, UNREADABLE, Issuer, has_weak_signature, issuer_of, microseconds
from pdp.identity.ids import SpiffeId, parse_workload_id
from pdp.identity.options import STRICT, Options
from pdp.identity.refusals import Refused
from pdp.identity.revocation import not_revoked_until
from pdp.identity.trust import TrustBundle, TrustStore
from pdp.tokens.keys import is_strong

CHAIN_MAX = 4
PRESENTED_MAX = 8
CERTIFICATE_BYTES_MAX = 16_384

_NAMES, _CONSTRAINTS = x509.SubjectAlternativeName.oid, x509.BasicConstraints.oid
_USAGE, _EXTENDED = x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid

_SEAL = object()


class Side(StrEnum):
    """Which side of a connection the certificate stands for."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class VerifiedWorkload:
    """Who a certificate proved to be. Nothing but this file can make one."""

    id: SpiffeId
    verified_at_us: int
    not_after_us: int  # the last microsecond at which all of its path holds
    leaf_sha256: str  # x5t#S256, as RFC 8705 writes it
    verified_by: str  # "pdp": the whole path here; "pep": the leaf here, the path by the gate that sent it
    bundle_version: str
    path_length: int
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a verified workload comes from verify_x509_svid")

    @property
    def trust_domain(self) -> str:
        return self.id.trust_domain


def verify_x509_svid(
    presented: Sequence[bytes], trust: TrustStore, now: int, options: Options = STRICT, side: Side = Side.CLIENT
) -> VerifiedWorkload:
    """The workload that certificates in DER, its own first, prove to be at this moment."""
    _refuse_amount(presented)
    leaf = _read(presented[0])
    workload, ends_us = _leaf(presented[0], leaf, now, options, side)
    bundle = trust.bundle_for(workload.trust_domain, now)
    others = [_read_issuer(certificate) for certificate in presented[1:]]
    path = _path(leaf, others, bundle, now, options)
    if len(path) > CHAIN_MAX:
        raise Refused("chain_too_long")
    known = {id(certificate): issuer for certificate, issuer in others}
    for certificate in path[1:]:
        issuer = known.get(id(certificate)) or issuer_of(certificate)
        if options.require_issuer_in_domain and issuer.trust_domain not in (None, workload.trust_domain):
            raise Refused("issuer_of_other_domain")
        if issuer.ends_us < now:  # the path builder knows whole seconds only
            raise Refused("issuer_expired")
        ends_us = min(ends_us, issuer.ends_us)
    for certificate, issuing in pairwise(path) if bundle.revocation_lists else ():
        ends_us = min(ends_us, not_revoked_until(certificate, issuing, bundle.revocation_lists, now, options))
    return VerifiedWorkload(workload, now, ends_us, thumbprint(presented[0]), "pdp", bundle.version, len(path), _SEAL)


def accept_leaf(
    der: bytes, trust: TrustStore, now: int, options: Options = STRICT, side: Side = Side.CLIENT
) -> VerifiedWorkload:
    """The workload of a leaf whose path was verified by the gate that sends it, which may be believed in that alone."""
    _refuse_amount([der])
    workload, ends_us = _leaf(der, _read(der), now, options, side)
    bundle = trust.bundle_for(workload.trust_domain, now)
    return VerifiedWorkload(workload, now, ends_us, thumbprint(der), "pep", bundle.version, 1, _SEAL)


def split_pem(raw: bytes) -> tuple[bytes, ...]:
    """The certificates of a PEM text in DER, in their order."""
    from cryptography.hazmat.primitives.serialization import Encoding

    if len(raw) > 2 * PRESENTED_MAX * CERTIFICATE_BYTES_MAX:
        raise Refused("certificate_too_large")
    try:
        return tuple(c.public_bytes(Encoding.DER) for c in x509.load_pem_x509_certificates(raw))
    except UNREADABLE:
        pass
    raise Refused("certificate_malformed")


def thumbprint(der: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def _refuse_amount(presented: Sequence[bytes]) -> None:
    if not presented:
        raise Refused("no_certificate")
    if len(presented) > PRESENTED_MAX:
        raise Refused("too_many_certificates")
    if any(len(der) > CERTIFICATE_BYTES_MAX for der in presented):
        raise Refused("certificate_too_large")


def _read(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except (*UNREADABLE, x509.InvalidVersion):
        pass
    raise Refused("certificate_malformed")


@lru_cache(maxsize=256)
def _read_issuer(der: bytes) -> tuple[x509.Certificate, Issuer]:
    """An intermediate comes with each of its leaves, and is read once. That it was read says nothing for it."""
    certificate = _read(der)
    return certificate, issuer_of(certificate)


# ---- the leaf


def _leaf(der: bytes, leaf: x509.Certificate, now: int, options: Options, side: Side) -> tuple[SpiffeId, int]:
    """The ID of a leaf that is one by itself, and when it ends; whose it is, its path will show."""
    try:
        extensions, key = leaf.extensions, leaf.public_key()
        starts_us, ends_us = microseconds(leaf.not_valid_before_utc), microseconds(leaf.not_valid_after_utc)
        # An empty subject is `30 00` right after the validity, which ends in the Z of a time: names are read only then.
        subject_is_empty = b"Z\x30\x00" in der and not leaf.subject.rdns
    except UNREADABLE:
        extensions = None
    if extensions is None:
        raise Refused("certificate_malformed")
    found = {e.oid: e for e in extensions}
    workload = _one_id(found.get(_NAMES))
    _refuse_ca(found.get(_CONSTRAINTS), options)
    _refuse_usage(found.get(_USAGE), options)
    _refuse_extended_usage(found.get(_EXTENDED), side)
    if subject_is_empty and not found[_NAMES].critical:
        raise Refused("name_not_critical")
    if now < starts_us - options.not_before_leeway_us:
        raise Refused("not_yet_valid")
    if now > ends_us:
        raise Refused("expired")
    if not is_strong(key):
        raise Refused("weak_key")
    if has_weak_signature(leaf):
        raise Refused("weak_signature")
    return workload, ends_us


def _one_id(names: x509.Extension[x509.SubjectAlternativeName] | None) -> SpiffeId:
    """X-1: one URI, whatever stands beside it; never the subject, never a DNS name."""
    if names is not None and len(list(names.value)) > NAMES_MAX:
        raise Refused("too_many_names")
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
    if not uris:
        raise Refused("no_uri_name")
    if len(uris) > 1:
        raise Refused("several_uri_names")
    return parse_workload_id(uris[0])


def _refuse_ca(constraints: x509.Extension[x509.BasicConstraints] | None, options: Options) -> None:
    if constraints is not None and constraints.value.ca:
        raise Refused("leaf_is_ca")
    if constraints is None and options.require_basic_constraints:
        raise Refused("no_basic_constraints")


def _refuse_usage(usage: x509.Extension[x509.KeyUsage] | None, options: Options) -> None:
    strict = options.require_critical_key_usage
    if usage is not None and usage.value.key_cert_sign:
        raise Refused("leaf_signs_certificates")
    if usage is not None and usage.value.crl_sign:
        raise Refused("leaf_signs_crls")
    if strict and usage is None:
        raise Refused("no_key_usage")
    if strict and usage is not None and not usage.critical:
        raise Refused("key_usage_not_critical")
    if strict and usage is not None and not usage.value.digital_signature:
        raise Refused("no_digital_signature")


def _refuse_extended_usage(usage: x509.Extension[x509.ExtendedKeyUsage] | None, side: Side) -> None:
    needed = ExtendedKeyUsageOID.CLIENT_AUTH if side is Side.CLIENT else ExtendedKeyUsageOID.SERVER_AUTH
    if usage is not None and needed not in usage.value:
        raise Refused("wrong_extended_usage")


# ---- the path

#: Extensions are checked by our own rules, each by one. Left to the library: path lengths, name constraints, and refusing
#: critical extensions that nobody knows.
_LEAF_POLICY = ExtensionPolicy.permit_all()
_ISSUER_POLICY = _LEAF_POLICY.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)


def _path(
    leaf: x509.Certificate,
    others: list[tuple[x509.Certificate, Issuer]],
    bundle: TrustBundle,
    now: int,
    options: Options,
) -> list[x509.Certificate]:
    """Leaf to authority. What may not issue is not given to the path builder, so it is never a way: with `permit_all` the
    library would take an intermediate that may not sign. Members of a bundle passed the same rules.

    A leeway on notBefore is a second attempt a little later; it never outlives a notAfter.
    """
    if bundle.store is None:
        raise Refused("untrusted_issuer", "the bundle has no authority for certificates")
    usable = [certificate for certificate, issuer in others if issuer.problem is None and not issuer.weak_signature]
    leeway = options.not_before_leeway_us
    for moment in (now, now + leeway) if leeway else (now,):
        verifier = (
            PolicyBuilder()
            .store(bundle.store)
            .time(_datetime(moment))
            .max_chain_depth(CHAIN_MAX - 2)  # it counts what stands between leaf and authority
            .extension_policies(ca_policy=_ISSUER_POLICY, ee_policy=_LEAF_POLICY)
            .build_client_verifier()
        )
        try:
            return verifier.verify(leaf, usable).chain
        except VerificationError as error:
            told = str(error)
        except UNREADABLE:
            told = "unreadable"
    unfit = next((issuer.problem or "weak_issuer" for c, issuer in others if c not in usable), None)
    raise Refused(unfit or _code_of(told, [*usable, *bundle.authorities], now))


#: What the path builder says, and the code for it; the first that occurs. It tells its reasons only as text, so what is
#: not known here is `untrusted_issuer`: a refusal, too.
_TOLD = (
    ("path length constraint violated", "path_length_exceeded"),
    ("max depth", "chain_too_long"),
    ("unaccounted-for critical", "unknown_critical_extension"),
    ("name constraint", "unsupported_name_constraint"),
    ("orbidden", "weak_issuer"),
    ("too weak", "weak_issuer"),
    ("unreadable", "certificate_malformed"),
)


def _code_of(told: str, issuers: list[x509.Certificate], now: int) -> str:
    told = told.partition("(encountered processing")[0]  # what follows are names out of certificates
    if "not valid at validation time" in told:
        ended = any(microseconds(c.not_valid_after_utc) < now for c in issuers)
        return "issuer_expired" if ended else "issuer_not_yet_valid"
    return next((code for words, code in _TOLD if words in told), "untrusted_issuer")


def _datetime(moment_us: int) -> datetime:
    return datetime.fromtimestamp(moment_us // 1_000_000, UTC)
