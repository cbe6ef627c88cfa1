"""Section B of the catalogue of faults, asked of `engine.directory`: what a program puts beside the data of files."""

# ruff: noqa: E501  # tables are read a row a line
from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

import pdp
from tests.pdp.engine.catalogue_b_test import ADA, NAN, RESOURCE, USER, engine, told
from tests.pdp.engine.remembering import T0, ask, engine_of

ENDS: list[Any] = ["2027-01-01T00:00:00Z", True, 1.5, NAN, -1, 2**80]


@pytest.mark.parametrize(
    "record",
    [
        *[pytest.param({**ADA, "attributes": {"level": v}}, id=f"{row}-level") for row, v in (("28-nan", NAN), ("29-bigint", 10**5000), ("30-int-forms", "1_000"), ("31-overflow", 2**63), ("32-bool", True), ("33-neg-zero", -0.0), ("35-null", None))],
        pytest.param({**ADA, "Attributes": {}}, id="27-case-keys"),
        pytest.param({**ADA, "attributes": {"Level": 1}}, id="27-case-keys-attribute"),
        pytest.param({**ADA, "attributes": {}}, id="35-missing"),
        pytest.param({**ADA, "attributes": None}, id="35-null-attributes"),
        pytest.param({**ADA, "parents": None}, id="35-null-parents"),
        pytest.param({**ADA, "parents": "Team"}, id="34-string-parents"),
        pytest.param({**ADA, "parents": ["Tx"]}, id="34-string-parent"),
        pytest.param({**ADA, "parents": [["Team", "a", "b"]]}, id="34-long-parent"),
        *[pytest.param({**ADA, "id": i}, id=f"{row}-id") for row, i in (("36-nfc", "e\u0301"), ("39-bidi", "a\u202e"), ("40-surrogate", "\ud800"), ("41-newline", "ada\n"), ("32-number", 1), ("35-empty", ""))],
        *[pytest.param({"relation": "reader", "of": [list(USER), list(RESOURCE)], "until": u}, id=f"28-until-{i}") for i, u in enumerate((NAN, 0, True, None, "2026-01-01", "2026-01-01T00:00:00Z\n"))],
        pytest.param({"relation": "reader", "of": "ab"}, id="34-string-of"),
        pytest.param({"relation": "reader"}, id="35-missing-of"),
        pytest.param(["User", "ada"], id="34-list-record"),
        pytest.param(None, id="35-null-record"),
        pytest.param(pdp.Entity("User", "ada", {"level": True}), id="32-entity"),
        pytest.param(pdp.Entity("User", "a\n", {"level": 1}), id="41-entity"),
        pytest.param(pdp.Row("reader", (USER, ("Doc", "a\n"))), id="41-row"),
    ],
)  # fmt: skip
def test_a_bad_record_changes_nothing(record: Any) -> None:
    """With a good one beside it: neither is seen, and what was in force stays so."""
    asked = engine("user.level == 1")
    version = asked.directory.version
    with pytest.raises(pdp.PdpError) as caught:
        asked.directory.upsert({"type": "Team", "id": "new"}, record)
    assert caught.value.code == "invalid_data"
    assert (asked.directory.version, ("Team", "new") in asked.directory) == (version, False)
    assert ask(asked, pdp.Request(**told()), T0).allowed


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(pdp.Entity("User", "x", {"level": 1}, (("Team", "a", "junk"),)), id="parent-of-three"),  # type: ignore[arg-type]
        pytest.param(pdp.Entity("User", "x", {"level": 1}, None), id="parents-null"),  # type: ignore[arg-type]
        pytest.param(pdp.Entity("User", "x", {"level": 1}, (1,)), id="parent-number"),  # type: ignore[arg-type]
        pytest.param(pdp.Entity("User", "x", {"level": 1}, [["Team", "a"]]), id="parents-of-lists"),  # type: ignore[arg-type]
        pytest.param(pdp.Entity(["User"], "x"), id="type-list"),  # type: ignore[arg-type]
        pytest.param(pdp.Row("reader", None), id="of-null"),  # type: ignore[arg-type]
        *[pytest.param(pdp.Row("reader", (USER, RESOURCE), ends), id=f"until-{ends!r}") for ends in ENDS],
    ],
)  # fmt: skip
def test_34_entities_and_rows_of_wrong_types(record: Any) -> None:
    test_a_bad_record_changes_nothing(record)


def test_30_a_rows_end_of_wrong_type_does_not_break_decisions() -> None:
    asked = engine("reader(user, resource)")
    assert not ask(asked, pdp.Request(**told()), T0).allowed
    with suppress(pdp.PdpError):  # refused, or without effect
        asked.directory.upsert(pdp.Row("reader", (USER, RESOURCE), "2020-01-01T00:00:00Z"))  # type: ignore[arg-type]
    assert not ask(asked, pdp.Request(**told()), T0).allowed


def test_34_a_parent_of_three_parts_hides_no_ancestors() -> None:
    """The neighbour with two parts is in what its parent is in; a third part must be refused or mean nothing."""
    asked = engine_of(
        'language 1\nentity G in G\nentity D in G\nentity U\naction a on D\nallow ok { for U do a on D }\ndeny no { do a\n on D\n when resource in G "top" }\n',
        {"type": "G", "id": "low", "parents": [["G", "top"]]},
    )
    request = pdp.Request("a", ("D", "d"), user=("U", "u"))
    asked.directory.upsert(pdp.Entity("D", "d", {}, (("G", "low"),)))
    assert not ask(asked, request, T0).allowed
    with suppress(pdp.PdpError):  # refused, or without effect
        asked.directory.upsert(pdp.Entity("D", "d", {}, (("G", "low", "junk"),)))  # type: ignore[arg-type]
    assert not ask(asked, request, T0).allowed
