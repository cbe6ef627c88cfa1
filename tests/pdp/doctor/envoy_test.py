"""The Envoy lint: a good configuration has no finding, and each row is one thing away from it."""
# ruff: noqa: E501  # lines of YAML

from __future__ import annotations

import re

import pytest

from pdp.doctor.envoy import lint_envoy
from pdp.doctor.finding import RULES

GOOD = """\
static_resources:
  listeners:
    - name: api
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              require_client_certificate: true
              disable_stateless_session_resumption: true
              common_tls_context:
                validation_context:
                  trusted_ca: {filename: /etc/bundle.pem}
          filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                normalize_path: true
                merge_slashes: true
                path_with_escaped_slashes_action: REJECT_REQUEST
                forward_client_cert_details: SANITIZE_SET
                common_http_protocol_options:
                  max_stream_duration: 900s
                  headers_with_underscores_action: REJECT_REQUEST
                http_filters:
                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      failure_mode_allow: false
                      include_peer_certificate: true
                      encode_raw_headers: true
                      grpc_service:
                        envoy_grpc: {cluster_name: pdp}
                        timeout: 0.2s
                  - name: envoy.filters.http.router
    - name: database
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              require_client_certificate: true
              disable_stateless_session_resumption: true
              common_tls_context:
                validation_context_sds_secret_config: {name: "spiffe://prod.acme"}
          filters:
            - name: envoy.filters.network.ext_authz
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz
                include_peer_certificate: true
                grpc_service:
                  envoy_grpc: {cluster_name: pdp}
                  timeout: 0.2s
            - name: envoy.filters.network.tcp_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                max_downstream_connection_duration: 900s
                upstream_connect_mode: ON_DOWNSTREAM_DATA
                max_early_data_bytes: 65536
  clusters:
    - name: pdp
      load_assignment:
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 7070}}}
"""

#: A text of the good one, what stands there instead, and the finding.
ROWS = [
    ("failure_mode_allow: false", "failure_mode_allow: true", "envoy_failure_mode_allow"),
    (
        "include_peer_certificate: true\n                      enc",
        "x: y\n                      enc",
        "envoy_no_peer_certificate",
    ),
    (
        "include_peer_certificate: true\n                gr",
        "include_peer_certificate: false\n                gr",
        "envoy_no_peer_certificate",
    ),
    ("require_client_certificate: true", "require_client_certificate: false", "envoy_client_certificate_optional"),
    ("              require_client_certificate: true\n", "", "envoy_client_certificate_optional"),
    ("trusted_ca: {filename: /etc/bundle.pem}", "match_typed_subject_alt_names: []", "envoy_no_validation"),
    (
        "trusted_ca: {filename: /etc/bundle.pem}",
        "trusted_ca: {filename: /x}\n                  trust_chain_verification: ACCEPT_UNTRUSTED",
        "envoy_accepts_untrusted",
    ),
    (
        "trusted_ca: {filename: /etc/bundle.pem}",
        "trusted_ca: {filename: /x}\n                  allow_expired_certificate: true",
        "envoy_expired_accepted",
    ),
    ("              disable_stateless_session_resumption: true\n", "", "envoy_session_tickets"),
    ("                  max_stream_duration: 900s\n", "", "envoy_no_stream_cap"),
    ("max_downstream_connection_duration: 900s", "idle_timeout: 1s", "envoy_no_stream_cap"),
    ("                upstream_connect_mode: ON_DOWNSTREAM_DATA\n", "", "envoy_connects_early"),
    ("ON_DOWNSTREAM_DATA", "ON_DOWNSTREAM_TLS_HANDSHAKE", "envoy_connects_early"),
    ("forward_client_cert_details: SANITIZE_SET", "forward_client_cert_details: APPEND_FORWARD", "envoy_xfcc_forwarded"),
    ("                normalize_path: true\n", "", "envoy_path_not_canonical"),
    ("                merge_slashes: true\n", "", "envoy_path_not_canonical"),
    ("REJECT_REQUEST\n                forward", "UNESCAPE_AND_FORWARD\n                forward", "envoy_path_not_canonical"),
    ("                  headers_with_underscores_action: REJECT_REQUEST\n", "", "envoy_underscores"),
    ("encode_raw_headers: true", "encode_raw_headers: false", "envoy_raw_headers"),
    (
        "encode_raw_headers: true",
        "encode_raw_headers: true\n                      check_response_metadata_key: x",
        "envoy_metadata_decides",
    ),
    (
        "encode_raw_headers: true",
        "encode_raw_headers: true\n                      clear_route_cache: true",
        "envoy_route_cache_cleared",
    ),
    (
        "encode_raw_headers: true",
        "encode_raw_headers: true\n                      filter_enabled: {}",
        "envoy_check_sampled",
    ),
    (
        "encode_raw_headers: true",
        "encode_raw_headers: true\n                      with_request_body: {max_request_bytes: 1, allow_partial_message: true}",
        "envoy_partial_body",
    ),
    ("                        timeout: 0.2s\n", "", "envoy_no_timeout"),
    ("timeout: 0.2s", "timeout: 0s", "envoy_timeout_long"),
    ("timeout: 0.2s", "timeout: 30s", "envoy_timeout_long"),
    (
        "                  - name: envoy.filters.http.ext_authz\n",
        "                  - name: envoy.filters.http.lua\n                  - name: envoy.filters.http.ext_authz\n",
        "envoy_filter_before",
    ),
    (
        "  - name: envoy.filters.http.ext_authz\n",
        "  - name: envoy.filters.http.ext_authz\n                    disabled: true\n",
        "envoy_route_without_check",
    ),
    (
        "                  - name: envoy.filters.http.router",
        "                  - name: x\n                    typed_config:\n"
        '                      {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true}',
        "envoy_route_without_check",
    ),
    ("address: 127.0.0.1", "address: 10.1.2.3", "envoy_decisions_unencrypted"),
    ("address: 127.0.0.1", "address: 127.evil.example.com", "envoy_decisions_unencrypted"),
    ("address: 127.0.0.1", "address: localhost.example.com", "envoy_decisions_unencrypted"),
    ("failure_mode_allow: false", "failureModeAllow: true", "envoy_failure_mode_allow"),
    (
        "failure_mode_allow: false",
        "failure_mode_allow: false\n                      failureModeAllow: true",
        "envoy_unreadable",
    ),
    (
        "                http_filters:",
        "                routeConfig: {virtualHosts: [{typedPerFilterConfig: {envoy.filters.http.ext_authz: "
        '{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}}]}\n                http_filters:',
        "envoy_route_without_check",
    ),
    (
        "                http_filters:",
        "                upgrade_configs:\n                - filters:",
        "envoy_listener_without_check",
    ),
    (
        "                http_filters:",
        "                upgrade_configs: [{upgrade_type: websocket, filters: [{name: envoy.filters.http.router}]}]\n"
        "                http_filters:",
        "envoy_route_without_check",
    ),
    (
        "                http_filters:",
        "                upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: connect}]\n                http_filters:",
        "envoy_connect",
    ),
    (
        "                http_filters:",
        "                route_config: {virtual_hosts: [{routes: [{match: {prefix: /}, route: {cluster: a, max_stream_duration: "
        "{}, upgrade_configs: [{upgrade_type: CONNECT}]}}]}]}\n                http_filters:",
        "envoy_connect",
    ),
    (
        "                http_filters:",
        "                route_config: {virtual_hosts: [{routes: [{match: {connect_matcher: {}}, route: {cluster: a}}]}]}\n"
        "                http_filters:",
        "envoy_connect",
    ),
    ("        - transport_socket:\n", "        - other_socket:\n", "envoy_no_downstream_tls"),
    (
        "                  - name: envoy.filters.http.ext_authz",
        "                  - name: other",
        None,
    ),
    (
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        "envoy_listener_without_check",
    ),
]


