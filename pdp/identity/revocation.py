"""Revocation lists: until when those of an issuer say that a certificate stands (X-13). No other word on it is asked for.

That it stands is believed of a whole list in force. A list that tells only a part (a delta, one for some certificates or
reasons, one that is critical in something not understood) can revoke, and says nothing of what it does not name.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from pdp.identity.authorities import UNREADABLE, microseconds
from pdp.identity.options import Options
from pdp.identity.refusals import Refused

_DELTA = x509.DeltaCRLIndicator.oid


def not_revoked_until(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Sequence[x509.CertificateRevocationList],
    now: int,
    options: Options,
) -> int:
    """Until when the certificate stands by the lists of its issuer; until its own end where the issuer has none."""
    until_us = microseconds(certificate.not_valid_after_utc)
    named = [crl for crl in lists if crl.issuer == issuer.subject]
    if not named:
        return until_us
    if not _may_sign_lists(issuer):
        raise Refused("issuer_may_not_sign_lists")
    signed = [crl for crl in named if _is_signed_by(crl, issuer)]
    if not signed:
        raise Refused("revocation_list_unsigned")
    if any(crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None for crl in signed):
        raise Refused("certificate_revoked")
    whole = [crl for crl in signed if _is_whole(crl, certificate)]
    if not whole:
        raise Refused("revocation_list_partial")
    begun = [crl for crl in whole if microseconds(crl.last_update_utc) <= now + options.not_before_leeway_us]
    if not begun:
        raise Refused("revocation_list_ahead")
    if not options.require_fresh_revocation_list:
        return until_us
    fresh_until_us = max(microseconds(crl.next_update_utc) if crl.next_update_utc else 0 for crl in begun)
    if fresh_until_us < now:
        raise Refused("revocation_list_stale")
    return min(until_us, fresh_until_us)


def _may_sign_lists(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except (*UNREADABLE, x509.ExtensionNotFound):
        return False


def _is_signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # other kinds of key raise TypeError
    except UNREADABLE:
        return False


def _is_whole(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether the certificate would stand in this list if it were revoked, for whatever reason."""
    try:
        return all(_is_understood(extension, certificate) for extension in crl.extensions)
    except (*UNREADABLE, x509.ExtensionNotFound):
        return False


def _is_understood(extension: x509.Extension[x509.ExtensionType], certificate: x509.Certificate) -> bool:
    point = extension.value
    if not isinstance(point, x509.IssuingDistributionPoint):
        return extension.oid != _DELTA and not extension.critical
    restricted = (
        point.relative_name,
        point.only_some_reasons,
        point.only_contains_user_certs,
        point.only_contains_ca_certs,
        point.only_contains_attribute_certs,
        point.indirect_crl,
    )
    if any(restricted):
        return False
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    return any(name in (point.full_name or ()) for each in points for name in each.full_name or ())
