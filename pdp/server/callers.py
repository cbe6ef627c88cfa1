"""From what a connection has shown to a `Peer`, anew for every call (L-2, L-3, E-1).

TLS has verified a certificate once, in the handshake, by its own rules and under the roots of that moment. Here it is
verified by ours, and under what is trusted now: an expired or withdrawn certificate ends with the next call, on whatever
connection. What was verified is remembered until anything in it ends, so that a call on a known connection costs a look-up.
"""

from __future__ import annotations

from collections.abc import Callable

from language import parse_pattern
from pdp.identity import Refused, TrustStore, Verifier, split_pem
from pdp.server.config import Config, Pep, Service
from pdp.server.handlers import edge_refusal
from pdp.server.peer import Peer, Transport

CALLERS_MAX = 4096


class Callers:
    """The callers of a configuration. One for a process; safe to ask from several threads."""

    def __init__(self, config: Config, trust: Callable[[], TrustStore], clock: Callable[[], int]) -> None:
        self._peps = config.peps
        self._roles = {service: tuple(_matcher(name) for name in names) for service, names in config.roles.items()}
        self._trust = trust
        self._clock = clock
        self._verifier = Verifier()
        self._by_chain: dict[bytes, Peer] = {}
        self._development = Peer(
            "development",
            Transport.DEVELOPMENT,
            frozenset(Service),
            Pep(domains=(config.development.trust_domain, *config.trust), explain=True),
        )

    def by_certificate(self, chain_pem: bytes, trust_domain: str) -> Peer:
        """The workload of a chain in PEM, leaf first, which must be of the domain of the port."""
        trust, now = self._trust(), self._clock()
        found = self._by_chain.get(chain_pem)
        if found is not None:
            known = found.workload
            assert known is not None
            if known.verified_at_us <= now <= known.not_after_us and trust.holds(trust_domain, known.bundle_version, now):
                return found
        return self._verified(chain_pem, trust_domain, trust, now)

    def by_presented(self, presented: tuple[bytes, ...], trust_domain: str) -> Peer:
        """The same of certificates in DER: another process of ours has seen them on a connection."""
        try:
            workload = self._verifier.workload(presented, self._trust(), self._clock())
        except Refused as refused:
            raise edge_refusal("unauthenticated", refused.code) from None
        if workload.trust_domain != trust_domain:
            raise edge_refusal("unauthenticated", "wrong_trust_domain")
        name = str(workload.id)
        return Peer(name, Transport.TLS, self._roles_of(name), self._peps.get(name), workload, presented=presented)

    def by_uid(self, uid: int) -> Peer:
        """A user of this machine, whom the system has let connect."""
        name = f"uid:{uid}"
        return Peer(name, Transport.UNIX, self._roles_of(name), self._peps.get(name), uid=uid)

    def in_development(self) -> Peer:
        return self._development

    def _verified(self, chain_pem: bytes, trust_domain: str, trust: TrustStore, now: int) -> Peer:
        try:
            presented = split_pem(chain_pem)
        except Refused as refused:
            raise edge_refusal("unauthenticated", refused.code) from None
        peer = self.by_presented(presented, trust_domain)
        while len(self._by_chain) >= CALLERS_MAX:
            self._by_chain.pop(next(iter(self._by_chain), b""), None)
        self._by_chain[chain_pem] = peer
        return peer

    def _roles_of(self, name: str) -> frozenset[Service]:
        """A gate may ask for decisions: that is what it is configured for."""
        roles = {service for service, matches in self._roles.items() if any(m(name) for m in matches)}
        return frozenset(roles | {Service.DECISION} if name in self._peps else roles)


def _matcher(name: str) -> Callable[[str], bool]:
    pattern = parse_pattern(name)
    return pattern.matches if pattern is not None else name.__eq__
