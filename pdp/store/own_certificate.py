"""Our own certificate with its key, from files or from the Workload API, in the form that gRPC wants.

A pair that stands half written is refused: a key that is not of the certificate beside it is nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from pdp.errors import PdpError
from pdp.identity import Refused, split_pem
from pdp.store.regular_file import read_regular
from pdp.store.trust.workload_messages import OwnSvid

UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)
FILE_BYTES_MAX = 256 * 1024


@dataclass(frozen=True, slots=True)
class Shown:
    """What we show: a chain and its key."""

    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    name: str = ""
    not_after_us: int = 0


def read_file(path: Path, bytes_max: int = FILE_BYTES_MAX) -> bytes:
    """The whole of a file that is one: a FIFO would be waited for, and for ever."""
    try:
        found = read_regular(path, bytes_max + 1)
    except OSError as error:
        raise PdpError("invalid_file", f"`{path}` cannot be read: {error.strerror}") from None
    except ValueError:
        raise PdpError("invalid_file", "a path with a NUL in it is none") from None
    if len(found) > bytes_max:
        raise PdpError("invalid_file", f"`{path}` is larger than {bytes_max} bytes")
    return found


def read_pair(certificate: Path, key: Path) -> tuple[Shown, tuple[bytes, ...]]:
    """A chain with its key, and the chain in DER, leaf first. It is not verified."""
    chain, private = read_file(certificate), read_file(key)
    try:
        presented = split_pem(chain)
        certificates = [x509.load_der_x509_certificate(der) for der in presented]
        form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        own = load_pem_private_key(private, None).public_key().public_bytes(*form)
        is_its_key = own == certificates[0].public_key().public_bytes(*form)
    except Refused as refused:
        raise PdpError("invalid_file", f"`{certificate}` is no certificate: {refused}") from None
    except UNREADABLE as error:
        raise PdpError("invalid_file", f"`{certificate}` with `{key}`: {type(error).__name__}") from None
    if not is_its_key:
        raise PdpError("invalid_file", f"`{key}` is not the key of `{certificate}`")
    ends_us = min(int(each.not_valid_after_utc.timestamp()) for each in certificates) * 1_000_000
    return Shown(chain, private, str(certificate), ends_us), presented


def shown_of(svid: OwnSvid) -> Shown:
    """An SVID of the Workload API, in PEM."""
    chain = (x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in svid.certificates)
    key = load_der_private_key(svid.private_key, None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Shown(b"".join(chain), pem, str(svid.id), svid.not_after_us)


def has_dns_name(chain_pem: bytes) -> bool:
    """Whether a client that compares host names, as every gRPC client in Python, can call who shows this."""
    leaf = x509.load_pem_x509_certificates(chain_pem)[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return bool(names.get_values_for_type(x509.DNSName))
