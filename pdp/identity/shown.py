"""What a workload showed to a gate -> who it is. The gate's word is taken for the path alone, where it may (E-2, E-3)."""

from __future__ import annotations

from pdp.identity.jwt_svid import VerifiedToken, refuse_unbound
from pdp.identity.options import Options
from pdp.identity.refusals import Refused
from pdp.identity.remembered import ENTRIES_MAX, Remembered, Verifier, digest_of
from pdp.identity.trust import TrustStore
from pdp.identity.x509_svid import Side, VerifiedWorkload, accept_leaf, verify_x509_svid
from pdp.model.ask import Shown
from pdp.model.gates import Gate


class ShownVerifier:
    """Verifies what gates were shown, each credential once for as long as it holds.

    There is a memory for each way to verify, so that what was shown before in another way changes no answer: a leaf whose
    path is a gate's word is not thereby verified for a gate that may not vouch.
    """

    def __init__(self, verifier: Verifier, entries_max: int = ENTRIES_MAX) -> None:
        self.verifier = verifier  # whole paths, and tokens
        self.alone: Remembered[VerifiedWorkload] = Remembered(entries_max)
        self.vouched: Remembered[VerifiedWorkload] = Remembered(entries_max)

    def verify(self, shown: Shown, gate: Gate, trust: TrustStore, now: int) -> VerifiedWorkload | VerifiedToken:
        """The workload, which is one of a trust domain that the gate may show (E-1)."""
        peer = self._peer(shown, gate, trust, now) if shown.certificates else None
        if peer is not None and shown.principal is not None and shown.principal != str(peer.id):
            raise Refused("principal_mismatch")
        token = self.verifier.token(shown.token, trust, now) if shown.token is not None else None
        if token is not None and peer is not None:
            refuse_unbound(token, peer)
        found = peer or token
        if found is None:
            raise Refused("no_certificate")
        if found.id.trust_domain not in gate.domains:
            raise Refused("domain_not_asserted")
        return found

    def _peer(self, shown: Shown, gate: Gate, trust: TrustStore, now: int) -> VerifiedWorkload:
        if shown.whole_path:
            return self.verifier.workload(shown.certificates, trust, now)
        leaf, options = shown.certificates[0], self.verifier.options
        digest = digest_of(leaf)
        memory = self.vouched if gate.vouches else self.alone
        found = memory.recall(digest, trust, now)
        if found is None:
            take = accept_leaf if gate.vouches else _verify_alone
            found = take(leaf, trust, now, options, Side.CLIENT)
            memory.keep(digest, found)
        return found


def _verify_alone(leaf: bytes, trust: TrustStore, now: int, options: Options, side: Side) -> VerifiedWorkload:
    """A leaf without its path, which is whole where an authority signed it."""
    try:
        return verify_x509_svid((leaf,), trust, now, options, side)
    except Refused as error:
        if error.code != "untrusted_issuer":
            raise
    raise Refused("path_not_verified")
