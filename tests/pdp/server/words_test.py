"""Why a workload was frozen or revoked is for operators: on no road is it told to whom it is about (finding A11)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from pdp.wire.messages import PDP
from tests.pdp.server.grants_world import (
    ADMIN,
    API,
    CI,
    DECISIONS,
    ENVOY_CHECK,
    GRANTS,
    HELPER,
    OPS,
    Client,
    Place,
    asking,
    asking_envoy,
    bound,
)
from tests.pdp.server.world import DOMAIN, GATE, Running, call

WORDS = "shell seen by rule 77"
LOOKER = f"spiffe://{DOMAIN}/ops/look"  # an operator without the role `grants`


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def server(place: Place) -> Iterator[Running]:
    roles = {
        "grants": [f"spiffe://{DOMAIN}/ci/*", f"spiffe://{DOMAIN}/billing/*", OPS],
        "admin": [OPS, LOOKER],
        "decision": [f"spiffe://{DOMAIN}/billing/*"],
    }
    record = {"directory": str(place.folder / "record"), "keys": str(place.folder / "record-keys")}
    with place.serving(roles=roles, record=record) as found:
        yield found


def told(client: Client, method: str, message: Any) -> str:
    """All that comes back of a call: the bytes, or what is said of why there are none."""
    try:
        return repr(call(client.channel, method, message.SerializeToString(deterministic=True)))
    except grpc.RpcError as error:
        return f"{error.code()} {error.details()} {error.trailing_metadata()}"


def changes(client: Client, count: int) -> str:
    """The first grants that a watch shows."""
    found = client.channel.stream_stream(f"{GRANTS}Watch")(iter([PDP.WatchRequest().SerializeToString()]))
    try:
        return repr([next(found) for _ in range(count)])
    except grpc.RpcError as error:
        return f"{error.code()} {error.details()} {error.trailing_metadata()}"
    finally:
        found.cancel()


def requesting(place: Place) -> Any:
    message = PDP.RequestGrantRequest(kind="invoicing", opener=CI, why="May")
    message.bindings.certificate = place.thumbprint(API)
    return message


def why_of(grant: Any) -> str:
    return str(grant.why)


def admin(method: str, **fields: str) -> Callable[[Client, Any], Any]:
    message = PDP.find(f"pdp.v1.{method}Request")
    return lambda ops, grant: ops.admin(method, message(why=WORDS, **fields))


INCIDENTS: dict[str, Callable[[Client, Any], Any]] = {
    "the holder is frozen": admin("Freeze", workload=API),
    "the holder is revoked": admin("Revoke", workload=API),
    "the opener is revoked": admin("Revoke", opener=CI),
    "the gate is revoked": admin("Revoke", gate=GATE),
    "the grant is revoked": lambda ops, grant: ops.admin("Revoke", PDP.RevokeRequest(grant=grant.id, why=WORDS)),
    "the task is revoked": lambda ops, grant: ops.admin("Revoke", PDP.RevokeRequest(task=grant.task, why=WORDS)),
    "an operator suspends": lambda ops, grant: ops.grants("Suspend", PDP.SuspendRequest(grant=grant.id, why=WORDS)),
    "an operator ends": lambda ops, grant: ops.grants("End", PDP.EndRequest(task=grant.task, why=WORDS)),
}


@pytest.mark.parametrize("incident", INCIDENTS)
def test_the_words_of_an_operator_are_told_to_operators_alone(place: Place, server: Running, incident: str) -> None:
    with (
        place.calling(server.address, CI) as ci,
        place.calling(server.address, API) as api,
        place.calling(server.address, GATE) as gate,
        place.calling(server.address, OPS) as ops,
        place.calling(server.address, LOOKER) as looker,
    ):
        opened = ci.grants("Open", bound(place, idempotency_key="once"))
        grant, ask = opened.grant, asking(place, opened.handle)
        assert gate.reason(ask) == "allowed"
        INCIDENTS[incident](ops, grant)

        of_gate = [
            told(gate, f"{DECISIONS}Check", ask),
            told(gate, f"{DECISIONS}Check", asking(place, "")),
            told(gate, f"{DECISIONS}CheckMany", PDP.CheckManyRequest(requests=[ask])),
            told(gate, f"{DECISIONS}Explain", PDP.ExplainRequest(request=ask)),
            told(gate, f"{DECISIONS}Explain", PDP.ExplainRequest(request=asking(place, ""))),
            told(gate, ENVOY_CHECK, asking_envoy(place, opened.handle)),
            told(gate, ENVOY_CHECK, asking_envoy(place, "")),
        ]
        assert any(reason in of_gate[0] for reason in ("task_suspended", "task_ended", "revoked"))
        delegation = PDP.DelegateRequest(grant=opened.handle, holder=HELPER)
        of_workloads = [
            told(client, f"{GRANTS}{method}", message)
            for client in (ci, api)
            for method, message in (
                ("Open", bound(place)),
                ("Open", bound(place, idempotency_key="once")),
                ("Request", requesting(place)),
                ("Delegate", delegation),
                ("Renew", PDP.RenewRequest(grant=grant.id)),
                ("Get", PDP.GetRequest(grant=grant.id)),
                ("List", PDP.ListRequest(task=grant.task)),
                ("Suspend", PDP.SuspendRequest(grant=grant.id, lift=True)),
            )
        ]
        of_watches = [changes(client, 1) for client in (ci, api)]
        assert not [each for each in (*of_gate, *of_workloads, *of_watches) if WORDS in each or "rule 77" in each]

        stands_on_it = incident != "the gate is revoked"
        for operator in (ops, looker):
            seen = operator.grants("Get", PDP.GetRequest(grant=grant.id)).grant
            (listed,) = operator.grants("List", PDP.ListRequest(task=grant.task)).grants
            assert why_of(seen) == why_of(listed) == (WORDS if stands_on_it else "")
            assert (WORDS in changes(operator, 1)) is stands_on_it
    server.parts.close()
    lines = [
        json.loads(line)
        for path in sorted((place.folder / "record").rglob("record-*.ndjson"))
        for line in path.read_text().splitlines()
    ]
    assert any(line["kind"] in ("incident", "grant") and WORDS in json.dumps(line) for line in lines if "kind" in line)


def test_the_words_of_an_opener_are_told_to_the_holder(place: Place, server: Running) -> None:
    """They are parties to the grant. A rejection says to the requester what to ask for instead."""
    with place.calling(server.address, CI) as ci, place.calling(server.address, API) as api:
        grant = ci.grants("Open", bound(place)).grant
        ci.grants("Suspend", PDP.SuspendRequest(grant=grant.id, why="a pause"))
        assert why_of(api.grants("Get", PDP.GetRequest(grant=grant.id)).grant) == "a pause"
        asked = api.grants("Request", requesting(place)).grant
        ci.grants("Reject", PDP.RejectRequest(grant=asked.id, why="not in June"))
        assert why_of(api.grants("Get", PDP.GetRequest(grant=asked.id)).grant) == "not in June"


def test_operators_may_look_without_the_role_of_those_who_open_and_hold(place: Place, server: Running) -> None:
    """Whoever may freeze a workload has to see what it holds, before and after; and takes no step with that."""
    with (
        place.calling(server.address, CI) as ci,
        place.calling(server.address, LOOKER) as looker,
        place.calling(server.address, GATE) as gate,
        place.calling(server.address, f"spiffe://{DOMAIN}/none/of/these") as nobody,
    ):
        grant = ci.grants("Open", bound(place)).grant
        looks: dict[str, Any] = {
            "Get": PDP.GetRequest(grant=grant.id),
            "List": PDP.ListRequest(holder=API),
        }
        assert looker.grants("Get", looks["Get"]).grant.id == grant.id
        assert [each.id for each in looker.grants("List", looks["List"]).grants] == [grant.id]
        assert grant.id in changes(looker, 1)
        steps: dict[str, Any] = {
            "Open": bound(place),
            "End": PDP.EndRequest(task=grant.task),
            "Suspend": PDP.SuspendRequest(grant=grant.id, why="x"),
            "Approve": PDP.ApproveRequest(grant=grant.id),
        }
        for method, message in steps.items():
            assert looker.refused(method, message) == "PERMISSION_DENIED not_permitted"
        for client in (gate, nobody):
            for method, message in {**looks, **steps}.items():
                assert client.refused(method, message) == "PERMISSION_DENIED not_permitted"
            assert "not_permitted" in changes(client, 1)
        assert looker.refused("Check", asking(place, ""), DECISIONS) == "PERMISSION_DENIED not_permitted"
        assert ci.refused("Freeze", PDP.FreezeRequest(workload=API, why="x"), ADMIN) == "PERMISSION_DENIED not_permitted"
