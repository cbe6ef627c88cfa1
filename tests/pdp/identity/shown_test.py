"""What gates pass on: verified here, or vouched for where a gate may, and never more than its entry says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pdp.identity import ShownVerifier, Verifier, digest_of
from pdp.model.ask import Shown
from pdp.model.gates import Gate
from tests.pdp.identity.world import AUDIENCE, DOMAIN, HOUR, ID, NOW, TRUST, WORLD, domain, key, refused, trusting

GATE = Gate(f"spiffe://{DOMAIN}/gates/edge", domains=frozenset({DOMAIN}), vouches=True)
CHAIN = WORLD.certificates(ID, key().public_key(), NOW, HOUR)
OTHER = f"spiffe://{DOMAIN}/ns/billing/other"

WHOLE = Shown(CHAIN, True, ID)
LEAF = Shown(CHAIN[:1], False, ID)
TOKEN = Shown(token=WORLD.token(ID, AUDIENCE, NOW, HOUR))
FOREIGN = domain()  # of the same name, and not trusted


def verify(shown: Shown, now: int = NOW, **gate: Any) -> Any:
    return ShownVerifier(Verifier(AUDIENCE)).verify(shown, replace(GATE, **gate), TRUST, now)


@pytest.mark.parametrize(("shown", "by"), [(WHOLE, "pdp"), (LEAF, "pep"), (replace(LEAF, principal=None), "pep")])
def test_the_level_says_who_verified_the_path(shown: Shown, by: str) -> None:
    found = verify(shown)
    assert (str(found.id), found.verified_by) == (ID, by)


def test_a_leaf_that_an_authority_signed_is_a_whole_path() -> None:
    """As SPIRE issues them by default: there is nothing between."""
    direct = replace(WORLD, intermediate=WORLD.root).certificates(ID, key().public_key(), NOW, HOUR)[:1]
    found = verify(Shown(direct, False, ID), vouches=False)
    assert (str(found.id), found.verified_by) == (ID, "pdp")


def test_nobody_vouches_unless_it_is_said() -> None:
    assert not Gate(GATE.id).vouches


def test_a_token_alone_is_a_workload() -> None:
    assert str(verify(TOKEN).id) == ID


REFUSED = {
    "principal-of-another": ("principal_mismatch", replace(LEAF, principal=OTHER), {}),
    "principal-of-another-whole": ("principal_mismatch", replace(WHOLE, principal=OTHER), {}),
    "principal-is-no-id": ("principal_mismatch", replace(LEAF, principal="CN=api"), {}),
    "principal-with-more": ("principal_mismatch", replace(LEAF, principal=ID + "/"), {}),
    "domain-not-listed": ("domain_not_asserted", LEAF, {"domains": frozenset({"other.test"})}),
    "no-domain-listed": ("domain_not_asserted", WHOLE, {"domains": frozenset()}),
    "token-of-domain-not-listed": ("domain_not_asserted", TOKEN, {"domains": frozenset()}),
    "leaf-where-the-path-counts": ("path_not_verified", LEAF, {"vouches": False}),
    "foreign-path": (
        "untrusted_issuer",
        Shown(FOREIGN.certificates(ID, key().public_key(), NOW, HOUR), True, ID),
        {},
    ),
    "ca-leaf": ("leaf_is_ca", Shown(WORLD.certificates(ID, key().public_key(), NOW, HOUR, "leaf-is-ca")[:1]), {}),
    "two-ids": (
        "several_uri_names",
        Shown(WORLD.certificates(ID, key().public_key(), NOW, HOUR, "two-ids")[:1], False, ID),
        {},
    ),
    "token-of-another-peer": (
        "bearer_unbound",
        replace(WHOLE, token=WORLD.token(OTHER, AUDIENCE, NOW, HOUR)),
        {},
    ),
    "nothing": ("no_certificate", Shown(), {}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    code, shown, gate = REFUSED[name]
    refused(code, lambda: verify(shown, **gate))


def test_being_vouched_for_is_remembered_apart_from_being_verified() -> None:
    """A leaf that one gate vouched for is not thereby verified for a gate whose word does not count."""
    shown = ShownVerifier(Verifier())
    forged = Shown(FOREIGN.certificates(ID, key().public_key(), NOW, HOUR)[:1], False, ID)
    assert shown.verify(forged, GATE, TRUST, NOW).id is not None  # the gate's word: its own CA store decided
    assert shown.vouched.recall(digest_of(forged.certificates[0]), TRUST, NOW) is not None
    refused("path_not_verified", lambda: shown.verify(forged, replace(GATE, vouches=False), TRUST, NOW))
    refused("untrusted_issuer", lambda: shown.verify(replace(forged, whole_path=True), GATE, TRUST, NOW))


def test_the_order_of_showing_changes_no_answer() -> None:
    """A path that came once does not stand for one that did not."""
    shown = ShownVerifier(Verifier())
    strict = replace(GATE, vouches=False)
    for _ in range(2):
        refused("path_not_verified", lambda: shown.verify(LEAF, strict, TRUST, NOW))
        assert shown.verify(WHOLE, strict, TRUST, NOW).id
        assert shown.verify(LEAF, GATE, TRUST, NOW).id


def test_what_is_remembered_ends_with_the_certificate_and_with_the_bundle() -> None:
    shown = ShownVerifier(Verifier())
    shown.verify(LEAF, GATE, TRUST, NOW)
    refused("expired", lambda: shown.verify(LEAF, GATE, TRUST, NOW + 2 * HOUR))
    refused("no_bundle", lambda: shown.verify(LEAF, GATE, trusting(), NOW))