def codes(text: str) -> set[str]:
    return {f.code for f in lint_envoy(text, "envoy.yaml")}


def test_a_good_one_has_no_finding() -> None:
    assert lint_envoy(GOOD, "envoy.yaml") == []


@pytest.mark.parametrize(("before", "after", "code"), ROWS)
def test_one_thing_wrong_is_one_finding(before: str, after: str, code: str | None) -> None:
    assert before in GOOD
    assert codes(GOOD.replace(before, after, 1)) == ({code} if code else set())


def test_camel_case_is_the_same_and_an_upgrade_without_filters_is_none() -> None:
    camel = re.sub(r"\b([a-z]+(?:_[a-z]+)+):", lambda m: re.sub("_(.)", lambda c: c[1].upper(), m[1]) + ":", GOOD)
    assert "failureModeAllow" in camel
    assert lint_envoy(camel, "envoy.yaml") == []
    upgrade = "upgrade_configs: [{upgrade_type: websocket}]\n                http_filters:"
    assert codes(GOOD.replace("http_filters:", upgrade, 1)) == set()


def test_a_finding_has_the_line() -> None:
    text = GOOD.replace("failure_mode_allow: false", "failure_mode_allow: true")
    (finding,) = lint_envoy(text, "envoy.yaml")
    line = text[: text.index("failure_mode_allow")].count("\n") + 1
    assert finding.place == f"envoy.yaml:{line}"
    assert "failure_mode_allow: false" in str(finding)


def test_without_any_check_and_without_sense() -> None:
    assert codes("static_resources: {listeners: []}") == {"envoy_no_check"}
    for text in ("a: [", "a: &a [*a, *a]", "[" * 5000, "x: " + "[[[[" * 40, "- *gone", "\x00"):
        assert codes(text) <= {"envoy_unreadable", "envoy_no_check"}
        assert codes(text)


def test_a_bomb_of_anchors_is_not_unfolded() -> None:
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 10))
    assert codes(f"l0: &l0 [x]\n{levels}") == {"envoy_unreadable"}


def test_every_code_about_envoy_is_found_by_a_row() -> None:
    told = {code for *_, code in ROWS if code} | {"envoy_no_check", "envoy_unreadable"}
    assert told == {code for code in RULES if re.match("envoy_", code)}
