"""A development trust domain in a folder: keys that only their owner can read, and a note that says what it is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pdp.errors import PdpError
from pdp.identity import trust_domain_of
from pdp.identity.dev.certificates import MARK, Authority, PrivateKey
from pdp.identity.dev.domain import DevDomain, make_domain
from pdp.store.regular_file import read_regular

NOTE = "DEVELOPMENT-ONLY.txt"
_NOTE = f"""{MARK}

`pdp dev ca` made this trust domain for one machine and for tests. Whoever reads this folder can be any workload in it.
Never trust its bundle anywhere that matters, and never copy its keys.
"""


def create_domain(folder: Path, trust_domain: str, now_us: int, ttl_us: int) -> tuple[DevDomain, list[Path]]:
    """Makes a domain with new keys, and writes it; a folder that has anything in it already is left alone."""
    if folder.exists() and any(folder.iterdir()):
        raise PdpError("invalid_argument", f"`{folder}` is not empty, and is left as it is")
    domain = make_domain(trust_domain, new_key(), new_key(), new_key(), now_us, ttl_us)
    written = write_files(
        folder,
        {
            NOTE: _NOTE.encode(),
            "root.pem": _pem(domain.root.certificate),
            "intermediate.pem": _pem(domain.intermediate.certificate),
            "bundle.pem": domain.bundle_pem(),
            "bundle.json": domain.bundle_document(),
        },
        secret={
            "root.key": private_pem(domain.root.key),
            "intermediate.key": private_pem(domain.intermediate.key),
            "token.key": private_pem(domain.token_key),
        },
    )
    return domain, written


def open_domain(folder: Path) -> DevDomain:
    """The domain that `create_domain` wrote."""
    root = Authority(_certificate(folder / "root.pem"), _key(folder / "root.key"))
    intermediate = Authority(_certificate(folder / "intermediate.pem"), _key(folder / "intermediate.key"))
    token_key = _key(folder / "token.key")
    names = root.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    trust_domain = trust_domain_of(uris[0]) if uris else None
    if trust_domain is None or not isinstance(token_key, ec.EllipticCurvePrivateKey):
        raise PdpError("invalid_file", f"`{folder}` was not made by `pdp dev ca`")
    return DevDomain(trust_domain, root, intermediate, token_key)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def new_weak_key() -> rsa.RSAPrivateKey:
    """For the certificate that must be refused because of it."""
    return rsa.generate_private_key(65537, 1024)  # noqa: S505  # that is the point


def private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_files(folder: Path, public: dict[str, bytes], secret: dict[str, bytes]) -> list[Path]:
    """Secret files are made with mode 0600 from the first byte on, in the place of any file before them."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [*_write(folder, secret, 0o600), *_write(folder, public, 0o644)]
    except OSError as error:
        raise PdpError("invalid_file", f"`{folder}` cannot be written: {error.strerror}") from None


def _write(folder: Path, files: dict[str, bytes], mode: int) -> Iterable[Path]:
    for name, content in files.items():
        path = folder / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        yield path


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read_regular(path))
    except (OSError, ValueError):
        raise PdpError("invalid_file", f"`{path}` is not a certificate of a folder that `pdp dev ca` made") from None


def _key(path: Path) -> PrivateKey:
    try:
        key = load_pem_private_key(read_regular(path), None)
    except (OSError, ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PdpError("invalid_file", f"`{path}` is not a key of a folder that `pdp dev ca` made")
    return key
