"""The stand that all tests here share: a trust domain, a decision point, gates before back ends, and tasks."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from pdp.grants.grant import Grant
from pdp.grants.handle import Names
from pdp.store.dev_domain import new_key, new_weak_key, open_domain, private_pem, write_files
from pdp.store.record_reader import read_record
from tests.envoy.back_end import EchoBackEnd, HttpBackEnd
from tools.programs import Document, Envoy, Server, filter_of, pdp, shipped
from tools.task_desk import TaskDesk

DOMAIN = "prod.acme"
PDP, CI, OPS = (f"spiffe://{DOMAIN}/{name}" for name in ("pdp", "ci/runner", "ops/ann"))
GATE, TCP_GATE, STAGING_GATE = (f"spiffe://{DOMAIN}/gates/{name}" for name in ("http", "tcp", "staging"))
API, LEDGER = f"spiffe://{DOMAIN}/ns/api", f"spiffe://{DOMAIN}/ns/db/ledger"
BILLING, OTHER, STRANGER = f"spiffe://{DOMAIN}/ns/billing", f"spiffe://{DOMAIN}/ns/other", f"spiffe://{DOMAIN}/web/shop"
POLICIES = Path(__file__).parent / "policies"
HOST = "api.acme.internal"
WAIT_S = 20.0

#: What the gate for HTTP tells the back end: names of headers, and what they tell.
TOLD = {"x-workload": "workload", "x-task": "task", "x-decision": "decision", "x-user": "user"}


def wait_until(found: Callable[[], Any], what: str = "") -> Any:
    ends = time.monotonic() + WAIT_S
    while not (value := found()):
        assert time.monotonic() < ends, f"not within {WAIT_S} s: {what}"
        Event().wait(0.01)
    return value


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def reason(self) -> str | None:
        """Why the decision point said no; None where it did not say anything."""
        return self.headers.get("pdp-reason")


class Identities:
    """SVIDs of `pdp dev`, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.ca = folder / "ca"
        pdp("dev", "ca", str(self.ca), "--trust-domain", DOMAIN)
        self._folder = folder
        self._made: dict[tuple[str, str], Path] = {}

    def svid(self, spiffe_id: str, name: str = "", dns: str = "") -> Path:
        """The folder with `svid.pem` and `svid.key`; another `name` is another certificate of the same workload. `dns` is
        for clients that can compare no SPIFFE ID."""
        key = spiffe_id, name
        if key not in self._made:
            out = self._folder / "svids" / f"{len(self._made)}"
            more = ("--dns", dns) if dns else ()
            pdp("dev", "svid", spiffe_id, "--ca", str(self.ca), "--out", str(out), "--ttl", "1h", *more)
            self._made[key] = out
        return self._made[key]

    def malformed(self, spiffe_id: str, what: str) -> Path:
        """The same with one thing wrong: what `pdp dev svid --malformed` makes."""
        key = new_weak_key() if what == "weak-key" else new_key()
        now = time.time_ns() // 1000
        chain = open_domain(self.ca).certificates(spiffe_id, key.public_key(), now, 3_600_000_000, what)
        pem = "".join(map(ssl.DER_cert_to_PEM_cert, chain)).encode()
        out = self._folder / "svids" / what
        write_files(out, {"svid.pem": pem}, {"svid.key": private_pem(key)})
        return out

    def context(self, svid: Path, alpn: str = "http/1.1") -> ssl.SSLContext:
        """Of a client with this SVID. Whom it reaches is not what is tested here."""
        context = ssl.create_default_context(cafile=str(self.ca / "bundle.pem"))
        context.check_hostname = False
        context.set_alpn_protocols([alpn])
        context.load_cert_chain(svid / "svid.pem", svid / "svid.key")
        return context

    def thumbprint(self, svid: Path) -> str:
        """x5t#S256 of the leaf."""
        pem = (svid / "svid.pem").read_text()
        der = ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + 25] + "\n")
        return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


