"""What ext_authz adds behind a real Envoy, at an even pace of 1,000 requests a second.

They are sent through two gates in turns: one asks, one does not. A third Envoy stands on the callers' side and brings the
client's certificate, as a sidecar would; it is the same for both.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.load import floor
from bench.pace import at_pace
from bench.report import Detail, Figure, number
from bench.timing import Spread, median
from tools.programs import Document, Envoy, Server, pdp, shipped

RATE_PER_S, CONNECTIONS = 1_000, 4
ADDED_P50_US, ADDED_P99_US = 150.0, 800.0
NAMES = ("without ext_authz", "with ext_authz")


def behind_envoy(folder: Path, stack: ExitStack, rounds: int, calls: int) -> tuple[list[Figure], Detail]:
    ports = _gates(folder, stack)
    for port in ports:
        at_pace(port, RATE_PER_S, calls // 4, CONNECTIONS)
    found: list[list[Spread]] = [[], []]
    for _ in range(rounds):
        for port, spreads in zip(ports, found, strict=True):
            spreads.append(at_pace(port, RATE_PER_S, calls, CONNECTIONS))
    p50, p99 = [median(s.p50 for s in each) for each in found], [median(s.p99 for s in each) for each in found]
    rows = [(name, number(p50[i]), number(p99[i])) for i, name in enumerate(NAMES)]
    note = (
        f"{RATE_PER_S:,} requests a second at an even pace on {CONNECTIONS} connections, {calls:,} in each of {rounds} "
        "rounds in turns. Mutual TLS from the client and to the decision point, which is one process; every check verifies "
        "and decides. Two Envoys, the decision point, the back end and the client share the cores."
    )
    detail = Detail("Requests through Envoy 1.39", ("", "p50 us", "p99 us"), tuple(rows), note)
    return [
        Figure("ext_authz through Envoy at 1,000/s adds: p50", p50[1] - p50[0], "us", ADDED_P50_US),
        Figure("ext_authz through Envoy at 1,000/s adds: p99", p99[1] - p99[0], "us", ADDED_P99_US),
    ], detail


def _gates(folder: Path, stack: ExitStack) -> list[int]:
    """The ports at which one asks nobody and the other asks us."""
    ca, domain = folder / "ca", "prod.acme"
    pdp("dev", "ca", str(ca), "--trust-domain", domain)

    def svid(path: str) -> Path:
        out = folder / "svids" / path
        pdp("dev", "svid", f"spiffe://{domain}/{path}", "--ca", str(ca), "--out", str(out))
        return out

    own, gate, behind, client = svid("pdp"), svid("gate"), svid("ns/api"), svid("ns/billing")
    entry = {"domains": [domain], "destinations": [f"spiffe://{domain}/ns/api"], "xfcc": "sanitize_set"}
    config: Document = {
        "name": f"spiffe://{domain}/pdp",
        "listen": [{"address": "127.0.0.1:0", "trust_domain": domain}],
        "admin": {"address": ""},
        "tls": {"certificate": str(own / "svid.pem"), "key": str(own / "svid.key")},
        "trust": {domain: {"file": str(ca / "bundle.json")}},
        "peps": {f"spiffe://{domain}/gate": entry},
        "policies": {"path": str(folder / "policies"), "watch": False},
    }
    server = Server(folder, config, "behind-envoy")
    stack.callback(server.stop)
    values: dict[str, Any] = {
        "LISTEN_ADDRESS": "127.0.0.1", "LISTEN_PORT": 0, "TRUST_DOMAIN": domain, "BUNDLE": ca / "bundle.pem",
        "SVID": behind / "svid.pem", "SVID_KEY": behind / "svid.key",
        "GATE_SVID": gate / "svid.pem", "GATE_SVID_KEY": gate / "svid.key",
        "PDP_ADDRESS": "127.0.0.1", "PDP_PORT": server.port, "PDP_ID": config["name"],
        "BACK_END_ADDRESS": "127.0.0.1", "BACK_END_PORT": floor(folder / "behind", stack).url.split(":")[2].split("/")[0],
    }  # fmt: skip
    found = []
    for name in NAMES:
        document = shipped("http.yaml", values)
        if name == NAMES[0]:
            _unasked(document)
        before = Envoy(folder, document, name.replace(" ", "-"))
        stack.callback(before.stop)
        sidecar = Envoy(folder, _sidecar(before.port, client, ca), f"sidecar-{before.port}")
        stack.callback(sidecar.stop)
        found.append(sidecar.port)
    return found


def _unasked(document: Document) -> None:
    (listener,) = document["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = manager["http_filters"][1:]
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        route.pop("typed_per_filter_config", None)


def _sidecar(port: int, svid: Path, ca: Path) -> Document:
    """HTTP in, HTTP/2 with the client's certificate out."""
    tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

    def at(number_: int) -> Document:
        return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": number_}}}

    chain, key = {"filename": str(svid / "svid.pem")}, {"filename": str(svid / "svid.key")}
    common = {
        "alpn_protocols": ["h2"],
        "tls_certificates": [{"certificate_chain": chain, "private_key": key}],
        "validation_context": {"trusted_ca": {"filename": str(ca / "bundle.pem")}},
    }
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "gate"}}]
    filters = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": manager,
            "stat_prefix": "client",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
        },
    }
    cluster = {
        "name": "gate",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": "gate", "endpoints": [{"lb_endpoints": [{"endpoint": at(port)}]}]},
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": tls, "common_tls_context": common},
        },
    }
    listener = {"name": "client", **at(0), "filter_chains": [{"filters": [filters]}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
