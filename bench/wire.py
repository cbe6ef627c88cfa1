"""Bytes to a question and a decision to bytes, beside protobuf's own parser and writer: `python -m bench.wire`.

The bare call parses the request and writes the answer that ours wrote, with the same runtime; it looks at nothing. Ours is
the whole translation: headers, path and routes, credentials and their rules; then the answer, looked at after it was made.
What is in between, verifying and deciding, is not in these figures. The two take turns, call by call, over the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

import pdp
from bench.report import Detail, Figure, Report, finish, number
from bench.timing import Call, clock_overhead_us, settle_heap, spread, time_each
from language import Source, compile_policies
from pdp.identity.dev.domain import make_domain
from pdp.model.ask import Ask
from pdp.model.gates import Gate
from pdp.wire import client, decision, envoy, envoy_answer
from pdp.wire.envoy_path import Routes
from pdp.wire.messages import ENVOY, PDP

#: Of the 150 us that ext_authz may add through Envoy, this is what translation may take.
ENVOY_GOAL_US = 25.0
#: Of the 5 us that one of a hundred decisions may take.
MANY_GOAL_US = 5.0

NOW, HOUR = 1_767_258_000_000_000, 3_600_000_000
DOMAIN = "bench.test"
GATE = Gate(f"spiffe://{DOMAIN}/gates/edge", "prod", frozenset({DOMAIN}), frozenset({f"spiffe://{DOMAIN}/gates/edge"}))
POLICY = f"""language 1
entity Table
action select on Table {{ columns: Set<String>? claimed }}
allow selects {{ who spiffe://{DOMAIN}/ns/** do select on Table }}
routes http "api.acme.internal" {{
  GET /tables/{{id}} -> select on Table(path.id) {{ columns: query.columns }}
}}
"""
TOKEN = "e30." * 60 + "e30"


def measure(*, quick: bool = False) -> Report:
    count, passes = (100, 5) if quick else (500, 40)
    bundle = compile_policies([Source("bench.policy", POLICY)])
    engine = pdp.Engine(bundle)
    kinds = [
        ("Envoy HTTP, allowed", *_envoy(bundle, engine, count, 1, allowed=True)),
        ("Envoy HTTP, every path new", *_envoy(bundle, engine, 20_000, 20_000, allowed=True)),
        ("Envoy HTTP, denied", *_envoy(bundle, engine, count, 1, allowed=False)),
        ("pdp.v1 Check", *_check(bundle, engine, count)),
        ("pdp.v1 CheckMany of 100, each", *_many(bundle, engine)),
    ]
    rows, found = [], {}
    for name, ours, bare, shown, each in kinds:
        times = 1 if len(shown) > 10_000 else passes
        mine, its = _beside(ours, bare, shown, times)
        found[name] = mine.p50 / each
        bytes_each = sum(map(len, shown)) // len(shown) // each
        rows.append(
            (
                name,
                f"{bytes_each}",
                *(number(v / each) for v in (mine.p50, mine.p99, its.p50, its.p99)),
                number(mine.p50 / its.p50),
            )
        )
    head = ("decode and encode, us", "bytes", "p50", "p99", "bare p50", "bare p99", "ratio")
    note = f"{passes} passes; the clock's own {clock_overhead_us():.2f} us included."
    return Report(
        (
            Figure("Envoy HTTP: decode and encode", found["Envoy HTTP, allowed"], "us", ENVOY_GOAL_US),
            Figure("one of 100 in CheckMany: decode and encode", found["pdp.v1 CheckMany of 100, each"], "us", MANY_GOAL_US),
        ),
        (Detail("Translation", head, tuple(rows), note),),
    )


Translate = Callable[[bytes], Any]
Kind = tuple[Translate, Translate, list[bytes], int]


def _envoy(bundle: Any, engine: pdp.Engine, count: int, paths: int, *, allowed: bool) -> Kind:
    routes = Routes(bundle)
    workload = f"spiffe://{DOMAIN}/ns/app/api" if allowed else f"spiffe://{DOMAIN}/other"
    decided = engine.check(pdp.Request("select", ("Table", "t"), workload=workload))
    assert decided.allowed is allowed
    told = envoy_answer.Told(workload, grant="g-1", task="t-1")
    requests = [_http(n % max(paths, 50)).SerializeToString() for n in range(count)]

    def ours(raw: bytes) -> bytes:
        ask = envoy.read_check(raw, GATE, routes)
        assert isinstance(ask, Ask)
        return envoy_answer.answer(decided, GATE, told, ask.consumed)

    answer = ENVOY.CheckResponse.FromString(ours(requests[0]))
    parse, write = ENVOY.CheckRequest.FromString, answer.SerializeToString

    def bare(raw: bytes) -> Any:
        parse(raw)
        return write()

    return ours, bare, requests, 1


def _http(n: int) -> Any:
    request = ENVOY.CheckRequest()
    attributes = request.attributes
    attributes.source.certificate = _LEAF
    attributes.source.principal = f"spiffe://{DOMAIN}/ns/app/api"
    attributes.destination.principal = GATE.id
    http = attributes.request.http
    http.id = f"0f0c1a3e-5a0e-4a4c-9a6c-{n:012d}"
    http.method, http.host, http.path = "GET", "api.acme.internal", f"/tables/table-{n}?columns=id"
    http.scheme, http.size = "https", -1
    http.headers.update({
        ":authority": http.host,
        ":path": http.path,
        ":method": "GET",
        ":scheme": "https",
        "user-agent": "python-httpx/0.28",
        "accept": "*/*",
        "accept-encoding": "gzip, deflate",
        "x-forwarded-proto": "https",
        "x-request-id": http.id,
        "task-grant": TOKEN,
    })  # fmt: skip
    return request


def _leaf() -> str:
    def key() -> Any:
        return ec.generate_private_key(ec.SECP256R1())

    domain = make_domain(DOMAIN, key(), key(), key(), NOW - HOUR, 24 * HOUR)
    der = domain.certificates(f"spiffe://{DOMAIN}/ns/app/api", key().public_key(), NOW, HOUR)[0]
    return quote(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode(), safe="")


_LEAF = _leaf()


def _question(n: int) -> pdp.Request:
    return pdp.Request("select", ("Table", f"table-{n}"), context={"columns": ["id", "name"]})


def _check(bundle: Any, engine: pdp.Engine, count: int) -> Kind:
    words = decision.GateWords.of(bundle.vocabulary)
    decided = engine.check(pdp.Request("select", ("Table", "t"), workload=f"spiffe://{DOMAIN}/ns/app/api"))
    requests = [client.write_request(_question(n), grant=TOKEN) for n in range(count)]

    def ours(raw: bytes) -> bytes:
        ask = decision.read_check(raw, None, words)
        assert isinstance(ask, Ask)
        return decision.write_check(decided)

    answer = PDP.CheckResponse.FromString(ours(requests[0]))
    parse, write = PDP.CheckRequest.FromString, answer.SerializeToString

    def bare(raw: bytes) -> Any:
        parse(raw)
        return write()

    return ours, bare, requests, 1


def _many(bundle: Any, engine: pdp.Engine) -> Kind:
    words = decision.GateWords.of(bundle.vocabulary)
    decided = engine.check(pdp.Request("select", ("Table", "t"), workload=f"spiffe://{DOMAIN}/ns/app/api"))
    requests = [client.write_requests([_question(n + 100 * m) for n in range(100)]) for m in range(10)]

    def ours(raw: bytes) -> bytes:
        questions = decision.split_many(raw)
        assert isinstance(questions, list)
        asks = [decision.read_check(each, None, words) for each in questions]
        return decision.write_many([(decided, None, "") for _ in asks])

    answer = PDP.CheckManyResponse.FromString(ours(requests[0]))
    parse, write = PDP.CheckManyRequest.FromString, answer.SerializeToString

    def bare(raw: bytes) -> Any:
        parse(raw)
        return write()

    return ours, bare, requests, 100


def _beside(ours: Translate, bare: Translate, shown: list[bytes], passes: int) -> Any:
    """Both over the same bytes, by turns: each comes first half of the time, since the second finds warm caches."""
    settle_heap()
    calls: list[Call] = []
    for n, raw in enumerate(shown):
        calls += [(f, (raw,)) for f in ((ours, bare) if n % 2 else (bare, ours))]
    took = time_each(calls, passes)
    by_function: dict[Translate, list[int]] = {ours: [], bare: []}
    for n, nanoseconds in enumerate(took):
        by_function[calls[n % len(calls)][0]].append(nanoseconds)
    return spread(by_function[ours]), spread(by_function[bare])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer requests and passes")
    options = parser.parse_args()
    finish(measure(quick=options.quick))
