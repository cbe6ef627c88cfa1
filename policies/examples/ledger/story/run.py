"""The ledger behind a real Envoy: `make story`.

Envoy 1.39 with `deploy/envoy/http.yaml` before an HTTP API, `pdp serve` beside it, SVIDs of a local trust domain. A shell
that takes over the billing pod has what the pod has; what it can do with it is what this shows.
"""

from __future__ import annotations

import http.client
import json
import ssl
import tempfile
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from pdp.identity.dev.tokens import TokenShape, public_jwk, sign_token
from pdp.sdk.remote.own import Tls
from pdp.sdk.remote.steps import Steps
from pdp.wire.messages import PDP as MESSAGES
from tools.envoy import VERSION
from tools.programs import Envoy, Server, pdp, shipped

LEDGER = Path(__file__).parents[1]
DOMAIN, HOST, LOGIN = "prod.acme", "api.acme.internal", "https://login.acme"
PDP, API, CI, DESK, BILLING, GATE, STAGING = (
    f"spiffe://{DOMAIN}/{name}"
    for name in ("pdp", "ns/ledger/api", "ci/runner", "people/desk", "ns/billing/api", "gates/prod", "gates/staging")
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        Story(Path(folder), stack).tell()


class Story:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.ca = folder / "ca"
        pdp("dev", "ca", str(self.ca), "--trust-domain", DOMAIN)
        self.api = stack.enter_context(LedgerApi())
        self._people = ec.generate_private_key(ec.SECP256R1())
        self.server = Server(folder, self._config())
        self._address = f"127.0.0.1:{self.server.port}"
        stack.callback(self.server.stop)
        self.prod, self.staging = self._gate("prod", GATE, stack), self._gate("staging", STAGING, stack)

    def tell(self) -> None:
        own, stolen = self._svid(BILLING, "billing"), self._svid(BILLING, "stolen")
        print(f"Envoy {VERSION} with mTLS before the ledger's API; pdp serve decides. GET /tables/invoices as {BILLING}:\n")
        self._ask("without a task", self.prod, own)
        ci, desk = self._svid(CI, "ci"), self._svid(DESK, "desk")
        print(f"\n  {CI}: pdp task open invoicing --holder {BILLING} --set tenant=acme")
        tied = ("--holder-cert", str(own / "svid.pem"))
        opened = self._pdp(ci, "task", "open", "invoicing", "--holder", BILLING, "--set", "tenant=acme", *tied)["grant"]
        print("  ada, of billing-leads: pdp grant approve\n")
        self._pdp(
            desk, "grant", "approve", opened["id"], "--agreement", opened["agreement"], "--token", str(self._token("ada"))
        )
        handle = self._handle(own, opened["id"])
        self._ask("in its task", self.prod, own, handle)
        self._ask("the same grant, another key", self.prod, stolen, handle)
        self._ask("the same grant and key, in staging", self.staging, own, handle)
        self._ask("the same, another table", self.prod, own, handle, "customers")
        self._pdp(ci, "task", "end", opened["task"])
        print(f"\n  {CI}: pdp task end\n")
        self._ask("the same grant and key", self.prod, own, handle)
        self.server.stop()
        print("\n  the decision point is stopped\n")
        self._ask("the same", self.prod, own, handle)

    def _ask(self, what: str, gate: Envoy, svid: Path, handle: str = "", table: str = "invoices") -> None:
        status, reason, because = self._get(gate, svid, handle, table)
        print(f"  {what:<36} {status}  {reason}{because and f': {because}'}")

    def _get(self, gate: Envoy, svid: Path, handle: str, table: str) -> tuple[int, str, str]:
        context = ssl.create_default_context(cafile=str(self.ca / "bundle.pem"))
        context.check_hostname = False  # the gate's certificate names no host
        context.load_cert_chain(svid / "svid.pem", svid / "svid.key")
        connection = http.client.HTTPSConnection("127.0.0.1", gate.port, context=context)
        headers = {"host": HOST} | ({"task-grant": handle} if handle else {})
        try:
            connection.request("GET", f"/tables/{table}", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            reason = answer.getheader("pdp-reason")
        finally:
            connection.close()
        if reason is not None:
            return answer.status, reason, str(json.loads(body).get("because", ""))
        return answer.status, "allowed" if answer.status == 200 else "no answer of the decision point", ""

    # ---- what it takes

    def _svid(self, spiffe_id: str, name: str, *more: str) -> Path:
        out = self.folder / "svids" / name
        pdp("dev", "svid", spiffe_id, "--ca", str(self.ca), "--out", str(out), *more)
        return out

    def _pdp(self, svid: Path, *words: str) -> Any:
        """A verb of the command line, over mTLS with this SVID."""
        shown = {"--cert": svid / "svid.pem", "--key": svid / "svid.key", "--ca": self.ca / "bundle.pem"}
        options = [str(word) for pair in shown.items() for word in pair]
        return json.loads(pdp(*words, "--server", self._address, *options, "--format", "json"))

    def _handle(self, svid: Path, grant: str) -> str:
        """What the holder sends along: it asks for it with its own certificate."""
        tls = Tls(svid / "svid.pem", svid / "svid.key", self.ca / "bundle.pem", "pdp")
        with Steps(self._address, tls) as steps:
            return str(steps.call("/pdp.v1.GrantService", "Get", MESSAGES.GetRequest(grant=grant)).handle)

    def _token(self, person: str) -> Path:
        """What a login service gives a person: a JWT."""
        now = int(time.time())
        claims = {"iss": LOGIN, "aud": PDP, "sub": person, "iat": now, "nbf": now, "exp": now + 300}
        token = sign_token(TokenShape({"alg": "ES256", "kid": "1", "typ": "JWT"}, claims), self._people)
        path = self.folder / f"{person}.jwt"
        path.write_text(token)
        path.chmod(0o600)
        return path

    def _config(self) -> dict[str, object]:
        own = self._svid(PDP, "pdp", "--dns", "pdp")
        (self.folder / "people.json").write_text(json.dumps({"keys": [public_jwk(self._people, kid="1", alg="ES256")]}))
        gate = {"domains": [DOMAIN], "destinations": [API], "xfcc": "sanitize_set"}
        return {
            "name": PDP,
            "environment": "prod",
            "listen": [{"address": "127.0.0.1:0", "trust_domain": DOMAIN}],
            "admin": {"address": ""},
            "tls": {"certificate": str(own / "svid.pem"), "key": str(own / "svid.key")},
            "trust": {DOMAIN: {"file": str(self.ca / "bundle.json")}},
            "peps": {GATE: {**gate, "environment": "prod"}, STAGING: {**gate, "environment": "staging"}},
            "policies": {"path": str(LEDGER), "watch": False},
            "store": {"path": str(self.folder / "state" / "grants.db"), "keys": str(self.folder / "keys")},
            "people": {LOGIN: {"audience": PDP, "keys": str(self.folder / "people.json"), "roles": ["approver"]}},
            "roles": {"grants": [CI, DESK, BILLING]},
        }

    def _gate(self, name: str, spiffe_id: str, stack: ExitStack) -> Envoy:
        own, behind = self._svid(spiffe_id, name), self._svid(API, f"{name}-api")
        values = {
            "LISTEN_ADDRESS": "127.0.0.1",
            "LISTEN_PORT": 0,
            "TRUST_DOMAIN": DOMAIN,
            "BUNDLE": self.ca / "bundle.pem",
            "SVID": behind / "svid.pem",
            "SVID_KEY": behind / "svid.key",
            "GATE_SVID": own / "svid.pem",
            "GATE_SVID_KEY": own / "svid.key",
            "PDP_ADDRESS": "127.0.0.1",
            "PDP_PORT": self.server.port,
            "PDP_ID": PDP,
            "BACK_END_ADDRESS": "127.0.0.1",
            "BACK_END_PORT": self.api,
        }
        gate = Envoy(self.folder, shipped("http.yaml", values), name)
        stack.callback(gate.stop)
        return gate


class LedgerApi:
    """The ledger's API, as far as this needs one: it answers everybody who reaches it. `with LedgerApi() as port`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None:
            pass

    def __enter__(self) -> int:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return int(self._server.server_address[1])

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


if __name__ == "__main__":
    main()
