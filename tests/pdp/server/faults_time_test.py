"""Trust that is taken away or goes stale, and a clock that is set: no allow on what cannot be relied on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from tests.pdp.server.faults import POLICY, ask, figure, question, write_policies
from tests.pdp.server.grants_world import CI, Place, asking, asking_envoy, bound
from tests.pdp.server.serve_test import served
from tests.pdp.server.world import DOMAIN, GATE, SERVER, Identities, channel, now_us, wait_until

NOBODY = ("UNAVAILABLE", "UNAUTHENTICATED unauthenticated", "UNAVAILABLE not_ready")


def test_the_trust_bundle_is_emptied(tmp_path: Path) -> None:
    """In a real process, with several callers connected: all of them are refused, new ones do not come in, and when the
    bundle is back so are they."""
    identities = Identities(tmp_path)
    identities.write(SERVER, "own")
    write_policies(tmp_path, POLICY)
    gates = [f"spiffe://{DOMAIN}/gate-{n}" for n in range(3)]
    document = {
        "listen": [{"address": "127.0.0.1:0", "trust_domain": DOMAIN}],
        "tls": {"certificate": "own/svid.pem", "key": "own/svid.key", "recheck": "50ms"},
        "trust": {DOMAIN: {"file": str(identities.bundle)}},
        "peps": {gate: {"domains": [DOMAIN], "users": ["User"]} for gate in gates},
    }
    (tmp_path / "pdp.json").write_text(json.dumps(document))
    good = identities.bundle.read_bytes()
    with (
        served(tmp_path, "--policies", "set", "--config", "pdp.json") as server,
        channel(server.address, identities.credentials(gates[0])) as first,
        channel(server.address, identities.credentials(gates[1])) as second,
    ):
        assert [ask(each) for each in (first, second)] == ["allowed"] * 2
        identities.bundle.write_text('{"keys": []}')
        wait_until(lambda: ask(first, timeout=2) in NOBODY)
        assert ask(second, timeout=2) in NOBODY  # at once: whoever comes next, too
        with channel(server.address, identities.credentials(gates[2])) as third:
            assert ask(third, timeout=2) in NOBODY
        wait_until(lambda: figure(server, "pdp_trust_sources_failing") == 1)  # an operator is told of it
        identities.bundle.write_bytes(good[: len(good) // 2])
        assert ask(second, timeout=2) in NOBODY  # what cannot be read gives nothing back
        identities.bundle.write_bytes(good)
        for each in (first, second):
            wait_until(lambda: ask(each, timeout=2) == "allowed")  # noqa: B023


def test_the_trust_bundle_goes_stale(tmp_path: Path) -> None:
    """Its source fell silent: after its bound nobody is believed, on open connections too, until it speaks again."""
    place = Place(tmp_path)
    with place.serving() as server, place.calling(server.address, GATE) as gate, place.calling(server.address, CI) as ci:
        handle = ci.grants("Open", bound(place)).handle
        ask_gate = asking(place, handle).SerializeToString()
        assert ask(gate.channel, ask_gate) == "allowed"
        trust = server.parts.trust
        bundle = trust.current.bundles[DOMAIN]
        trust.bound_source(bundle.source, now_us() - 1)
        assert ask(gate.channel, ask_gate) == "UNAUTHENTICATED unauthenticated"
        assert gate.envoy(asking_envoy(place, handle)).status.code != 0
        assert "trust" in server.parts.readiness.lacking()
        place.identities.bundle.write_bytes(place.identities.bundle.read_bytes() + b"\n")  # it was written anew
        wait_until(lambda: ask(gate.channel, ask_gate) == "allowed")


# ---- the clock


class Hands:
    """The wall clock of the server, some time beside the real one. Its monotonic clock is the real one."""

    def __init__(self) -> None:
        self.beside_s = 0.0

    def time_ns(self) -> int:
        return time.time_ns() + int(self.beside_s * 1e9)


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    """A process cannot have a wall clock of its own, so it is put under the one place that reads it."""
    found = Hands()
    module = SimpleNamespace(time_ns=found.time_ns, monotonic_ns=time.monotonic_ns)
    monkeypatch.setattr("pdp.sdk.clock.time", module)
    return found


def asked(place: Place, opened: grpc.Channel, handle: str) -> str:
    return ask(opened, asking(place, handle).SerializeToString())


def test_the_clock_is_stepped_forward(tmp_path: Path, hands: Hands) -> None:
    """What has ended by it has ended: the grant, then certificates. New ones are good."""
    place = Place(tmp_path)
    with place.serving() as server, place.calling(server.address, GATE) as gate, place.calling(server.address, CI) as ci:
        handle = ci.grants("Open", bound(place)).handle
        assert asked(place, gate.channel, handle) == "allowed"
        hands.beside_s = 60
        wait_until(lambda: asked(place, gate.channel, handle) != "UNAVAILABLE not_ready")  # the store is confirmed by it
        assert asked(place, gate.channel, handle) == "allowed"
        hands.beside_s = 16 * 60
        wait_until(lambda: asked(place, gate.channel, handle) in ("task_ended", "token_expired"))
        again = ci.grants("Open", bound(place)).handle
        assert asked(place, gate.channel, again) == "allowed"
        hands.beside_s = 3 * 3600
        wait_until(lambda: asked(place, gate.channel, again) == "UNAUTHENTICATED unauthenticated")
        for told in (handle, again):
            assert gate.envoy(asking_envoy(place, told)).status.code != 0


def test_the_clock_is_stepped_back(tmp_path: Path, hands: Hands) -> None:
    """A little is bridged and gives nothing more life; more than that, nothing is decided until it has caught up."""
    place = Place(tmp_path)
    with place.serving() as server, place.calling(server.address, GATE) as gate, place.calling(server.address, CI) as ci:
        opening = bound(place)
        opening.lasting.seconds = 4
        short, long = ci.grants("Open", opening).handle, ci.grants("Open", bound(place)).handle
        assert [asked(place, gate.channel, h) for h in (short, long)] == ["allowed"] * 2
        hands.beside_s = -4
        wait_until(lambda: asked(place, gate.channel, short) == "task_ended")  # 4 s after it began, as everywhere
        assert asked(place, gate.channel, long) == "allowed"
        hands.beside_s = -3600
        wait_until(lambda: asked(place, gate.channel, long).startswith("UNAVAILABLE"))
        for _ in range(20):
            assert asked(place, gate.channel, long) in ("UNAVAILABLE not_ready", "UNAVAILABLE clock_stepped_back")
            assert gate.envoy(asking_envoy(place, long)).status.code != 0
        assert "clock" in server.parts.readiness.lacking()
        assert ask(gate.channel, question()).startswith("UNAVAILABLE")
        hands.beside_s = 0
        wait_until(lambda: asked(place, gate.channel, long) == "allowed")
        assert asked(place, gate.channel, short) == "task_ended"
