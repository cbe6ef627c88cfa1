"""Two standings that differ in what they decide are never one epoch; two that differ in how fresh they are, are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import pdp
from pdp.grants.grant import Mark
from pdp.grants.index import Index
from pdp.grants.store import Changes
from pdp.identity import TrustStore
from pdp.service.standing import Standing
from pdp.store.dev_domain import create_domain
from pdp.store.trust import FileSource, Trust, refresh

NOW = 1_700_000_000_000_000
EXAMPLE = Path(__file__).parents[3] / "policies" / "examples" / "tinytodo"
MARK = Mark("workload", "spiffe://a.test/x", "odd", NOW, "spiffe://a.test/ops", revision=7)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> TrustStore:
    folder = tmp_path_factory.mktemp("trust")
    domain = create_domain(folder / "ca", "a.test", NOW, 86_400_000_000)[0]
    (folder / "bundle.json").write_bytes(domain.bundle_document())
    held = Trust()
    refresh(FileSource(folder / "bundle.json", "a.test"), held, NOW)
    return held.current.fresh_until("a.test", NOW + 1_000)


@pytest.fixture
def standing(trust: TrustStore) -> Standing:
    return Standing(pdp.Engine.load(EXAMPLE).snapshot, trust, Index("i", 7, NOW))


def other_policy(standing: Standing) -> Standing:
    return replace(standing, snapshot=pdp.Engine.load(EXAMPLE).snapshot)


def revoked(standing: Standing) -> Standing:
    snapshot = standing.snapshot
    return replace(
        standing, snapshot=replace(snapshot, revoked=snapshot.revoked.revoke("workload", "spiffe://a.test/x", ""))
    )


def marked(standing: Standing) -> Standing:
    return replace(standing, grants=standing.grants.taking([MARK], 8))


def marked_late(standing: Standing) -> Standing:
    """The revision came before the record that it is of."""
    return replace(standing, grants=standing.grants.taking([MARK], 7))


def told_whole(standing: Standing) -> Standing:
    return replace(standing, grants=standing.grants.fed(Changes("j", 7, (), True)))


@pytest.mark.parametrize(
    ("change", "decides_as"),
    [
        (lambda s: replace(s), True),
        (lambda s: replace(s, grants=s.grants.confirmed(NOW + 5)), True),
        (lambda s: replace(s, grants=s.grants.taking([], 9)), True),
        (lambda s: replace(s, trust=s.trust.fresh_until("a.test", NOW + 2_000)), True),
        (lambda s: replace(s, trust=s.trust.fresh_until("a.test", NOW + 500)), False),
        (lambda s: replace(s, trust=s.trust.without("a.test")), False),
        (lambda s: replace(s, trust=TrustStore()), False),
        (other_policy, False),
        (revoked, False),
        (marked, False),
        (marked_late, False),
        (told_whole, False),
        (lambda s: replace(s, people={"https://login.test": None}), False),
        (lambda s: replace(s, issuer_keys=object()), False),
        (lambda s: replace(s, grants_bound_us=5), False),
        (lambda s: replace(s, configured=object()), False),
    ],
)
def test_what_makes_another_epoch(standing: Standing, change: Callable[[Standing], Standing], decides_as: bool) -> None:
    assert change(standing).decides_as(standing) == decides_as
