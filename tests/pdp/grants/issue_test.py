"""What the comparison of child and parent says by itself, and that the tables are whole."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

import pdp.grants
import pdp.service
from pdp.grants.grant import Bindings
from pdp.grants.issue import refuse_bindings, refuse_wider
from pdp.grants.reasons import REASONS, Refused
from tests.pdp.service.world import World, tied


def test_a_child_is_of_the_kind_of_its_parent() -> None:
    world = World()
    root = world.open()
    child = replace(world.delegate(root), kind="compile")
    with pytest.raises(Refused, match="child_other_kind"):
        refuse_wider(child, (root,), world.snapshot.world)


def test_a_key_of_any_grant_above_is_known() -> None:
    world = World()
    root = world.open()
    child = world.delegate(root)
    grandchild = replace(child, depth=2, deeper=1, parent=child.id)
    with pytest.raises(Refused, match="child_key_known"):
        refuse_wider(replace(grandchild, binding=tied("api")), (root, child), world.snapshot.world)
    refuse_wider(replace(grandchild, binding=tied("other")), (root, child), world.snapshot.world)


def test_every_kind_of_binding_has_rules() -> None:
    """A new one needs a rule in `refuse_bindings`, in `refuse_less_bound` and in `redeem`."""
    assert {field.name for field in fields(Bindings)} == {
        "certificate", "key", "gates", "destinations", "session", "process", "unknown",
    }  # fmt: skip
    refuse_bindings(Bindings())


def test_every_code_is_the_reason_of_something() -> None:
    """`task_not_started` is said by the language, and `revoked` of a check by the engine."""
    folders = [Path(str(package.__file__)).parent for package in (pdp.grants, pdp.service)]
    text = "".join(path.read_text("utf-8") for folder in folders for path in folder.glob("*.py") if path.stem != "reasons")
    assert [code for code in REASONS if f'"{code}"' not in text] == ["task_not_started"]
