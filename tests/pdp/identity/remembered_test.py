"""X-12: what is remembered, by what, and until when. A remembered answer is the fresh one, at all times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.identity import (
    Options,
    Origin,
    Refused,
    Remembered,
    TrustStore,
    VerifiedWorkload,
    Verifier,
    digest_of,
    read_jwks,
    verify_x509_svid,
)
from tests.pdp.identity.world import AUDIENCE, DOMAIN, HOUR, ID, KEY, NOW, SECOND, TRUST, WORLD, domain, key, refused

CHAIN = WORLD.certificates(ID, KEY.public_key(), NOW, HOUR)
TOKEN = WORLD.token(ID, AUDIENCE, NOW, HOUR)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which verifications were made in full."""
    made: list[str] = []
    import pdp.identity.remembered as module

    for name in ("verify_x509_svid", "verify_jwt_svid"):
        monkeypatch.setattr(module, name, _counting(made, name, getattr(module, name)))
    return made


def _counting(made: list[str], name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*arguments: Any) -> Any:
        made.append(name)
        return real(*arguments)

    return wrapper


def test_the_second_time_nothing_is_verified(counted: list[str]) -> None:
    verifier = Verifier(AUDIENCE)
    assert verifier.workload(CHAIN, TRUST, NOW) is verifier.workload(CHAIN, TRUST, NOW + 1)
    assert verifier.token(TOKEN, TRUST, NOW) is verifier.token(TOKEN, TRUST, NOW + 1)
    assert counted == ["verify_x509_svid", "verify_jwt_svid"]


def _emptied() -> TrustStore:
    return TRUST.with_bundle(read_jwks(DOMAIN, b'{"keys":[],"spiffe_sequence":2}', Origin("test", NOW)))


def _other_keys() -> TrustStore:
    return TRUST.with_bundle(read_jwks(DOMAIN, domain().bundle_document(2), Origin("test", NOW)))


GONE: dict[str, tuple[str, str, Callable[[], TrustStore], int]] = {
    "bundle withdrawn": ("no_bundle", "no_bundle", lambda: TRUST.without(DOMAIN), NOW),
    "bundle emptied": ("bundle_revoked", "bundle_revoked", _emptied, NOW),
    "bundle changed": ("untrusted_issuer", "key_unknown", _other_keys, NOW),
    "bundle stale": ("bundle_stale", "bundle_stale", lambda: TRUST.fresh_until(DOMAIN, NOW), NOW + 1),
    "expired": ("expired", "token_expired", lambda: TRUST, NOW + HOUR + SECOND),
}


@pytest.mark.parametrize("name", GONE)
def test_what_ends_it(name: str) -> None:
    certificate_code, token_code, trust, now = GONE[name]
    verifier = Verifier(AUDIENCE)
    verifier.workload(CHAIN, TRUST, NOW)
    verifier.token(TOKEN, TRUST, NOW)
    refused(certificate_code, lambda: verifier.workload(CHAIN, trust(), now))
    refused(token_code, lambda: verifier.token(TOKEN, trust(), now))
    assert verifier.workload(CHAIN, TRUST, NOW), "and under the old snapshot it still holds"


def test_a_clock_that_goes_back_verifies_anew(counted: list[str]) -> None:
    verifier = Verifier()
    verifier.workload(CHAIN, TRUST, NOW)
    verifier.workload(CHAIN, TRUST, NOW - 1)
    refused("not_yet_valid", lambda: verifier.workload(CHAIN, TRUST, NOW - HOUR))
    assert len(counted) == 3


def test_a_refusal_is_not_remembered(counted: list[str]) -> None:
    verifier = Verifier()
    for _ in range(2):
        refused("untrusted_issuer", lambda: verifier.workload(CHAIN[:1], TRUST, NOW))
    assert verifier.workload(CHAIN, TRUST, NOW)
    assert len(counted) == 3
    assert len(verifier.workloads) == 1


def test_the_memory_is_bounded_and_the_oldest_goes() -> None:
    memory: Remembered[VerifiedWorkload] = Remembered(2)
    verified = verify_x509_svid(CHAIN, TRUST, NOW)
    for name in (b"a", b"b", b"a", b"c"):
        memory.keep(name, verified)
    assert len(memory) == 2
    assert [n for n in (b"a", b"b", b"c") if memory.recall(n, TRUST, NOW)] == [b"a", b"c"]
    with pytest.raises(ValueError):
        Remembered(0)


def test_keys_are_digests() -> None:
    verifier = Verifier(AUDIENCE)
    verifier.workload(CHAIN, TRUST, NOW)
    verifier.token(TOKEN, TRUST, NOW)
    assert list(verifier.workloads._entries) == [digest_of(CHAIN[0])]
    assert list(verifier.tokens._entries) == [digest_of(TOKEN.encode())]


def test_no_audience_is_no_token() -> None:
    refused("audience_wrong", lambda: Verifier().token(TOKEN, TRUST, NOW))
    refused("no_certificate", lambda: Verifier().workload((), TRUST, NOW))
    with pytest.raises(ValueError):
        Verifier("")


OTHERS = [WORLD.certificates(ID + str(n), key().public_key(), NOW, HOUR // (n + 1)) for n in range(3)]
STORES = [TRUST, TRUST.without(DOMAIN), _emptied(), _other_keys(), TRUST.fresh_until(DOMAIN, NOW + HOUR // 3)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(STORES), st.integers(-HOUR, 2 * HOUR)), max_size=12))
def test_remembered_is_fresh(steps: list[tuple[int, TrustStore, int]]) -> None:
    verifier = Verifier(entries_max=2)
    for which, trust, offset in steps:
        now = NOW + offset
        told: list[str] = []
        for ask in (
            lambda c=OTHERS[which], t=trust, n=now: verifier.workload(c, t, n),
            lambda c=OTHERS[which], t=trust, n=now: verify_x509_svid(c, t, n, Options()),
        ):
            try:
                found = ask()
                told.append(f"{found.id} {found.not_after_us} {found.bundle_version}")
            except Refused as error:
                told.append(error.code)
        assert told[0] == told[1]
