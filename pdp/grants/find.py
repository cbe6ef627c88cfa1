"""The grant of a connection, on which none can be shown: found by certificate, destination and gate (N-3).

What counts is what would be accepted if it were shown: given to this workload, tied to this certificate and to nothing that
a connection does not show, for this place, in force, and covering what is asked. One such is the task; none is no task; of
several nothing says which is meant, and to choose would be to guess.
"""

from __future__ import annotations

from language import World
from pdp.grants.grant import Reference
from pdp.grants.index import Index
from pdp.grants.reasons import Refused
from pdp.grants.redeem import Redeemed, Shown, redeem
from pdp.grants.scope import Ancestors


def find_grant(
    index: Index, shown: Shown, now: int, world: World, action: str, resource: Reference, above: Ancestors
) -> Redeemed | None:
    found: Redeemed | None = None
    for grant in index.tied_to(shown.certificate or ""):
        try:
            redeemed = redeem(index.chain(grant.id), shown, now, world, action, resource, above)
        except Refused:
            continue
        if not redeemed.task.covers:
            continue
        if found is not None:
            raise Refused("ambiguous_task")
        found = redeemed
    return found
