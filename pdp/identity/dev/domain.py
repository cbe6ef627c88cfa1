"""A trust domain in memory: a root, an intermediate, a key for tokens, and SVIDs of any shape below them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pdp.identity.dev.certificates import (
    Authority,
    CertificateShape,
    PrivateKey,
    PublicKey,
    ca_shape,
    issue,
    leaf_shape,
    self_signed,
)
from pdp.identity.dev.malformed_svids import MALFORMED_SVIDS, SvidShape
from pdp.identity.dev.malformed_tokens import MALFORMED_TOKENS
from pdp.identity.dev.tokens import (
    TokenPrivateKey,
    TokenShape,
    algorithm_for,
    authority_jwk,
    bundle_document,
    key_id_for,
    public_jwk,
    sign_token,
    svid_shape,
)
from pdp.identity.ids import is_trust_domain
from pdp.identity.refusals import Refused

_SECOND_US = 1_000_000
#: SVIDs start a little early, for clocks of containers that lag.
_BACKDATE_US = 10 * _SECOND_US


@dataclass(frozen=True, slots=True)
class DevDomain:
    trust_domain: str
    root: Authority
    intermediate: Authority
    token_key: TokenPrivateKey = field(repr=False)

    def certificates(
        self, spiffe_id: str, key: PublicKey, now_us: int, ttl_us: int, malformed: str | None = None
    ) -> tuple[bytes, ...]:
        """An X509-SVID in DER, leaf first, then the intermediate; with `malformed` wrong in one thing."""
        shape = self.shape(spiffe_id, now_us, ttl_us)
        if malformed is not None:
            shape = MALFORMED_SVIDS[malformed].change(shape)
        return self.issue(shape, key)

    def shape(self, spiffe_id: str, now_us: int, ttl_us: int) -> SvidShape:
        """The shape of a good SVID, to be changed."""
        ends_us = min(now_us + ttl_us, _us(self.intermediate.certificate))
        return SvidShape(leaf_shape(spiffe_id, now_us - _BACKDATE_US, ends_us), self._intermediate_shape())

    def issue(self, shape: SvidShape, key: PublicKey) -> tuple[bytes, ...]:
        """Below the domain's own intermediate, or below another one where the shape has another."""
        intermediate = self.intermediate
        if shape.intermediate != self._intermediate_shape():
            certificate = issue(shape.intermediate, intermediate.key.public_key(), self.root)
            intermediate = replace(intermediate, certificate=certificate)
        leaf = issue(shape.leaf, key, intermediate).public_bytes(Encoding.DER)
        return (leaf if shape.patch is None else shape.patch(leaf)), intermediate.der

    def token(self, spiffe_id: str, audience: str, now_us: int, ttl_us: int, malformed: str | None = None) -> str:
        """A JWT-SVID; with `malformed` wrong in one thing."""
        shape = self.token_shape(spiffe_id, audience, now_us, ttl_us)
        if malformed is not None:
            shape = MALFORMED_TOKENS[malformed].change(shape)
        return sign_token(shape, self.token_key)

    def token_shape(self, spiffe_id: str, audience: str, now_us: int, ttl_us: int) -> TokenShape:
        issued_s, expires_s = now_us // _SECOND_US, (now_us + ttl_us) // _SECOND_US
        key = self.token_key
        return svid_shape(spiffe_id, audience, key_id_for(key), algorithm_for(key), issued_s, expires_s)

    def bundle_document(self, sequence: int = 1) -> bytes:
        """What to trust, as a SPIFFE bundle."""
        key = public_jwk(self.token_key, use="jwt-svid", kid=key_id_for(self.token_key))
        return bundle_document([authority_jwk(self.root.certificate), key], spiffe_sequence=sequence)

    def bundle_pem(self) -> bytes:
        return self.root.certificate.public_bytes(Encoding.PEM)

    def _intermediate_shape(self) -> CertificateShape:
        certificate = self.intermediate.certificate
        starts_us, ends_us = int(certificate.not_valid_before_utc.timestamp()) * _SECOND_US, _us(certificate)
        return _intermediate_shape(self.trust_domain, starts_us, ends_us)


def make_domain(
    trust_domain: str,
    root_key: PrivateKey,
    intermediate_key: PrivateKey,
    token_key: TokenPrivateKey,
    now_us: int,
    ttl_us: int,
) -> DevDomain:
    if not is_trust_domain(trust_domain):
        raise Refused("bundle_wrong_domain")
    starts_us, ends_us = now_us - _BACKDATE_US, now_us + ttl_us
    root = self_signed(ca_shape(f"{trust_domain} root", trust_domain, starts_us, ends_us), root_key)
    certificate = issue(_intermediate_shape(trust_domain, starts_us, ends_us), intermediate_key.public_key(), root)
    return DevDomain(trust_domain, root, Authority(certificate, intermediate_key), token_key)


def _intermediate_shape(trust_domain: str, starts_us: int, ends_us: int) -> CertificateShape:
    return ca_shape(f"{trust_domain} intermediate", trust_domain, starts_us, ends_us, path_length=0)


def _us(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_after_utc.timestamp()) * _SECOND_US