class Openings:
    """Tasks that CI opens."""

    def __init__(self, desk: TaskDesk) -> None:
        self._desk = desk
        self.handle, self.close = desk.handle, desk.close

    def open(self, kind: str, holder: str, certificate: str, **places: Any) -> Grant:
        return self._desk.open(CI, kind, holder, certificate, {"tenant": "acme"} if kind == "visit" else {}, **places)

    def end(self, grant: Grant) -> None:
        self._desk.end(CI, grant)


class Stand:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.identities = Identities(folder)
        self.http: HttpBackEnd = stack.enter_context(HttpBackEnd())
        self.echo: EchoBackEnd = stack.enter_context(EchoBackEnd())
        self.store, self.keys, self.record = folder / "state" / "grants.db", folder / "keys", folder / "record"
        self.server = self.serve("pdp")
        self.tasks = Openings(TaskDesk(POLICIES, self.store, self.keys, Names(PDP, DOMAIN), "prod"))
        stack.callback(self.tasks.close)
        self.billing = self.identities.svid(BILLING)
        self.strict = self.gate("http.yaml", "strict")
        self.lax = self.gate("http.yaml", "lax", change=lax)

    def serve(self, name: str, state: bool = True) -> Server:
        """Another decision point; without `state` it has no tasks."""
        server = Server(self.folder, self._config(name, state), name)
        self.stack.callback(_end, server)
        return server

    def gate(
        self,
        template: str,
        name: str,
        *,
        id: str = GATE,
        service: str = API,
        behind: Path | None = None,
        server_port: int | None = None,
        back_end_port: int | None = None,
        change: Callable[[Document], None] | None = None,
    ) -> Envoy:
        own = self.identities.svid(id)
        behind = self.identities.svid(service) if behind is None else behind
        port = self.http.port if back_end_port is None else back_end_port
        document = shipped(
            template,
            {
                "LISTEN_ADDRESS": "127.0.0.1",
                "LISTEN_PORT": 0,
                "TRUST_DOMAIN": DOMAIN,
                "BUNDLE": str(self.identities.ca / "bundle.pem"),
                "SVID": str(behind / "svid.pem"),
                "SVID_KEY": str(behind / "svid.key"),
                "GATE_SVID": str(own / "svid.pem"),
                "GATE_SVID_KEY": str(own / "svid.key"),
                "PDP_ADDRESS": "127.0.0.1",
                "PDP_PORT": self.server.port if server_port is None else server_port,
                "PDP_ID": PDP,
                "BACK_END_ADDRESS": "127.0.0.1",
                "BACK_END_PORT": port,
            },
        )
        if change is not None:
            change(document)
        gate = Envoy(self.folder, document, name)
        self.stack.callback(_end, gate)
        return gate

    def step(self, caller: str, *words: str) -> Any:
        """A verb of the command line, as this workload, against the server; what it printed."""
        svid = self.identities.svid(caller)
        files = ("--tls-cert", svid / "svid.pem", "--key", svid / "svid.key", "--ca", self.identities.ca / "bundle.pem")
        address = f"127.0.0.1:{self.server.port}"
        return json.loads(pdp(*words, "--server", address, *map(str, files), "--format", "json"))

    # ---- clients

    def ask(self, gate: Envoy, raw: bytes, svid: Path | None = None) -> Reply:
        """Sends these bytes over mTLS, and reads one answer."""
        with self.connect(gate, svid) as connection:
            connection.sendall(raw)
            return read_reply(connection)

    def get(self, gate: Envoy, target: str, *lines: str | bytes, svid: Path | None = None) -> Reply:
        return self.ask(gate, request("GET", target, *lines), svid)

    @contextmanager
    def connect(self, gate: Envoy, svid: Path | None = None, alpn: str = "http/1.1") -> Iterator[ssl.SSLSocket]:
        context = self.identities.context(self.billing if svid is None else svid, alpn)
        with (
            socket.create_connection(("127.0.0.1", gate.port), WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as connection,
        ):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield connection

    # ---- what was decided

    def decided(self, decision: str) -> Mapping[str, Any]:
        """The entry of a decision in the record."""

        def find() -> Mapping[str, Any] | None:
            for _, line in read_record(self.record / "pdp" / "worker-0"):
                if line is not None and line.kind == "decision" and line.data().get("id") == decision:
                    return line.data()
            return None

        found: Mapping[str, Any] = wait_until(find, f"decision {decision} in the record")
        return found

    def last_decided(self) -> Mapping[str, Any]:
        """The entry of the last decision: of a denial on a connection nobody is told the id."""
        return self.all_decided()[-1]

    def all_decided(self) -> list[Mapping[str, Any]]:
        """Every entry of a decision that is on disk by now."""
        lines = (
            line for _, line in read_record(self.record / "pdp" / "worker-0") if line is not None and line.kind == "decision"
        )
        return [line.data() for line in lines]

    def _config(self, name: str, state: bool) -> Document:
        own = self.identities.svid(PDP, dns="pdp")
        http = {"domains": [DOMAIN], "destinations": [API], "xfcc": "sanitize_set", "headers": TOLD}
        config: Document = {
            "name": PDP,
            "environment": "prod",
            "listen": [{"address": "127.0.0.1:0", "trust_domain": DOMAIN}],
            "admin": {"address": ""},
            "tls": {"certificate": str(own / "svid.pem"), "key": str(own / "svid.key")},
            "trust": {DOMAIN: {"file": str(self.identities.ca / "bundle.json")}},
            "peps": {
                GATE: {**http, "environment": "prod"},
                STAGING_GATE: {**http, "environment": "staging"},
                TCP_GATE: {"domains": [DOMAIN], "destinations": [LEDGER], "environment": "prod", "vouches": True},
            },
            "roles": {"grants": [CI], "admin": [OPS]},
            "policies": {"path": str(POLICIES), "watch": False},
            "record": {"directory": str(self.record / name), "keys": str(self.folder / f"record-keys-{name}")},
            "telemetry": {"log_format": "text"},
        }
        if state:
            config["store"] = {"path": str(self.store), "keys": str(self.keys), "freshness": "1s"}
        return config


def lax(document: Document) -> None:
    """An Envoy that lets everything through that it can: what is denied behind it is denied by the decision point."""
    manager = filter_of(document, "envoy.filters.network.http_connection_manager")
    manager["path_with_escaped_slashes_action"] = "KEEP_UNCHANGED"
    manager["common_http_protocol_options"]["headers_with_underscores_action"] = "ALLOW"
    manager["http_protocol_options"] = {"allow_absolute_url": True, "accept_http_10": True}
    authz = filter_of(document, "envoy.filters.http.ext_authz")
    authz["failure_mode_allow"] = True
    authz["with_request_body"] |= {"allow_partial_message": True, "max_request_bytes": 64}
    # Time for a busy machine: a test that met the time limit here would be let through.
    authz["grpc_service"]["timeout"] = "10s"


def request(method: str, target: str, *lines: str | bytes, body: bytes = b"", host: str = HOST) -> bytes:
    """The bytes of a request, exactly."""
    head = [f"{method} {target} HTTP/1.1".encode("latin-1"), *([f"host: {host}".encode()] if host else [])]
    head += [line.encode("latin-1") if isinstance(line, str) else line for line in lines]
    if body:
        head.append(f"content-length: {len(body)}".encode())
    return b"\r\n".join([*head, b"", body])


def read_reply(connection: socket.socket) -> Reply:
    raw = b""
    while b"\r\n\r\n" not in raw:
        more = connection.recv(65536)
        if not more:
            return Reply(0, {}, raw)
        raw += more
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        more = connection.recv(65536)
        if not more:
            break
        body += more
    return Reply(int(first.split(" ")[1]), headers, body)


def _end(program: Server | Envoy) -> None:
    program.stop()
