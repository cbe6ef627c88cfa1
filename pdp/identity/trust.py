"""What is trusted: one bundle for each trust domain, never merged, in a snapshot that is replaced as a whole.

A `TrustStore` never changes. A decision takes one at its start and uses it throughout (B-10); every method that
would change it gives another, and whoever holds the current one swaps it by one assignment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Store

from pdp.identity.authorities import issuer_of
from pdp.identity.ids import is_trust_domain
from pdp.identity.refusals import Refused
from pdp.tokens.keys import TokenKey

#: When a bundle that nothing bounds goes stale.
NEVER = 1 << 62

_NO_KEYS: Mapping[str, TokenKey] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry of a bundle that was ignored, by its place, and why."""

    place: int
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class TrustBundle:
    """What one trust domain trusts, from one source. Made by `make_bundle` only."""

    trust_domain: str
    source: str
    authorities: tuple[x509.Certificate, ...] = field(repr=False)
    token_keys: Mapping[str, TokenKey] = field(repr=False)
    wit_keys: Mapping[str, TokenKey] = field(repr=False)
    revocation_lists: tuple[x509.CertificateRevocationList, ...] = field(repr=False)
    version: str  # a digest of all that it says: the same content is the same version
    sequence: int | None
    refresh_hint_us: int | None
    retrieved_us: int
    fresh_until_us: int
    left_out: tuple[LeftOut, ...]
    store: Store | None = field(repr=False)  # the authorities, as the path builder takes them

    @property
    def is_empty(self) -> bool:
        """B-5: with nothing usable in it, everything of the domain is revoked."""
        return not (self.authorities or self.token_keys or self.wit_keys)


def make_bundle(
    trust_domain: str,
    source: str,
    retrieved_us: int,
    *,
    certificates: Iterable[x509.Certificate] = (),
    token_keys: Mapping[str, TokenKey] = _NO_KEYS,
    wit_keys: Mapping[str, TokenKey] = _NO_KEYS,
    revocation_lists: Iterable[x509.CertificateRevocationList] = (),
    sequence: int | None = None,
    refresh_hint_us: int | None = None,
    fresh_until_us: int = NEVER,
    left_out: Iterable[LeftOut] = (),
) -> TrustBundle:
    """The bundle. What is no CA is left out here, or a leaf among the authorities would vouch for itself (X-8)."""
    if not is_trust_domain(trust_domain):
        raise Refused("bundle_wrong_domain")
    authorities: dict[bytes, x509.Certificate] = {}
    dropped = list(left_out)
    for place, certificate in enumerate(certificates):
        problem = issuer_of(certificate).problem
        if problem is not None:
            dropped.append(LeftOut(place, f"not_an_authority: {problem}"))
        else:
            authorities[certificate.public_bytes(Encoding.DER)] = certificate
    lists = tuple(revocation_lists)
    trusted = tuple(authorities.values())
    return TrustBundle(
        trust_domain,
        source,
        trusted,
        MappingProxyType(dict(token_keys)),
        MappingProxyType(dict(wit_keys)),
        lists,
        _version(trust_domain, authorities, token_keys, wit_keys, lists),
        sequence,
        refresh_hint_us,
        retrieved_us,
        fresh_until_us,
        tuple(dropped),
        Store(list(trusted)) if trusted else None,
    )


def _version(
    trust_domain: str,
    authorities: Iterable[bytes],
    token_keys: Mapping[str, TokenKey],
    wit_keys: Mapping[str, TokenKey],
    lists: Iterable[x509.CertificateRevocationList],
) -> str:
    parts = [b"domain", trust_domain.encode()]
    parts += [b"x509", *sorted(hashlib.sha256(der).digest() for der in authorities)]
    for use, keys in ((b"jwt", token_keys), (b"wit", wit_keys)):
        parts.append(use)
        for kid, key in sorted(keys.items()):
            parts += [kid.encode("utf-8", "surrogatepass"), key.thumbprint.encode(), (key.algorithm or "").encode()]
    parts += [b"crl", *sorted(crl.fingerprint(SHA256()) for crl in lists)]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class TrustStore:
    """All bundles at one moment. `epoch` grows by one with every change of what is trusted."""

    bundles: Mapping[str, TrustBundle] = field(default_factory=lambda: MappingProxyType({}))
    epoch: int = 0

    def bundle_for(self, trust_domain: str, now: int) -> TrustBundle:
        """The one bundle that may be used for an ID of this domain, now."""
        bundle = self.bundles.get(trust_domain)
        if bundle is None:
            raise Refused("no_bundle", trust_domain)
        if bundle.is_empty:
            raise Refused("bundle_revoked", trust_domain)
        if now > bundle.fresh_until_us:
            raise Refused("bundle_stale", trust_domain)
        return bundle

    def holds(self, trust_domain: str, version: str, now: int) -> bool:
        """Whether what was verified under this version of the bundle may still be believed."""
        bundle = self.bundles.get(trust_domain)
        return bundle is not None and bundle.version == version and now <= bundle.fresh_until_us

    def with_bundle(self, bundle: TrustBundle, *, force: bool = False) -> TrustStore:
        """With a bundle in the place of the one before; `force` is an operator's word that an older one is meant."""
        before = self.bundles.get(bundle.trust_domain)
        if before is not None and not force:
            if bundle.is_empty and bundle.sequence is None:  # a revocation is never turned away, and is no way back either
                bundle = replace(bundle, sequence=before.sequence)
            _refuse_backwards(before, bundle)
        changed = before is None or before.version != bundle.version
        bundles = MappingProxyType({**self.bundles, bundle.trust_domain: bundle})
        return TrustStore(bundles, self.epoch + changed)

    def without(self, trust_domain: str) -> TrustStore:
        """With the bundle withdrawn: nothing of the domain is trusted."""
        if trust_domain not in self.bundles:
            return self
        return TrustStore(MappingProxyType({k: v for k, v in self.bundles.items() if k != trust_domain}), self.epoch + 1)

    def fresh_until(self, trust_domain: str, fresh_until_us: int) -> TrustStore:
        """With another bound for a bundle whose content was confirmed, or whose source fell silent."""
        before = self.bundles.get(trust_domain)
        if before is None:
            return self
        bundles = {**self.bundles, trust_domain: replace(before, fresh_until_us=fresh_until_us)}
        return TrustStore(MappingProxyType(bundles), self.epoch)


def _refuse_backwards(before: TrustBundle, after: TrustBundle) -> None:
    if before.source != after.source:
        raise Refused("bundle_of_other_source", after.trust_domain)
    if before.sequence is not None:  # the highest that was seen: one that has none would open the way back
        if after.sequence is None or after.sequence < before.sequence:
            raise Refused("bundle_rollback", f"{after.sequence} after {before.sequence}")
    elif after.retrieved_us < before.retrieved_us:
        raise Refused("bundle_older", after.trust_domain)
