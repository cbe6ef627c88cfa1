"""What a workload showed to a gate -> who it is. The gate's word is taken for the path alone, where it may (E-2, E-3)."""

from __future__ import annotations

from pdp.identity.jwt_svid import VerifiedToken, refuse_unbound
from pdp.identity.refusals import Refused
from pdp.identity.remembered import ENTRIES_MAX, Remembered, Verifier, digest_of
from pdp.identity.trust import TrustStore
from pdp.identity.x509_svid import Side, VerifiedWorkload, accept_leaf
from pdp.model.ask import Shown
from pdp.model.gates import Gate


class ShownVerifier:
    """Verifies what gates were shown, each credential once for as long as it holds.

    Leaves whose path is a gate's word are remembered by themselves: that a gate vouched for one does not make it verified
    for a gate that may not.
    """

    def __init__(self, verifier: Verifier, entries_max: int = ENTRIES_MAX) -> None:
        self.verifier = verifier
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
        if shown.whole_path or not gate.leaf_only:
            return self.verifier.workload(shown.certificates, trust, now)
        digest = digest_of(shown.certificates[0])
        found = self.vouched.recall(digest, trust, now)
        if found is None:
            found = accept_leaf(shown.certificates[0], trust, now, self.verifier.options, Side.CLIENT)
            self.vouched.keep(digest, found)
        return found
