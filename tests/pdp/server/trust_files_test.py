"""A file of trust that is gone or spoiled is a source that fell silent: what it said is good for a while, not for ever."""

from __future__ import annotations

import os
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


PARTNER = "partner.test"
NO_KEYS = b'{"keys": []}'


class Place:
    def __init__(self, folder: Path) -> None:
        self.file, self.partner = Identities(folder).bundle, Identities(folder, PARTNER).bundle
        told = {
            "trust": {DOMAIN: {"file": str(self.file)}, PARTNER: {"file": str(self.partner)}},
            "policies": {"path": str(folder)},
            "listen": [{"address": "127.0.0.1:0", "trust_domain": DOMAIN}],
        }
        self.clock, self.trust = FakeClock(), Trust()
        self.sources = TrustSources(read_config(told, folder), self.trust, self.clock)
        self.sources.ask()

    def write(self, content: bytes, file: Path | None = None) -> None:
        """In the place of whatever stands there."""
        aside = self.file.with_suffix(".new")
        aside.write_bytes(content)
        aside.replace(file or self.file)

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


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, lambda file: file.write_text("garbage"), lambda file: file.write_text(""), fifo],
    ids=["gone", "bad", "empty", "a FIFO"],
)
def test_gone_or_spoiled_it_goes_stale_and_comes_back(place: Place, spoil: Callable[[Path], object]) -> None:
    good = place.file.read_bytes()
    spoil(place.file)
    assert [place.after(minutes) for minutes in (0, 14, 2)] == ["trusted", "trusted", "bundle_stale"]
    assert place.sources.problems().keys() == {DOMAIN}
    place.write(good)
    assert [place.after(minutes) for minutes in (0, 1_000)] == ["trusted", "trusted"]
    assert place.sources.problems() == {}


def test_after_a_fifo_another_bundle_is_taken(place: Place, tmp_path: Path) -> None:
    """Finding S11: the thread waited for whoever writes into the FIFO, and a root that was withdrawn stayed trusted."""
    before = place.trust.current.bundles[DOMAIN].version
    fifo(place.file)
    assert place.after(0) == "trusted"
    (tmp_path / "other").mkdir()
    place.write(Identities(tmp_path / "other").bundle.read_bytes())
    assert place.after(0) == "trusted"
    assert place.trust.current.bundles[DOMAIN].version != before


def test_a_bundle_without_keys_revokes_at_once_and_it_is_told(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Finding S11: everybody was refused while readiness and figures said that all is well. SPIFFE demands that they are."""
    good = place.file.read_bytes()
    assert place.sources.lacking() is None
    place.write(NO_KEYS)
    assert place.after(0) == "bundle_revoked"
    assert place.sources.lacking() == f"no fresh bundle of {DOMAIN}"
    assert "bundle_revoked" in place.sources.problems()[DOMAIN]
    place.after(0)
    assert caplog.text.count("nothing of the domain is trusted") == 1
    place.write(good)
    assert place.after(0) == "trusted"
    assert (place.sources.lacking(), place.sources.problems()) == (None, {})


def test_a_fault_with_one_source_keeps_no_other_from_being_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A brother of finding S8: what nobody foresaw in the first source ended each round before the second."""

    def broken(*_: object) -> None:
        raise ValueError("a fault")

    monkeypatch.setattr("pdp.store.trust.files.read_jwks", broken)
    place.write(place.file.read_bytes())
    place.write(NO_KEYS, place.partner)
    assert place.after(0) == "trusted"
    assert place.sources.problems().keys() == {DOMAIN, PARTNER}
    assert place.after(16) == "bundle_stale"


def test_a_partner_that_withdraws_its_keys_does_not_stop_us(place: Place) -> None:
    place.write(NO_KEYS, place.partner)
    assert place.after(0) == "trusted"
    assert place.sources.lacking() is None
    assert place.sources.problems().keys() == {PARTNER}
