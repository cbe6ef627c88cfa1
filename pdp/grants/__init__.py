"""Tasks and grants: what a grant is, what its scope means, how it lives, when it may be given, what it is good for.

Pure: values in, values and coded refusals out. Stores are in `pdp.store.grants`, the steps of a life in `pdp.service`.
"""

from __future__ import annotations

from pdp.grants.approval import agreement
from pdp.grants.grant import (
    Approval,
    Bindings,
    EndReason,
    Fact,
    Grant,
    Mark,
    Permit,
    Required,
    Scope,
    Source,
    State,
    Target,
    Tombstone,
)
from pdp.grants.index import Index
from pdp.grants.life import STEPS
from pdp.grants.reasons import REASONS, Refused
from pdp.grants.redeem import Redeemed, Shown, redeem
from pdp.grants.requestable import Requestable, requestable
from pdp.grants.scope import covers, within

__all__ = [
    "REASONS",
    "STEPS",
    "Approval",
    "Bindings",
    "EndReason",
    "Fact",
    "Grant",
    "Index",
    "Mark",
    "Permit",
    "Redeemed",
    "Refused",
    "Requestable",
    "Required",
    "Scope",
    "Shown",
    "Source",
    "State",
    "Target",
    "Tombstone",
    "agreement",
    "covers",
    "redeem",
    "requestable",
    "within",
]
