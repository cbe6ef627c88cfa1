"""Credentials: verified for the first time, beside the bare library call, and remembered: `python -m bench.identity`.

The bare call is what a program would write that trusts the library alone: for a certificate, reading it and building and
running the path builder of `cryptography` with the least policy that it accepts; for a token, `joserfc` with the algorithms
named. Ours is the whole verification, from bytes to a workload, by every rule. The two take turns, call by call, over the
same credentials. A hit is `recall` with the digest at hand, as a connection keeps it; `Verifier` computes it each time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store
from joserfc import jws

from bench.report import Detail, Figure, Report, finish, number
from bench.timing import Call, clock_overhead_us, settle_heap, spread, time_each
from pdp.identity import NEVER, Origin, TrustStore, Verifier, digest_of, read_jwks, verify_jwt_svid, verify_x509_svid
from pdp.identity.dev.domain import DevDomain, make_domain

FIRST_GOAL_TIMES = 1.3
HIT_GOAL_US = 1.0

NOW = 1_767_258_000_000_000
HOUR = 3_600_000_000
AUDIENCE = "spiffe://bench.test/pdp"

_MINIMAL = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
_ALL = ExtensionPolicy.permit_all()

Verify = Callable[[Any], Any]


def measure(*, quick: bool = False) -> Report:
    credentials, passes = (50, 4) if quick else (200, 20)
    rows, figures = [], []
    for name, ours, bare, shown in _kinds(credentials):
        p50, p99, bare_p50, bare_p99 = take_turns(ours, bare, shown, passes)
        figures.append(Figure(f"first verification of {name}, over the bare call", p50 / bare_p50, "x", FIRST_GOAL_TIMES))
        rows.append((name, number(p50), number(p99), number(bare_p50), number(bare_p99), number(p50 / bare_p50)))
    head = ("first verification, us", "p50", "p99", "bare p50", "bare p99", "ratio")
    hits, hit_rows = _hits(credentials, passes)
    note = (
        f"{credentials} credentials of one domain, {passes} passes; the clock's own {clock_overhead_us():.2f} us included."
    )
    return Report(
        (*figures, *hits),
        (
            Detail("Credentials", head, tuple(rows), note),
            Detail("Remembered credentials", ("hit, us", "p50", "p99"), hit_rows),
        ),
    )


def _domain(token_key: Any = None) -> DevDomain:
    def key() -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    return make_domain("bench.test", key(), key(), token_key or key(), NOW - HOUR, 24 * HOUR)


def _trusting(domain: DevDomain) -> TrustStore:
    return TrustStore().with_bundle(read_jwks("bench.test", domain.bundle_document(), Origin("bench", NOW, NEVER)))


def _chains(domain: DevDomain, count: int) -> list[tuple[bytes, ...]]:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return [domain.certificates(f"spiffe://bench.test/ns/app-{n}/api", key, NOW, HOUR) for n in range(count)]


def _tokens(domain: DevDomain, count: int) -> list[str]:
    return [domain.token(f"spiffe://bench.test/ns/app-{n}/api", AUDIENCE, NOW, HOUR) for n in range(count)]


def _kinds(count: int) -> list[tuple[str, Verify, Verify, list[Any]]]:
    domain = _domain()
    found = [("an X509-SVID", *_certificates(domain), _chains(domain, count))]
    for name, token_key in (("a JWT-SVID, ES256", None), ("a JWT-SVID, RS256", rsa.generate_private_key(65537, 2048))):
        signing = _domain(token_key)
        found.append((name, *_signatures(signing), _tokens(signing, count)))
    return found


def _certificates(domain: DevDomain) -> tuple[Verify, Verify]:
    trust, store, moment = _trusting(domain), Store([domain.root.certificate]), datetime.fromtimestamp(NOW // 1_000_000, UTC)

    def bare(presented: tuple[bytes, ...]) -> Any:
        leaf, *others = (x509.load_der_x509_certificate(der) for der in presented)
        policy = PolicyBuilder().store(store).time(moment).extension_policies(ca_policy=_MINIMAL, ee_policy=_ALL)
        return policy.build_client_verifier().verify(leaf, others)

    return lambda presented: verify_x509_svid(presented, trust, NOW), bare


def _signatures(domain: DevDomain) -> tuple[Verify, Verify]:
    trust = _trusting(domain)
    (key,) = (k.key for k in trust.bundles["bench.test"].token_keys.values())

    def bare(token: str) -> Any:
        return jws.deserialize_compact(token, key, algorithms=["ES256", "RS256"])

    return lambda token: verify_jwt_svid(token, AUDIENCE, trust, NOW), bare


def take_turns(ours: Verify, bare: Verify, shown: list[Any], passes: int) -> tuple[float, float, float, float]:
    """Both over the same credentials, by turns: each comes first half of the time, since the second finds warm caches."""
    settle_heap()
    calls: list[Call] = []
    for n, one in enumerate(shown):
        calls += [(f, (one,)) for f in ((ours, bare) if n % 2 else (bare, ours))]
    took = time_each(calls, passes)
    by_function: dict[Verify, list[int]] = {ours: [], bare: []}
    for n, nanoseconds in enumerate(took):
        by_function[calls[n % len(calls)][0]].append(nanoseconds)
    mine, its = spread(by_function[ours]), spread(by_function[bare])
    return mine.p50, mine.p99, its.p50, its.p99


def _hits(count: int, passes: int) -> tuple[list[Figure], tuple[tuple[str, ...], ...]]:
    domain = _domain()
    trust, verifier = _trusting(domain), Verifier(AUDIENCE)
    chains, tokens = _chains(domain, count), _tokens(domain, count)
    for chain, token in zip(chains, tokens, strict=True):
        verifier.workload(chain, trust, NOW)
        verifier.token(token, trust, NOW)
    digests = [digest_of(chain[0]) for chain in chains]
    kinds: dict[str, list[Any]] = {
        "recall, digest at hand": [(verifier.workloads.recall, (d, trust, NOW)) for d in digests],
        "Verifier.workload, with the hash of the leaf": [(verifier.workload, (c, trust, NOW)) for c in chains],
        "Verifier.token, with the hash of the token": [(verifier.token, (t, trust, NOW)) for t in tokens],
    }
    settle_heap()
    found = {name: spread(time_each(calls, 10 * passes)) for name, calls in kinds.items()}
    recall = found["recall, digest at hand"].p50
    figures = [Figure("remembered credential: recall, p50", recall, "us", HIT_GOAL_US)]
    return figures, tuple((name, number(s.p50), number(s.p99)) for name, s in found.items())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer credentials and passes")
    options = parser.parse_args()
    finish(measure(quick=options.quick))
