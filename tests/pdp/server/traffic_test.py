"""Ordinary traffic of two well-behaved callers over mutual TLS, at the pace of people and not of a load test."""

from __future__ import annotations

import threading
from pathlib import Path
from urllib.parse import quote

from pdp.identity import split_pem
from pdp.wire.messages import ENVOY, PDP
from tests.pdp.server.faults import question, write_policies
from tests.pdp.server.grants_world import DECISIONS, ENVOY_CHECK
from tests.pdp.server.world import DOMAIN, GATE, SERVER, STRANGER, Identities, call, channel
from tests.pdp.wire.answers import taken
from tests.pdp.wire.captures import HEADERS, pem
from tools.programs import Server

CHECKS, EVERY_S = 400, 0.01

#: Collects garbage in the server at random moments, beside its threads.
COLLECTOR = """
import gc, random, sys, threading, time

def collect():
    while True:
        time.sleep(random.random() / 50)
        gc.collect(random.randrange(3))

sys.setswitchinterval(1e-5)
threading.Thread(target=collect, daemon=True).start()
"""


def test_a_gate_beside_batches(tmp_path: Path) -> None:
    """Finding S1: the server died of SIGSEGV after 15 to 53 checks. The collector has to run between two calls for it, so
    that a load test at full speed finds nothing; here it runs all the while. It is a matter of luck where the process dies:
    `messages_test` asks for the cause itself."""
    identities = Identities(tmp_path)
    identities.write(SERVER, "own")
    batch = PDP.CheckManyRequest(
        requests=[PDP.CheckRequest.FromString(question(f"d{n}")) for n in range(100)]
    ).SerializeToString()
    config = {
        "policies": {"path": str(write_policies(tmp_path).parent)},
        "listen": [{"address": "127.0.0.1:0", "trust_domain": DOMAIN}],
        "admin": {"address": ""},
        "tls": {"certificate": "own/svid.pem", "key": "own/svid.key"},
        "trust": {DOMAIN: {"file": str(identities.bundle)}},
        "peps": {GATE: {"domains": [DOMAIN], "vouches": True}},
    }
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "sitecustomize.py").write_text(COLLECTOR)
    server = Server(tmp_path, config, imports=[tmp_path / "early"])
    address, credentials = f"127.0.0.1:{server.port}", identities.credentials(GATE)
    leaf = pem(split_pem(identities.write(STRANGER, "stranger")[0].read_bytes())[0])
    over, batches = threading.Event(), [0]

    def ask_many() -> None:
        with channel(address, credentials) as opened:
            while not over.wait(20 * EVERY_S):
                answer = PDP.CheckManyResponse.FromString(call(opened, f"{DECISIONS}CheckMany", batch))
                assert len(answer.results) == 100
                batches[0] += 1

    beside = threading.Thread(target=ask_many)
    beside.start()
    try:
        with channel(address, credentials) as opened:
            for number in range(CHECKS):
                answer = taken(call(opened, ENVOY_CHECK, asked_by_envoy(leaf, number)))
                assert answer.response.status.message == "default_deny"
                over.wait(EVERY_S)
    finally:
        over.set()
        beside.join()
        server.stop()
    assert batches[0] >= 20


def asked_by_envoy(leaf: str, number: int) -> bytes:
    message = ENVOY.CheckRequest()
    attributes = message.attributes
    attributes.source.certificate = quote(leaf, safe="")
    http = attributes.request.http
    http.method, http.host, http.path, http.scheme = "GET", "api.test", f"/d{number}", "https"
    http.headers.update({**HEADERS, ":authority": http.host, ":path": http.path})
    return bytes(message.SerializeToString())
