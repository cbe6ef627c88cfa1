"""`pdp.Client` and `pdp.AsyncClient` against a real server, over real sockets and TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pdp
from pdp.model.told import ToldExplanation
from pdp.server.table import make_handlers
from pdp.store.dev_domain import new_key
from tests.pdp.server.world import DOMAIN, GATE, STRANGER, Identities, Running, development, now_us, production, running

POLICY = """language 1
package app
entity Document { owner: User }
entity User
action read, write on Document { note: String? claimed }
allow own { for User do read on Document when resource.owner == user }
allow pdp-writes { who spiffe://*/jobs/** do write on Document }
"""
POLICY = POLICY.replace("spiffe://*/jobs/**", f"spiffe://{DOMAIN}/jobs/**")
DATA = '[{"type": "Document", "id": "d", "attributes": {"owner": ["User", "ada"]}}]'
JOB = f"spiffe://{DOMAIN}/jobs/nightly"
ADA = pdp.Request("read", ("Document", "d"), user=("User", "ada"))
BOB = pdp.Request("read", ("Document", "d"), user=("User", "bob"))


def write_set(folder: Path) -> None:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "app.policy").write_text(POLICY)
    (folder / "policies" / "data").mkdir(exist_ok=True)
    (folder / "policies" / "data" / "all.json").write_text(DATA)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("development")
    config = development(folder)
    write_set(folder)
    with running(config, make_handlers) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Identities]]:
    folder = tmp_path_factory.mktemp("production")
    identities = Identities(folder)
    config = production(folder, identities, roles={"decision": [f"spiffe://{DOMAIN}/jobs/*"]})
    write_set(folder)
    with running(config, make_handlers) as found:
        yield found, identities


def tls(identities: Identities, spiffe_id: str, name: str) -> pdp.Tls:
    certificate, key = identities.write(spiffe_id, name)
    authorities = identities.folder / "bundle.pem"
    authorities.write_bytes(identities.domain.bundle_pem())
    return pdp.Tls(certificate, key, authorities, "pdp")


def test_the_same_calls_and_answers_as_the_engine(server: Running) -> None:
    engine = server.parts.engine
    with pdp.Client(server.address) as client:
        for request in (ADA, BOB):
            ours, theirs = client.check(request, timeout_s=10), engine.check(request)
            assert (ours.allowed, ours.reason, ours.rule) == (theirs.allowed, theirs.reason, theirs.rule)
            assert ours.generation == theirs.generation
        told = client.check(action="read", resource=("Document", "d"), user=("User", "ada"), context={"note": "x"})
        assert (told.allowed, told.rule) == (True, "own")
        assert [d.allowed for d in client.check_many([ADA, BOB, ADA], timeout_s=10)] == [True, False, True]
        explained = client.explain(BOB, timeout_s=10)
        assert isinstance(explained, ToldExplanation)
        assert not explained.decision.allowed
        own = next(rule for rule in explained.rules if rule.rule == "own")
        assert any(c.truth == "false" and c.readings for c in own.conjuncts)


def test_the_same_under_asyncio(server: Running) -> None:
    async def ask() -> None:
        async with pdp.AsyncClient(server.address) as client:
            first, *others = await asyncio.gather(*(client.check(r, timeout_s=10) for r in [ADA, BOB] * 10))
            assert first.allowed
            assert sum(d.allowed for d in others) == 9
            assert [d.allowed for d in await client.check_many([ADA, BOB], timeout_s=10)] == [True, False]
            assert not (await client.explain(BOB, timeout_s=10)).decision.allowed
            with pytest.raises(pdp.PdpError, match="invalid_request"):
                await client.check(pdp.Request("read", ("Document", "d"), context={"note": 1.5}))

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("request_", "more"),
    [
        (pdp.Request("read", ("Document", "d"), workload=JOB), {}),
        (pdp.Request("read", ("Document", "d"), user=("User", "ada"), proof=["key"]), {}),
        (pdp.Request("read", ("Document", "d"), user=("User", "ada"), context={"note": 1}), {}),
        (pdp.Request("read", ("Document", "d"), user=("User", "ada"), context={"other": "x"}), {}),
        (pdp.Request(1, ("Document", "d")), {}),  # type: ignore[arg-type]  # the mistake
        (pdp.Request("read", ("Document", "")), {}),
    ],
    ids=["workload", "proof", "a wrong type", "an unknown name", "no name", "no id"],
)
def test_what_is_no_question_raises_and_is_no_decision(server: Running, request_: pdp.Request, more: dict[str, Any]) -> None:
    with pdp.Client(server.address) as client, pytest.raises(pdp.PdpError) as caught:
        client.check(request_, timeout_s=10, **more)
    assert caught.value.code == "invalid_request"


def test_nobody_there_is_an_error_with_a_code() -> None:
    with pdp.Client("127.0.0.1:1", timeout_s=0.2) as client, pytest.raises(pdp.PdpError) as caught:
        client.check(ADA)
    assert caught.value.code in ("unreachable", "deadline_exceeded")
    closed = pdp.Client("127.0.0.1:1")
    closed.close()
    with pytest.raises(pdp.PdpError, match="unreachable"):
        closed.check(ADA)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1:7070",
        "127.evil.example.com:7070",
        "127.0.0.1.a:1",
        "x\0y:1",
        "pdp.internal:7070",
        "0.0.0.0:7070",
        "",
        "[::2]:7070",
    ],
)
def test_beyond_this_machine_there_is_tls_or_nothing(address: str) -> None:
    with pytest.raises(pdp.PdpError, match="invalid_argument"):
        pdp.Client(address)


def deep(levels: int) -> Any:
    found: Any = []
    for _ in range(levels):
        found = [found]
    return found


READ: dict[str, Any] = {"action": "read", "resource": ("Document", "d")}


@pytest.mark.parametrize(
    "asked",
    [
        {"context": [1]},
        {"context": {5: 1}},
        {"context": {"a": deep(5000)}},
        {"context": {"a": object()}},
        {"context": {"a": "\ud800"}},
        {"location": [1]},
        {"location": {"ip": 1}},
        {"user": "ada"},
        {"shown": 5},
        {"shown": pdp.Shown(("x",), True)},  # type: ignore[arg-type]  # the mistake
        {"shown": pdp.Shown((), False, None, 5)},  # type: ignore[arg-type]
        {"grant": 5},
        {"grant": "\ud800"},
        {"target": "x"},
        {"target": pdp.Target("GET", 5, None)},  # type: ignore[arg-type]
    ],
    ids=lambda given: next(iter(given)),
)
def test_whatever_is_no_question_is_one_error(asked: dict[str, Any]) -> None:
    async def later() -> None:
        async with pdp.AsyncClient("127.0.0.1:1") as client:
            await client.check(**READ, **asked)

    with pdp.Client("127.0.0.1:1") as client, pytest.raises(pdp.PdpError, match="invalid_request"):
        client.check(**READ, **asked)
    with pytest.raises(pdp.PdpError, match="invalid_request"):
        asyncio.run(later())


@pytest.mark.parametrize(
    "given",
    [
        {"tls": 5},
        {"tls": pdp.Tls(1, 2, 3, "pdp")},  # type: ignore[arg-type]
        {"cache_entries": "x"},
        {"cache_for_s": float("nan")},
        {"cache_for_s": float("inf")},
        {"cache_for_s": "1"},
        {"timeout_s": float("nan")},
    ],
    ids=lambda given: next(iter(given)),
)
def test_whatever_is_no_setting_is_one_error(given: dict[str, Any]) -> None:
    for kind in (pdp.Client, pdp.AsyncClient):
        with pytest.raises(pdp.PdpError, match="invalid_argument"):
            kind("127.0.0.1:1", **given)


def test_no_list_of_questions() -> None:
    with pdp.Client("127.0.0.1:1") as client:
        for wrong in (5, None, [5]):
            with pytest.raises(pdp.PdpError, match="invalid_argument"):
                client.check_many(wrong)  # type: ignore[arg-type]
        with pytest.raises(pdp.PdpError, match="invalid_argument"):
            client.explain(None)  # type: ignore[arg-type]


def test_a_question_that_is_too_large_is_none_and_nobody_is_overloaded(server: Running) -> None:
    with pdp.Client(server.address, timeout_s=10) as client:
        for size in (300_000, 5_000_000):
            with pytest.raises(pdp.PdpError, match="invalid_request"):
                client.check(**READ, context={"note": "x" * size})


def test_why_it_was_asked_again_is_what_is_told() -> None:
    with pdp.Client("127.0.0.1:1", timeout_s=0.3) as client, pytest.raises(pdp.PdpError) as caught:
        client.check(ADA)
    assert caught.value.code == "unreachable"


def test_a_client_that_is_closed_ends_its_calls_as_an_error() -> None:
    async def ask() -> None:
        silent = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        client = pdp.AsyncClient(f"127.0.0.1:{port}", timeout_s=30)
        asked = asyncio.create_task(client.check(ADA))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(pdp.PdpError, match="unreachable"):
            await asked
        client = pdp.AsyncClient(f"127.0.0.1:{port}", timeout_s=30)
        cancelled = asyncio.create_task(client.check(ADA))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await client.close()
        silent.close()

    asyncio.run(ask())


def test_the_subject_is_whoever_the_certificate_proves(guarded: tuple[Running, Identities]) -> None:
    running_, identities = guarded
    with pdp.Client(running_.address, tls=tls(identities, JOB, "job")) as client:
        decision = client.check(action="write", resource=("Document", "d"), timeout_s=10)
        assert (decision.allowed, decision.rule, decision.bounded_by) == (True, "pdp-writes", "credential")
        with pytest.raises(pdp.PdpError) as caught:
            client.check(ADA, timeout_s=10)
        assert caught.value.code == "not_permitted"
        with pytest.raises(pdp.PdpError, match="not_permitted"):
            client.explain(pdp.Request("write", ("Document", "d")), timeout_s=10)
    with pdp.Client(running_.address, tls=tls(identities, STRANGER, "stranger")) as client:
        with pytest.raises(pdp.PdpError) as refused:
            client.check(action="write", resource=("Document", "d"), timeout_s=10)
        assert refused.value.code == "not_permitted"


def test_a_gate_says_what_it_was_shown(guarded: tuple[Running, Identities]) -> None:
    running_, identities = guarded
    shown = pdp.Shown(identities.domain.certificates(JOB, new_key().public_key(), now_us(), 3_600_000_000), whole_path=True)
    with pdp.Client(running_.address, tls=tls(identities, GATE, "gate")) as client:
        assert client.check(action="write", resource=("Document", "d"), shown=shown, timeout_s=10).rule == "pdp-writes"
        assert not client.check(action="write", resource=("Document", "d"), timeout_s=10).allowed
        with pytest.raises(pdp.PdpError, match="user_not_asserted"):
            client.check(ADA, timeout_s=10)


def test_thousands_of_batches_in_quick_succession(server: Running) -> None:
    """Found in review: a timer kept calls that had ended, and later ones failed."""
    with pdp.Client(server.address) as client:
        for _ in range(3000):
            assert [d.allowed for d in client.check_many([ADA, BOB], timeout_s=10)] == [True, False]
    assert server.parts.counters.in_work.all == 0
