"""What a caller may assert. Made once for each, and again for another vocabulary, which may have other types of users."""

from __future__ import annotations

from language import Vocabulary
from pdp.model.gates import Gate
from pdp.server.config import Pep
from pdp.server.config.gate import gate_of
from pdp.server.peer import Peer


class Gates:
    """The gates of a process. Callers in development are one gate, named below us."""

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        self._made: dict[str, tuple[Pep, Vocabulary, Gate]] = {}

    def of(self, peer: Peer, vocabulary: Vocabulary) -> Gate | None:
        """None for a caller that speaks for itself. The vocabulary has the types of users, for an entry that says `*`."""
        pep = peer.gate
        if pep is None:
            return None
        found = self._made.get(peer.name)
        if found is None or found[0] is not pep or found[1] is not vocabulary:
            name = f"{self._own_id}/development" if peer.name == "development" else peer.name
            found = self._made[peer.name] = pep, vocabulary, gate_of(name, pep, frozenset(vocabulary.entities))
        return found[2]
