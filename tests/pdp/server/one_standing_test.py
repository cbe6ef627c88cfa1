"""A question is read and decided by one policy set, also where another is put into force in between."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import pdp
from pdp.identity import Verifier
from pdp.server.handlers import CallRefused, Deadline
from pdp.server.peer import Peer, Transport
from pdp.server.services.decisions import decision_handlers
from pdp.server.services.envoy import CHECK, envoy_handlers
from pdp.wire.client import write_request
from pdp.wire.messages import ENVOY, PDP
from tests.conformance.over_the_wire_test import certificates
from tests.pdp.server.hearing_test import API, PEER, Place

ENTITIES = """language 1
package app
entity Document
action read on Document {{ place: String? {trust} }}
action open, keep on Document
allow keep {{ who anyone do keep on Document }}
"""
#: Of both, neither allows what is asked. What is read by the first and decided by the second is allowed.
WORD = (
    ENTITIES.format(trust="claimed"),
    ENTITIES.format(trust="from gate")
    + 'allow office { who anyone do read on Document when context has place and context.place == "office" }',
)
ROUTE = (
    ENTITIES.format(trust="claimed") + 'routes http "app.test" { GET /vault -> read on Document("vault") }',
    ENTITIES.format(trust="claimed") + "allow all { who anyone do read on Document }\n"
    'routes http "app.test" { GET /vault -> open on Document("vault") }',
)


def by_word(place: Place) -> str:
    """A caller that is no gate says what may come to be a gate's word."""
    workload = Verifier().workload(certificates(API), place.parts.trust.current, place.clock())
    raw = write_request(pdp.Request("read", ("Document", "q1"), context={"place": "office"}), None)
    check = decision_handlers(place.desk)["/pdp.v1.DecisionService/Check"].handle
    try:
        told = check(raw, Peer(API, Transport.TLS, frozenset(), workload=workload), Deadline.after_s(10))
    except CallRefused as refused:
        return refused.code
    return str(PDP.CheckResponse.FromString(told).decision.reason)


def by_route(place: Place) -> str:
    """A path that may come to mean something else."""
    message = ENVOY.CheckRequest()
    message.attributes.source.certificate = quote(ssl.DER_cert_to_PEM_cert(certificates(API)[0]), safe="")
    http = message.attributes.request.http
    http.method, http.host, http.path = "GET", "app.test", "/vault"
    for name, value in (":method", "GET"), (":authority", "app.test"), (":path", "/vault"):
        http.headers[name] = value
    told = envoy_handlers(place.desk)[CHECK].handle(message.SerializeToString(), PEER, Deadline.after_s(10))
    return "allowed" if ENVOY.CheckResponse.FromString(told).HasField("ok_response") else "denied"


@pytest.mark.parametrize(
    ("asked", "policies", "after"),
    [(by_word, WORD, "value_not_asserted"), (by_route, ROUTE, "denied")],
    ids=["word", "route"],
)
def test_a_reload_between_reading_and_deciding(
    asked: Callable[[Place], str], policies: tuple[str, str], after: str, tmp_path: Path
) -> None:
    place = Place(tmp_path)
    place.reload(policies[0], "[]")
    before = asked(place)
    assert before in ("default_deny", "denied")
    check: Any = place.desk._check

    def interrupted(*asked: Any) -> Any:
        place.reload(policies[1], "[]")
        return check(*asked)

    place.desk._check = interrupted  # type: ignore[method-assign]
    assert asked(place) == before
    place.desk._check = check  # type: ignore[method-assign]
    assert asked(place) == after


def test_what_is_made_of_a_policy_set_belongs_to_it_whoever_asks_last(tmp_path: Path) -> None:
    """Threads that began by the set of before go on by it, beside those that go by the next."""
    place = Place(tmp_path)
    turns = []
    for text in WORD:
        place.reload(text, "[]")
        turns.append(place.desk.turn(PEER))
    for number in (0, 1, 1, 0, 0, 1):
        assert ("read" in place.desk.words(turns[number]).context) == bool(number)
    one, other = (place.desk.routes(turn) for turn in turns)
    assert one is not other is place.desk.routes(turns[1])
