"""Entries of `peps:` -> what a gate may assert. Made once for each caller."""

from __future__ import annotations

from pdp.model.gates import Gate, UsersFrom
from pdp.server.config import Pep
from pdp.server.peer import Peer


class Gates:
    """The gates of a process. Callers in development are one gate, named below us."""

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        self._made: dict[str, tuple[Pep, Gate]] = {}

    def of(self, peer: Peer, user_types: frozenset[str]) -> Gate | None:
        """None for a caller that speaks for itself. `user_types` are all that there are, for an entry that says `*`."""
        pep = peer.gate
        if pep is None:
            return None
        found = self._made.get(peer.name)
        if found is None or found[0] is not pep or not found[1].users <= user_types:
            found = self._made[peer.name] = pep, self._make(peer.name, pep, user_types)
        return found[1]

    def _make(self, name: str, pep: Pep, user_types: frozenset[str]) -> Gate:
        users = user_types if "*" in pep.users else frozenset(pep.users)
        users_from = None
        if pep.users_from is not None:
            users_from = UsersFrom(pep.users_from.path, pep.users_from.type, pep.users_from.namespace)
        return Gate(
            f"{self._own_id}/development" if name == "development" else name,
            pep.environment,
            frozenset(pep.domains),
            frozenset(pep.destinations),
            users,
            users_from,
            pep.xfcc,
            pep.vouches,
            pep.bearer,
            pep.location,
            pep.explain,
            pep.scheme,
            pep.headers,
        )
