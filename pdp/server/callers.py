"""From what a connection has shown to a `Peer`, anew for every call (L-2, L-3, E-1).

TLS has verified a certificate once, in the handshake, by its own rules and under the roots of that moment. Here it is
verified by ours, and under what is trusted now: an expired or withdrawn certificate ends with the next call, on whatever
connection. What was verified is remembered until anything in it ends, or there is another configuration, so that a call on a
known connection costs a look-up.
"""

from __future__ import annotations

from collections.abc import Callable

from language import is_spiffe_id, parse_pattern
from pdp.identity import Refused, TrustStore, Verifier, split_pem
from pdp.model.bounded import Bounded
from pdp.server.config import Config, Pep, Service
from pdp.server.handlers import edge_refusal
from pdp.server.peer import Peer, Transport

CALLERS_MAX = 4096
CHAIN_BYTES_MAX = 16_384  # of what is remembered; a caller can put what it likes behind its certificate


class _Entries:
    """What one configuration says of callers, and who was found by it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.peps = config.peps
        self.by_chain: Bounded[bytes, Peer] = Bounded(CALLERS_MAX)
        self.by_uid: dict[int, Peer] = {}
        self._roles = {service: tuple(_matcher(name) for name in names) for service, names in config.roles.items()}
        self.development = Peer(
            "development",
            Transport.DEVELOPMENT,
            frozenset(Service),
            Pep(domains=(config.development.trust_domain, *config.trust), users=("*",), explain=True),
            configured=config,
        )

    def roles_of(self, name: str) -> frozenset[Service]:
        """A gate may ask for decisions: that is what it is configured for."""
        roles = {service for service, matches in self._roles.items() if any(m(name) for m in matches)}
        return frozenset(roles | {Service.DECISION} if name in self.peps else roles)


class Callers:
    """The callers of the configuration in force. One for a process; safe to ask from several threads."""

    def __init__(self, config: Callable[[], Config], trust: Callable[[], TrustStore], clock: Callable[[], int]) -> None:
        self._config = config
        self._trust = trust
        self._clock = clock
        self._verifier = Verifier()
        self._made = _Entries(config())

    @property
    def _entries(self) -> _Entries:
        config, made = self._config(), self._made
        if made.config is not config:
            made = self._made = _Entries(config)
        return made

    def by_certificate(self, chain_pem: bytes, trust_domain: str) -> Peer:
        """The workload of a chain in PEM, leaf first, which must be of the domain of the port."""
        entries, trust, now = self._entries, self._trust(), self._clock()
        found = entries.by_chain.get(chain_pem)
        if found is not None:
            known = found.workload
            assert known is not None
            if known.verified_at_us <= now <= known.not_after_us and trust.holds(trust_domain, known.bundle_version, now):
                return found
        return self._verified(entries, chain_pem, trust_domain)

    def by_presented(self, presented: tuple[bytes, ...], trust_domain: str) -> Peer:
        """The same of certificates in DER: another process of ours has seen them on a connection."""
        return self._presented(self._entries, presented, trust_domain)

    def _presented(self, entries: _Entries, presented: tuple[bytes, ...], trust_domain: str) -> Peer:
        try:
            workload = self._verifier.workload(presented, self._trust(), self._clock())
        except Refused as refused:
            raise edge_refusal("unauthenticated", refused.code) from None
        if workload.trust_domain != trust_domain:
            raise edge_refusal("unauthenticated", "wrong_trust_domain")
        name = str(workload.id)
        roles, pep = entries.roles_of(name), entries.peps.get(name)
        return Peer(name, Transport.TLS, roles, pep, workload, presented=presented, configured=entries.config)

    def by_uid(self, uid: int) -> Peer:
        """A user of this machine, whom the system has let connect."""
        entries = self._entries
        found = entries.by_uid.get(uid)
        if found is None:
            name = f"uid:{uid}"
            roles, pep = entries.roles_of(name), entries.peps.get(name)
            found = Peer(name, Transport.UNIX, roles, pep, uid=uid, configured=entries.config)
            entries.by_uid[uid] = found
        return found

    def in_development(self, named: str | None = None) -> Peer:
        """Anybody; or whoever they say that they are, who then speaks for itself and is no operator."""
        entries = self._entries
        anybody = entries.development
        if named is None or named == anybody.name:
            return anybody
        if not is_spiffe_id(named):
            raise edge_refusal("unauthenticated", "a caller in development is named by a SPIFFE ID")
        roles = frozenset({Service.DECISION, Service.GRANTS})
        return Peer(named, Transport.DEVELOPMENT, roles, configured=entries.config)

    def _verified(self, entries: _Entries, chain_pem: bytes, trust_domain: str) -> Peer:
        try:
            presented = split_pem(chain_pem)
        except Refused as refused:
            raise edge_refusal("unauthenticated", refused.code) from None
        peer = self._presented(entries, presented, trust_domain)
        if len(chain_pem) <= CHAIN_BYTES_MAX:
            entries.by_chain.keep(chain_pem, peer)
        return peer


def _matcher(name: str) -> Callable[[str], bool]:
    pattern = parse_pattern(name)
    return pattern.matches if pattern is not None else name.__eq__
