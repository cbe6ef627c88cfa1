"""Grants as small as they can be, for stores that do not look into them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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
)
from pdp.model.frozen import frozen

SECOND = 1_000_000
NOW = 1_767_258_000 * SECOND

PLAIN = Grant(
    id="a" * 22,
    task="t" * 22,
    parent=None,
    depth=0,
    kind="invoicing",
    holder="spiffe://dev.test/h",
    opener="spiffe://dev.test/o",
    requester="spiffe://dev.test/h",
    facts=(),
    scope=Scope(()),
    environment=None,
    audience="dev.test",
    binding=Bindings(key="k" * 43),
    created=NOW,
    lasting=SECOND,
    ends=NOW + 3600 * SECOND,
    state=State.ACTIVE,
    generation="g1",
    started=NOW,
)
#: Uses are taken of it; no store has it, and it never ends.
USED = "u" * 22
FULL = replace(
    PLAIN,
    id="f" * 22,
    parent="a" * 22,
    depth=1,
    facts=(
        Fact("tenant", frozen({"name": "Ünïcode \u2028 \x00 \U0001f511", "deep": (1, True, "1")}), Source.OPENER),
        Fact("draft", False, Source.HOLDER),
    ),
    scope=Scope((Permit(frozenset({"select", "insert"}), (Target("Table", "t", ("Database", "d")),), ("max_rows",)),)),
    environment="prod",
    binding=Bindings("c" * 43, "k" * 43, ("spiffe://dev.test/g",), (), "s1", "p1"),
    people=(("User", "ada"),),
    deeper=2,
    uses=3,
    required=Required(2, Target("Group", "leads")),
    approvals=(Approval("ap1", ("User", "eve"), NOW, NOW + SECOND, "d" * 43),),
    state=State.SUSPENDED,
    holds=("freeze", "step"),
    why="an incident",
)


def grant(name: str, **changes: Any) -> Grant:
    return replace(PLAIN, id=name.ljust(22, "_"), **changes)


def ended(found: Grant, why: str = "done") -> Grant:
    return replace(found, state=State.ENDED, ended=EndReason.COMPLETED, ended_at=NOW, why=why, holds=())


def mark(name: str, **changes: Any) -> Mark:
    return replace(Mark("workload", name, "an incident", NOW, "spiffe://dev.test/sre", freezes=True), **changes)
