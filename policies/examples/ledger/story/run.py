"""The ledger behind a real Envoy: `make story`.

Envoy 1.39 with `deploy/envoy/http.yaml` before an HTTP API, `pdp serve` beside it, SVIDs of a local trust domain. A shell
that takes over the billing pod has what the pod has; what it can do with it is what this shows.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
import tempfile
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pdp.grants.grant import Grant
from pdp.grants.handle import Names
from tools.envoy import VERSION
from tools.programs import Envoy, Server, pdp, shipped
from tools.task_desk import TaskDesk

LEDGER = Path(__file__).parents[1]
DOMAIN, HOST = "prod.acme", "api.acme.internal"
PDP, API, CI, BILLING, GATE, STAGING = (
    f"spiffe://{DOMAIN}/{name}"
    for name in ("pdp", "ns/ledger/api", "ci/runner", "ns/billing/api", "gates/prod", "gates/staging")
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
        self.server = Server(folder, self._config())
        stack.callback(self.server.stop)
        self.prod, self.staging = self._gate("prod", GATE, stack), self._gate("staging", STAGING, stack)
        names = Names(PDP, DOMAIN)
        self.tasks = TaskDesk(LEDGER, folder / "state" / "grants.db", folder / "keys", names, "prod")
        stack.callback(self.tasks.close)

    def tell(self) -> None:
        own, stolen = self._svid(BILLING, "billing"), self._svid(BILLING, "stolen")
        print(f"Envoy {VERSION} with mTLS before the ledger's API; pdp serve decides. GET /tables/invoices as {BILLING}:\n")
        self._ask("without a task", self.prod, own)
        grant = self.tasks.open(CI, "invoicing", BILLING, thumbprint(own), {"tenant": "acme"})
        self._until("grant_unknown", own, grant)
        self._ask("in a task that waits for approval", self.prod, own, grant)
        self.tasks.approve(grant, "ada")
        self._until("task_not_active", own, grant)
        print(f"\n  {CI} has opened the task `invoicing`, tenant acme; ada has approved it\n")
        self._ask("in its task", self.prod, own, grant)
        self._ask("the same grant, another key", self.prod, stolen, grant)
        self._ask("the same grant and key, in staging", self.staging, own, grant)
        self._ask("the same, another table", self.prod, own, grant, "customers")
        self.tasks.end(CI, grant)
        self._until("allowed", own, grant)
        print("\n  the task has ended\n")
        self._ask("the same grant and key", self.prod, own, grant)
        self.server.stop()
        print("\n  the decision point is stopped\n")
        self._ask("the same", self.prod, own, grant)

    def _ask(self, what: str, gate: Envoy, svid: Path, grant: Grant | None = None, table: str = "invoices") -> None:
        status, reason, because = self._get(gate, svid, grant, table)
        print(f"  {what:<36} {status}  {reason}{because and f': {because}'}")

    def _get(self, gate: Envoy, svid: Path, grant: Grant | None, table: str) -> tuple[int, str, str]:
        context = ssl.create_default_context(cafile=str(self.ca / "bundle.pem"))
        context.check_hostname = False  # the gate's certificate names no host
        context.load_cert_chain(svid / "svid.pem", svid / "svid.key")
        connection = http.client.HTTPSConnection("127.0.0.1", gate.port, context=context)
        headers = {"host": HOST} | ({} if grant is None else {"task-grant": self.tasks.handle(grant)})
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

    def _until(self, reason: str, svid: Path, grant: Grant) -> None:
        """Until the server has seen in its store what another process wrote there."""
        ends = time.monotonic() + 30
        while self._get(self.prod, svid, grant, "invoices")[1] == reason:
            if time.monotonic() > ends:
                raise SystemExit(f"still {reason} after 30 s")
            threading.Event().wait(0.02)

    # ---- what it takes

    def _svid(self, spiffe_id: str, name: str) -> Path:
        out = self.folder / "svids" / name
        pdp("dev", "svid", spiffe_id, "--ca", str(self.ca), "--out", str(out))
        return out

    def _config(self) -> dict[str, object]:
        own = self._svid(PDP, "pdp")
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
            "store": {
                "path": str(self.folder / "state" / "grants.db"),
                "keys": str(self.folder / "keys"),
                "freshness": "1s",
            },
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


def thumbprint(svid: Path) -> str:
    """x5t#S256 of the leaf."""
    pem, end = (svid / "svid.pem").read_text(), "-----END CERTIFICATE-----"
    der = ssl.PEM_cert_to_DER_cert(pem[: pem.index(end) + len(end)])
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    main()
