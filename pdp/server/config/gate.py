"""An entry of `peps:` -> its gate: made at the start, to see whether there can be one, and again for each caller."""

from __future__ import annotations

from pdp.model.gates import Gate, UsersFrom
from pdp.server.config.sections import Pep

ALL_USERS = "*"


def gate_of(name: str, pep: Pep, user_types: frozenset[str] = frozenset()) -> Gate:
    """PdpError where there can be no such gate. `user_types` are all that there are, for an entry that says `*`."""
    users = frozenset(pep.users) - {ALL_USERS}
    users_from = None
    if pep.users_from is not None:
        users_from = UsersFrom(pep.users_from.path, pep.users_from.type, pep.users_from.namespace)
    return Gate(
        name,
        pep.environment,
        frozenset(pep.domains),
        frozenset(pep.destinations),
        users | user_types if ALL_USERS in pep.users else users,
        users_from,
        pep.xfcc,
        pep.vouches,
        pep.bearer,
        pep.location,
        pep.explain,
        pep.scheme,
        pep.headers,
    )
