"""What could be asked for after a denial."""

from __future__ import annotations

import pytest

from language import EntityData, RequestData
from pdp.grants.requestable import requestable
from tests.pdp.service.world import API, CI, SHELL, World


@pytest.mark.parametrize(
    ("workload", "action", "resource", "kinds"),
    [
        (API, "select", ("Table", "invoices"), ["errand", "invoicing"]),
        (API, "update", ("Table", "invoices"), ["invoicing"]),
        (API, "ship", ("Service", "shop"), ["release"]),
        (API, "select", ("Table", "foreign"), []),
        (API, "select", ("Table", "nowhere"), []),
        (API, "select", ("Nothing", "x"), []),
        (API, "drop", ("Table", "invoices"), []),
        (CI, "select", ("Table", "invoices"), ["errand"]),
        (SHELL, "select", ("Table", "invoices"), []),
        (None, "select", ("Table", "invoices"), []),
    ],
)
def test_the_kinds_that_a_workload_may_hold_and_that_cover_it(
    workload: str | None, action: str, resource: tuple[str, str], kinds: list[str]
) -> None:
    world = World().snapshot.world
    found = requestable(world, RequestData(action, EntityData(*resource), workload=workload))
    assert [each.kind for each in found] == kinds


def test_what_it_takes() -> None:
    world = World().snapshot.world
    table = RequestData("select", EntityData("Table", "invoices"), workload=API)
    errand, invoicing = requestable(world, table)
    assert (errand.holder_opens, errand.facts) == (True, ())
    assert (invoicing.holder_opens, invoicing.facts, invoicing.required) == (False, ("tenant",), None)
    assert invoicing.lasts == 15 * 60_000_000
    (release,) = requestable(world, RequestData("ship", EntityData("Service", "shop"), workload=API))
    assert release.required is not None
    assert (release.required.count, release.required.of.id) == (2, "leads")
