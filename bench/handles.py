"""Handles and proofs beside the bare library call, remembered handles, and the store: `python -m bench.handles`.

The bare call is `joserfc` with the algorithm named and the key at hand: it checks one signature and reads the JSON. Ours is
the whole check: form, headers, claims, the key in the proof, the request, the signature, and the memory of used proofs.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws
from joserfc.jwk import ECKey

from bench.identity import take_turns
from bench.report import Detail, Figure, Report, finish, number
from bench.timing import Spread, settle_heap, spread, time_each
from pdp.grants.grant import Bindings, Grant, Permit, Scope, State, Target
from pdp.grants.handle import Names, make_handle, read_handle
from pdp.grants.handles import Handles
from pdp.grants.issuer_keys import first_keys
from pdp.grants.proof import Asked, verify_task_proof
from pdp.grants.replay import ReplayMemory, Use
from pdp.grants.store import Put
from pdp.identity.dev.tokens import TokenShape, key_id_for, public_jwk, sign_token
from pdp.store.grants.sqlite import SqliteStore
from pdp.tokens.compact import digest

FIRST_GOAL_TIMES = 1.3
HIT_GOAL_US = 2.0

NOW = 1_767_258_000_000_000
HOUR = 3_600_000_000
NAMES = Names("spiffe://bench.test/pdp", "bench.test")
TARGET, URL = "spiffe://bench.test/gate", "https://ledger.bench.test/rows"


class Unending:
    """The real memory, given another id each time, so that one proof can be timed again and again."""

    def __init__(self) -> None:
        self._memory = ReplayMemory(0, Lock())
        self._count = count()

    def use(self, key: str, jti: str, issued_us: int, until_us: int, now: int) -> Use:
        n = next(self._count)
        return self._memory.use(f"{key}{n >> 15}", f"{jti}{n}", issued_us, until_us, now)


def measure(*, quick: bool = False) -> Report:
    shown, passes = (50, 4) if quick else (200, 20)
    rows, figures = [], []
    for name, ours, bare, tokens in (_handles(shown), _proofs(shown)):
        p50, p99, bare_p50, bare_p99 = take_turns(ours, bare, tokens, passes)
        figures.append(Figure(f"{name}, over the bare call", p50 / bare_p50, "x", FIRST_GOAL_TIMES))
        rows.append((name, number(p50), number(p99), number(bare_p50), number(bare_p99), number(p50 / bare_p50)))
    hit = _remembered(shown, passes)
    memory = _memory(shown, passes)
    commit = _commits(shown)
    figures.append(Figure("a handle that was read before, p50", hit.p50, "us", HIT_GOAL_US))
    parts = {"a handle that was read before": hit, "the memory of used proofs": memory, "a commit of the store": commit}
    return Report(
        tuple(figures),
        (
            Detail("Handles and proofs", ("us", "p50", "p99", "bare p50", "bare p99", "ratio"), tuple(rows)),
            Detail("Around them", ("us", "p50", "p99"), tuple((n, number(s.p50), number(s.p99)) for n, s in parts.items())),
        ),
    )


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _grants(shown: int, jkt: str) -> list[Grant]:
    plain = Grant(
        id="",
        task="t" * 22,
        parent=None,
        depth=0,
        kind="invoicing",
        holder="spiffe://bench.test/ns/billing/api",
        opener="spiffe://bench.test/ns/jobs/cron",
        requester="spiffe://bench.test/ns/billing/api",
        facts=(),
        scope=Scope((Permit(frozenset({"select"}), (Target("Table", within=("Database", "ledger")),)),)),
        environment="prod",
        audience="bench.test",
        binding=Bindings(key=jkt),
        created=NOW,
        lasting=HOUR,
        ends=NOW + HOUR,
        state=State.ACTIVE,
        generation="g1",
        started=NOW,
    )
    return [replace(plain, id=f"{n:022}") for n in range(shown)]


def _handles(shown: int) -> tuple[str, Any, Any, list[str]]:
    keys = first_keys(_key(), NOW)
    public = keys.keys[0].public.key
    tokens = [make_handle(grant, NAMES, keys, NOW) for grant in _grants(shown, "k" * 43)]
    return "a handle read", lambda token: read_handle(token, NAMES, keys, NOW), _bare(public), tokens


def _proofs(shown: int) -> tuple[str, Any, Any, list[str]]:
    key, memory = _key(), Unending()
    said = Asked(TARGET, "GET", URL, "h" * 43, key_id_for(key), hashlib.sha256(b"").digest())
    claims = {"aud": TARGET, "htm": "GET", "htu": URL, "gth": said.handle, "iat": NOW // 10**6, "exp": NOW // 10**6 + 30}
    header = {"alg": "ES256", "typ": "task-proof+jwt", "jwk": public_jwk(key)}
    tokens = [sign_token(TokenShape(header, {**claims, "jti": f"{n:022}"}), key) for n in range(shown)]
    ours = lambda token: verify_task_proof((token,), said, memory, NOW)  # noqa: E731
    return "a proof checked", ours, _bare(ECKey.import_key(key.public_key())), tokens


def _bare(key: Any) -> Any:
    return lambda token: jws.deserialize_compact(token, key, algorithms=["ES256"])


def _remembered(shown: int, passes: int) -> Spread:
    keys, handles = first_keys(_key(), NOW), Handles(NAMES)
    tokens = [make_handle(grant, NAMES, keys, NOW) for grant in _grants(shown, "k" * 43)]
    settle_heap()
    return spread(time_each([(handles.read, (token, keys, NOW)) for token in tokens], 10 * passes))


def _memory(shown: int, passes: int) -> Spread:
    memory = Unending()
    settle_heap()
    calls = [(memory.use, (f"k{n}", digest(str(n)), NOW, NOW + HOUR, NOW)) for n in range(shown)]
    return spread(time_each(calls, 10 * passes))


def _commits(shown: int) -> Spread:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "grants.db", now_us=lambda: NOW)
        store.commit([Put(grant, 0) for grant in _grants(shown, "k" * 43)])
        new = iter([replace(grant, id=f"x{grant.id}{n}") for n in range(2) for grant in _grants(shown, "k" * 43)])
        took = spread(time_each([(lambda: store.commit([Put(next(new), 0)]), ())] * shown))
        store.close()
        return took


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer tokens and passes")
    finish(measure(quick=parser.parse_args().quick))
