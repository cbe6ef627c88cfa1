"""Documents of trust, read: PEM, SPIFFE bundles in JWKS form, and maps of them. Either whole or refused (B-1 to B-7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pdp.identity.ids import is_trust_domain
from pdp.identity.options import STRICT, Options
from pdp.identity.refusals import Refused
from pdp.identity.trust import NEVER, LeftOut, TrustBundle, make_bundle
from pdp.tokens.claims import SECOND_US
from pdp.tokens.keys import BadKey, TokenKey, has_private_part, is_for_signatures, read_public_key
from pdp.tokens.strict_base64 import read_base64
from pdp.tokens.strict_json import DuplicateName, NotJson, read_object

BUNDLE_BYTES_MAX = 4 << 20
ENTRIES_MAX = 1000  # certificates and keys; of a document with several bundles, in all
_KINDS = frozenset({"EC", "RSA", "OKP"})
_USES = frozenset({"x509-svid", "jwt-svid", "wit-svid"})
#: What a key of a JWT bundle may say that it is for, where the channel says it already.
_USES_OF_CHANNEL = ("sig", "jwt-svid")

_POLL_US = 300 * SECOND_US
_POLL_US_MIN, _POLL_US_MAX = 5 * SECOND_US, 3600 * SECOND_US
_STALE_US_MIN = 900 * SECOND_US


@dataclass(frozen=True, slots=True)
class Origin:
    """Where and when a document was retrieved, and until when it may be relied on."""

    source: str
    retrieved_us: int
    fresh_until_us: int | None = None  # none: for as long as the document's own hint says


def read_pem(trust_domain: str, raw: bytes, origin: Origin) -> TrustBundle:
    """Authorities as PEM. A file without any certificate is a broken file, not a revocation."""
    _refuse_large(raw)
    refuse_many(raw.count(b"-----BEGIN"))
    if b"PRIVATE KEY" in raw:
        raise Refused("bundle_private_key")
    try:
        certificates = x509.load_pem_x509_certificates(raw)
    except ValueError:
        certificates = []
    if not certificates:
        raise Refused("bundle_malformed", "no certificate in PEM")
    bound = NEVER if origin.fresh_until_us is None else origin.fresh_until_us
    return make_bundle(trust_domain, origin.source, origin.retrieved_us, certificates=certificates, fresh_until_us=bound)


def read_jwks(trust_domain: str, raw: bytes, origin: Origin, options: Options = STRICT) -> TrustBundle:
    """A SPIFFE bundle document."""
    _refuse_large(raw)
    return _bundle(trust_domain, _document(raw), origin, options)


def read_bundle_map(raw: bytes, origin: Origin, options: Options = STRICT) -> tuple[TrustBundle, ...]:
    """Bundles of several domains in one document, `{"trust_domains": {"a.test": {"keys": […]}}}`."""
    _refuse_large(raw)
    domains = _document(raw).get("trust_domains")
    if not isinstance(domains, dict) or not all(isinstance(d, dict) for d in domains.values()):
        raise Refused("bundle_malformed", "trust_domains is not an object of bundles")
    if not all(map(is_trust_domain, domains)):
        raise Refused("bundle_wrong_domain")
    refuse_many(len(domains) + sum(len(_entries(document)) for document in domains.values()))
    return tuple(_bundle(name, document, origin, options) for name, document in domains.items())


def read_token_keys(raw: bytes) -> tuple[Mapping[str, TokenKey], tuple[LeftOut, ...]]:
    """The keys of a JWT bundle of the Workload API: there the channel says what they are for, and not `use` (B-2)."""
    _refuse_large(raw)
    found = _Entries(STRICT)
    for place, entry in enumerate(_entries(_document(raw))):
        found.add(place, {**entry, "use": "jwt-svid"} if is_for_signatures(entry, _USES_OF_CHANNEL) else entry)
    return found.token_keys, tuple(found.left_out)  # what is meant for certificates or WITs is not looked at further


def split_der(raw: bytes) -> tuple[bytes, ...]:
    """Certificates in DER one after the other, as the Workload API sends them."""
    found: list[bytes] = []
    start = 0
    while start < len(raw):
        refuse_many(len(found) + 1)
        size = _der_size(raw, start)
        if start + size > len(raw):
            raise Refused("certificate_malformed")
        found.append(raw[start : start + size])
        start += size
    return tuple(found)


def _der_size(raw: bytes, start: int) -> int:
    """Header and content of the SEQUENCE that starts here."""
    head = raw[start : start + 6]
    if len(head) < 2 or head[0] != 0x30:
        raise Refused("certificate_malformed")
    count = head[1] - 0x80
    if count < 0:
        return 2 + head[1]
    if not 1 <= count <= 4 or len(head) < 2 + count:
        raise Refused("certificate_malformed")
    return 2 + count + int.from_bytes(head[2 : 2 + count], "big")


def poll_after_us(bundle: TrustBundle) -> int:
    """B-7: how long to wait before the source is asked again."""
    hint = _POLL_US if bundle.refresh_hint_us is None else bundle.refresh_hint_us
    return min(max(hint, _POLL_US_MIN), _POLL_US_MAX)


def stale_after_us(refresh_hint_us: int | None) -> int:
    """B-7: how long a bundle may be relied on that nobody could refresh: three times its hint, at least 15 minutes."""
    hint = _POLL_US if refresh_hint_us is None else min(refresh_hint_us, _POLL_US_MAX)
    return max(3 * hint, _STALE_US_MIN)


def _refuse_large(raw: bytes) -> None:
    if len(raw) > BUNDLE_BYTES_MAX:
        raise Refused("bundle_too_large")


def refuse_many(count: int) -> None:
    """Each is read by itself, so what takes little to send would take long to read."""
    if count > ENTRIES_MAX:
        raise Refused("bundle_too_large", f"more than {ENTRIES_MAX} certificates and keys")


def _document(raw: bytes) -> dict[str, Any]:
    try:
        return read_object(raw)
    except DuplicateName:
        code = "bundle_duplicate_name"
    except NotJson:
        code = "bundle_malformed"
    raise Refused(code)


def _bundle(trust_domain: str, document: Mapping[str, Any], origin: Origin, options: Options) -> TrustBundle:
    sequence = _number(document, "spiffe_sequence", "bundle_bad_sequence")
    hint_s = _number(document, "spiffe_refresh_hint", "bundle_bad_refresh_hint")
    hint_us = None if hint_s is None else min(hint_s * SECOND_US, NEVER)
    found = _Entries(options)
    for place, entry in enumerate(_entries(document)):
        found.add(place, entry)
    bound = origin.fresh_until_us
    return make_bundle(
        trust_domain,
        origin.source,
        origin.retrieved_us,
        certificates=found.certificates,
        token_keys=found.token_keys,
        wit_keys=found.wit_keys,
        sequence=sequence,
        refresh_hint_us=hint_us,
        fresh_until_us=origin.retrieved_us + stale_after_us(hint_us) if bound is None else bound,
        left_out=found.left_out,
    )


def _number(document: Mapping[str, Any], name: str, code: str) -> int | None:
    value = document.get(name)
    if value is None and name not in document:
        return None
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise Refused(code)
    return value


def _entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise Refused("bundle_without_keys")
    if not all(isinstance(e, dict) for e in entries):
        raise Refused("bundle_malformed", "a key is not an object")
    refuse_many(len(entries))
    return entries


class _Entries:
    """The entries of one document, sorted by what they are for."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.certificates: list[x509.Certificate] = []
        self.token_keys: dict[str, TokenKey] = {}
        self.wit_keys: dict[str, TokenKey] = {}
        self.left_out: list[LeftOut] = []

    def add(self, place: int, entry: dict[str, Any]) -> None:
        ignore = _why_ignored(entry)
        if ignore:
            self.left_out.append(LeftOut(place, ignore))
            return
        if has_private_part(entry):
            raise Refused("bundle_private_key")
        use: Callable[[int, dict[str, Any]], None] = {
            "x509-svid": self._authority,
            "jwt-svid": lambda p, e: self._token_key(p, e, self.token_keys),
            "wit-svid": lambda p, e: self._token_key(p, e, self.wit_keys),
        }[entry["use"]]
        use(place, entry)

    def _authority(self, place: int, entry: dict[str, Any]) -> None:
        chain = entry.get("x5c")
        if chain is None or chain == []:
            self.left_out.append(LeftOut(place, "no x5c"))
            return
        if not isinstance(chain, list) or not isinstance(chain[0], str):
            raise Refused("bundle_bad_certificate")
        if len(chain) > 1 and self._options.refuse_extra_certificates:
            raise Refused("bundle_extra_certificates")
        self.certificates.append(_certificate(chain[0], entry))

    def _token_key(self, place: int, entry: dict[str, Any], keys: dict[str, TokenKey]) -> None:
        kid = entry.get("kid")
        if kid is None or kid == "":
            if self._options.refuse_key_without_id:
                raise Refused("bundle_key_without_id")
            self.left_out.append(LeftOut(place, "no kid"))
            return
        if not isinstance(kid, str):
            raise Refused("bundle_bad_key", "kid is not a text")
        if kid in self.token_keys or kid in self.wit_keys:
            raise Refused("bundle_key_id_twice")
        try:
            keys[kid] = read_public_key(entry)
        except BadKey as error:
            why = str(error)
        else:
            return
        raise Refused("bundle_bad_key", why)


def _why_ignored(entry: Mapping[str, Any]) -> str | None:
    """B-2: unknown kinds and uses are for somebody else, and so are symmetric keys."""
    kind, use = entry.get("kty"), entry.get("use")
    if not isinstance(kind, str) or kind not in _KINDS:
        return "unknown kty"
    if not isinstance(use, str) or use not in _USES:
        return "unknown use"
    if not is_for_signatures(entry, _USES):
        return "key_ops without verify"
    return "kty is not for tokens" if kind == "OKP" and use != "x509-svid" else None


def _certificate(text: str, entry: Mapping[str, Any]) -> x509.Certificate:
    """`x5c[0]`. Where the JWK also spells the key out, it must be the same key, as RFC 7517 demands."""
    try:
        found = x509.load_der_x509_certificate(read_base64(text))
        if "n" in entry or "y" in entry:
            spelled = read_public_key({k: v for k, v in entry.items() if k != "alg"}).key.public_key
            if _spki(spelled) != _spki(found.public_key()):
                raise BadKey("another key")
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    else:
        return found
    raise Refused("bundle_bad_certificate")


def _spki(key: Any) -> bytes:
    raw: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return raw
