"""An Envoy configuration, read for what would make decisions void: who is let in, what is sent, what happens when we fail.

It looks for filters by their names and types wherever they stand: in a bootstrap file, in a single listener, in a list of
resources. What comes to Envoy over xDS it does not see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

from pdp.doctor.finding import Finding
from pdp.doctor.located import Located, NotReadable, read_located

_HTTP, _TCP = "envoy.filters.http.ext_authz", "envoy.filters.network.ext_authz"
_HTTP_TYPE, _TCP_TYPE = "extensions.filters.http.ext_authz.v3.ExtAuthz", "extensions.filters.network.ext_authz.v3.ExtAuthz"
_MANAGER = "http_connection_manager.v3.HttpConnectionManager"
_PROXY = "tcp_proxy.v3.TcpProxy"
_PER_ROUTE = "ext_authz.v3.ExtAuthzPerRoute"
_REWRITING = ("lua", "ext_proc", "wasm", "header_mutation", "header_to_metadata", "golang", "dynamic_modules", "grpc_json")
_SAFE_XFCC = ("", "SANITIZE", "SANITIZE_SET")
_TIMEOUT_S_MAX = 1.0


def lint_envoy(text: str, path: str) -> list[Finding]:
    """All findings, in the order of the file."""
    try:
        documents = read_located(text)
    except NotReadable as error:
        return [Finding("envoy_unreadable", path, str(error))]
    found: list[tuple[int, Finding]] = []
    for document in documents:
        found += [(line, Finding(code, f"{path}:{line}", detail)) for code, line, detail in _document(document)]
    return [finding for _, finding in sorted(dict.fromkeys(found), key=lambda f: (f[0], f[1].code))]


_Found = Iterator[tuple[str, int, str]]


def _document(document: Located) -> _Found:
    chains = [chain for name, each in document.walk() if name == "filter_chains" for chain in each.items()]
    chains += [each for name, each in document.walk() if name == "default_filter_chain"]
    checked = [chain for chain in chains if _checks(chain)]
    if not checked:
        yield "envoy_no_check", document.line, ""
    for chain in chains:
        if _checks(chain):
            yield from _chain(chain)
        elif checked and (_of_type(chain, _MANAGER) or _of_type(chain, _PROXY)):
            yield "envoy_listener_without_check", chain.line, ""
    for name, each in document.walk():
        if name == "trust_chain_verification" and each.text == "ACCEPT_UNTRUSTED":
            yield "envoy_accepts_untrusted", each.line, ""
        if name == "allow_expired_certificate" and each.is_true:
            yield "envoy_expired_accepted", each.line, ""
        if _type_of(each).endswith(_PER_ROUTE) and (disabled := each.get("disabled")) and disabled.is_true:
            yield "envoy_route_without_check", disabled.line, ""
        if name == "connect_matcher":
            yield "envoy_connect", each.line, name
        if name == "upgrade_configs":  # of the connection, or of a route
            for upgrade in each.items():
                kind = upgrade.get("upgrade_type")
                if kind is not None and kind.text.upper() == "CONNECT":
                    yield "envoy_connect", kind.line, name
        if name == "typed_per_filter_config":  # of whatever type: a FilterConfig switches off any filter
            for inner, off in each.walk():
                if inner == "disabled" and off.is_true:
                    yield "envoy_route_without_check", off.line, ""
    asked = {cluster.text for cluster in map(_cluster_of, _all_checks(document)) if cluster is not None}
    for name, each in document.walk():
        if name == "clusters":
            for cluster in each.items():
                yield from _cluster(cluster, asked)


# ---- one chain of filters


def _chain(chain: Located) -> _Found:
    yield from _downstream(chain)
    for manager in _of_type(chain, _MANAGER):
        yield from _manager(manager)
        inside = manager.get("http_filters")
        by_us = any(_is_check(entry) for entry in (inside.items() if inside is not None else []))
        if not by_us and next(_of_type(chain, _TCP_TYPE), None) is None:
            yield "envoy_listener_without_check", manager.line, "none in `http_filters`"
    for check in _of_type(chain, _TCP_TYPE):
        yield from _check(check)
        for proxy in _of_type(chain, _PROXY):
            if proxy.get("max_downstream_connection_duration") is None:
                yield "envoy_no_stream_cap", proxy.line, "max_downstream_connection_duration"
            mode = proxy.get("upstream_connect_mode")
            if mode is None or mode.text != "ON_DOWNSTREAM_DATA":
                yield "envoy_connects_early", (mode or proxy).line, ""


def _downstream(chain: Located) -> _Found:
    socket = chain.get("transport_socket")
    context = next((each for each in _of_type(chain, "DownstreamTlsContext")), None)
    if socket is None or context is None:
        yield "envoy_no_downstream_tls", chain.line, ""
        return
    required = context.get("require_client_certificate")
    if required is None or not required.is_true:
        yield "envoy_client_certificate_optional", (required or context).line, ""
    common = context.get("common_tls_context")
    names = {name for name, _ in common.walk()} if common is not None else set()
    if not names & {"trusted_ca", "validation_context_sds_secret_config", "custom_validator_config"}:
        yield "envoy_no_validation", context.line, ""
    tickets = context.get("disable_stateless_session_resumption")
    if tickets is None or not tickets.is_true:
        yield "envoy_session_tickets", (tickets or context).line, ""


def _manager(manager: Located) -> _Found:
    filters, upgrades = manager.get("http_filters"), manager.get("upgrade_configs")
    yield from _filters(filters.items() if filters is not None else [])
    for upgrade in upgrades.items() if upgrades is not None else []:
        own = upgrade.get("filters")
        if own is None or not own.items():
            continue  # it goes through the filters of the connection
        if not any(_is_check(entry) for entry in own.items()):
            yield "envoy_route_without_check", own.line, "an upgrade has filters of its own"
        yield from _filters(own.items())
    options = manager.get("common_http_protocol_options")
    if manager.get("common_http_protocol_options", "max_stream_duration") is None and not _routes_are_capped(manager):
        yield "envoy_no_stream_cap", (options or manager).line, "max_stream_duration"
    forwards = manager.get("forward_client_cert_details")
    if forwards is not None and forwards.text not in _SAFE_XFCC:
        yield "envoy_xfcc_forwarded", forwards.line, forwards.text
    # Either way: what is not canonical is denied by the decision point. Left unsaid, it is as Envoy's run-time flags say.
    said = ("true", "false")
    wanted: dict[str, tuple[str, ...]] = {"normalize_path": said, "merge_slashes": said}
    wanted["path_with_escaped_slashes_action"] = ("REJECT_REQUEST",)
    missing = [n for n, values in wanted.items() if (v := manager.get(n)) is None or v.text not in values]
    if missing:
        yield "envoy_path_not_canonical", manager.line, ", ".join(missing)
    underscores = manager.get("common_http_protocol_options", "headers_with_underscores_action")
    if underscores is None or underscores.text != "REJECT_REQUEST":
        yield "envoy_underscores", (underscores or manager).line, ""


def _filters(entries: list[Located]) -> _Found:
    for place, entry in enumerate(entries):
        if not _is_check(entry):
            continue
        for check in _of_type(entry, _HTTP_TYPE):
            yield from _check(check)
        if (disabled := entry.get("disabled")) is not None and disabled.is_true:
            yield "envoy_route_without_check", disabled.line, "the filter itself"
        for before in entries[:place]:
            name = before.get("name")
            if name is not None and any(word in name.text for word in _REWRITING):
                yield "envoy_filter_before", before.line, name.text


def _routes_are_capped(manager: Located) -> bool:
    routes = [route for name, each in manager.walk() if name == "routes" for route in each.items() if route.get("route")]
    return bool(routes) and all(route.get("route", "max_stream_duration", "max_stream_duration") for route in routes)


# ---- the check itself


def _check(check: Located) -> _Found:
    allows = check.get("failure_mode_allow")
    if allows is not None and allows.is_true:
        yield "envoy_failure_mode_allow", allows.line, ""
    sends = check.get("include_peer_certificate")
    if sends is None or not sends.is_true:
        yield "envoy_no_peer_certificate", (sends or check).line, ""
    metadata = check.get("check_response_metadata_key")
    if metadata is not None:
        yield "envoy_metadata_decides", metadata.line, ""
    clears = check.get("clear_route_cache")
    if clears is not None and clears.is_true:
        yield "envoy_route_cache_cleared", clears.line, ""
    partial = check.get("with_request_body", "allow_partial_message")
    if partial is not None and partial.is_true:
        yield "envoy_partial_body", partial.line, ""
    for name in ("filter_enabled", "filter_enabled_metadata"):
        if (sampled := check.get(name)) is not None:
            yield "envoy_check_sampled", sampled.line, name
    raw = check.get("encode_raw_headers")
    if _type_of(check).endswith(_HTTP_TYPE) and (raw is None or not raw.is_true):
        yield "envoy_raw_headers", (raw or check).line, ""
    yield from _timeout(check)


def _timeout(check: Located) -> _Found:
    service = check.get("grpc_service") or check.get("http_service", "server_uri")
    timeout = service.get("timeout") if service is not None else None
    if service is None or timeout is None:
        yield "envoy_no_timeout", (service or check).line, ""
        return
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)s", timeout.text)
    seconds = float(match[1]) if match else 0.0
    if not 0 < seconds <= _TIMEOUT_S_MAX:
        yield "envoy_timeout_long", timeout.line, timeout.text


def _cluster(cluster: Located, asked: set[str]) -> _Found:
    name = cluster.get("name")
    if name is None or name.text not in asked or cluster.get("transport_socket") is not None:
        return
    for key, each in cluster.walk():
        address = each.get("address")
        if key == "socket_address" and address is not None and not _is_loopback(address.text):
            yield "envoy_decisions_unencrypted", each.line, f"cluster `{name.text}` at {address.text}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


# ---- where things stand


def _type_of(each: Located) -> str:
    found = each.get("@type")
    return found.text if found is not None else ""


def _of_type(where: Located, ending: str) -> Iterator[Located]:
    return (each for _, each in where.walk() if _type_of(each).endswith(ending))


def _is_check(entry: Located) -> bool:
    name = entry.get("name")
    return (name is not None and name.text in (_HTTP, _TCP)) or any(_of_type(entry, _HTTP_TYPE))


def _all_checks(document: Located) -> Iterator[Located]:
    yield from _of_type(document, _HTTP_TYPE)
    yield from _of_type(document, _TCP_TYPE)


def _checks(chain: Located) -> bool:
    return next(_all_checks(chain), None) is not None


def _cluster_of(check: Located) -> Located | None:
    return check.get("grpc_service", "envoy_grpc", "cluster_name") or check.get("http_service", "server_uri", "cluster")
