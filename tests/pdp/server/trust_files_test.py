"""A file of trust that is gone or spoiled is a source that fell silent: what it said is good for a while, not for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pdp.identity import NEVER, Refused
from pdp.server.config import read_config
from pdp.server.trust_sources import TrustSources
from pdp.store.trust import Trust
from pdp.testing import FakeClock
from tests.pdp.server.world import DOMAIN, Identities

MINUTE = 60_000_000


class Place:
    def __init__(self, folder: Path) -> None:
        self.file = Identities(folder).bundle
        told = {
            "trust": {DOMAIN: {"file": str(self.file)}},
            "policies": {"path": str(folder)},
            "development": {"enabled": True},
        }
        self.clock, self.trust = FakeClock(), Trust()
        self.sources = TrustSources(read_config(told, folder), self.trust, self.clock)
        self.sources.ask()

    def after(self, minutes: int) -> str:
        """What is said to whoever comes then."""
        self.clock.set(self.clock() + minutes * MINUTE)
        self.sources.ask()
        try:
            self.trust.current.bundle_for(DOMAIN, self.clock())
        except Refused as refused:
            return refused.code
        return "trusted"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_as_it_should_be_it_does_not_go_stale(place: Place) -> None:
    assert place.after(100_000) == "trusted"
    assert place.trust.current.bundles[DOMAIN].fresh_until_us == NEVER


@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, lambda file: file.write_text("garbage"), lambda file: file.write_text("")],
    ids=["gone", "bad", "empty"],
)
def test_gone_or_spoiled_it_goes_stale_and_comes_back(place: Place, spoil: Callable[[Path], object]) -> None:
    good = place.file.read_bytes()
    spoil(place.file)
    assert [place.after(minutes) for minutes in (0, 14, 2)] == ["trusted", "trusted", "bundle_stale"]
    place.file.write_bytes(good)
    assert [place.after(minutes) for minutes in (0, 1_000)] == ["trusted", "trusted"]
