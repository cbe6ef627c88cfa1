"""What a caller may assert. Made once for each, and again when there are other types of users for an entry with `*`."""

from __future__ import annotations

from pdp.model.gates import Gate
from pdp.server.config import Pep
from pdp.server.config.gate import ALL_USERS, gate_of
from pdp.server.peer import Peer


class Gates:
    """The gates of a process. Callers in development are one gate, named below us."""

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        self._made: dict[str, tuple[Pep, frozenset[str], Gate]] = {}

    def of(self, peer: Peer, user_types: frozenset[str]) -> Gate | None:
        """None for a caller that speaks for itself. `user_types` are all that there are, for an entry that says `*`."""
        pep = peer.gate
        if pep is None:
            return None
        found = self._made.get(peer.name)
        if found is None or found[0] is not pep or (found[1] != user_types and ALL_USERS in pep.users):
            name = f"{self._own_id}/development" if peer.name == "development" else peer.name
            found = self._made[peer.name] = pep, user_types, gate_of(name, pep, user_types)
        return found[2]
