"""What the doctor finds: a code, a place, why it matters and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    ERROR = "error"  # what the decision point promises does not hold
    WARNING = "warning"  # it holds for now, or with luck
    NOTE = "note"  # worth knowing


@dataclass(frozen=True, slots=True)
class Rule:
    level: Level
    says: str
    fix: str


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    place: str  # a file, with a line where there is one; or a setting
    detail: str = ""

    @property
    def rule(self) -> Rule:
        return RULES[self.code]

    def as_json(self) -> dict[str, str]:
        rule = self.rule
        return {
            "code": self.code,
            "level": rule.level.value,
            "place": self.place,
            "message": rule.says,
            "detail": self.detail,
            "fix": rule.fix,
        }

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.place}: {self.rule.level}[{self.code}]: {self.rule.says}{detail}\n  fix: {self.rule.fix}"


_E, _W, _N = Level.ERROR, Level.WARNING, Level.NOTE

#: Every code, in the order of the manual.
RULES: dict[str, Rule] = {
    # ---- the configuration and what it names
    "config_refused": Rule(_E, "the configuration is refused, so nothing is served", "change what the detail names"),
    "config_writable": Rule(
        _E,
        "others may write the file, and whoever does decides who is believed",
        "chmod go-w, and let its owner be root or us",
    ),
    "policy_refused": Rule(_E, "the policies do not compile, so nothing is served", "run `pdp check` on them"),
    "policy_writable": Rule(_E, "others may write policies or data, and so decide anything", "chmod -R go-w the folder"),
    "key_readable": Rule(_E, "others may read a private key", "chmod 600 it, and replace the key"),
    "certificate_refused": Rule(
        _E, "our own certificate is not one that we would accept", "issue an SVID of a configured domain"
    ),
    "certificate_ends_soon": Rule(
        _W,
        "our own certificate ends within a tenth of its life",
        "see why it was not renewed; a Workload API does it by itself",
    ),
    "certificate_without_name": Rule(
        _W,
        "our own certificate has no DNS name, so that `pdp.Client`, the verbs and all of Python's gRPC cannot call us",
        "one in the registration entry (`-dns pdp`), or `pdp dev svid --dns pdp`",
    ),
    "certificate_unseen": Rule(
        _N,
        "our own certificate comes from the Workload API, which is not called here; it needs a DNS name to be called by",
        "one in the registration entry: `spire-server entry update … -dns pdp`",
    ),
    "trust_unreadable": Rule(_E, "a trust bundle cannot be read, so nobody of its domain is known", "see the detail"),
    "trust_empty": Rule(
        _W, "a trust bundle has no keys, which revokes its whole domain", "put the keys in, if that is not meant"
    ),
    "trust_ends_soon": Rule(
        _W, "all authorities of a domain end within 30 days", "rotate the authority, and overlap the two"
    ),
    "trust_writable": Rule(_E, "others may write a trust bundle, and so be anyone", "chmod go-w the file and its folder"),
    "people_unreadable": Rule(_E, "the keys of an issuer of people cannot be read, so nobody can approve", "see the detail"),
    "people_writable": Rule(
        _E, "others may write the keys of an issuer of people, and so approve anything", "chmod go-w the file and its folder"
    ),
    "folder_open": Rule(_E, "others may enter a folder that has to be ours alone", "chmod 700 it"),
    "folder_unusable": Rule(_E, "a folder cannot be used, so nothing is served", "see the detail; it has to be ours"),
    "record_keys_read_only": Rule(
        _W,
        "the keys of the record lie where nothing can be written: a start does not see that the record's end was cut off",
        "make the folder writable for us, and keep it out of reach of those who can write the record",
    ),
    "record_missing": Rule(_N, "nothing is recorded: nobody will know what was decided", "configure `record`"),
    "store_missing": Rule(_N, "there is no store, so no task can be opened", "configure `store.path`"),
    "witness_beside": Rule(
        _W,
        "the witness of the store lies with the database: a restored copy of both brings back what had ended",
        "configure `store.witness`, outside of what is copied and restored",
    ),
    "no_gates": Rule(
        _W, "no gate is configured, and no caller has a role for decisions", "configure `peps` or `roles.decision`"
    ),
    "development_on": Rule(_W, "development mode: nobody is authenticated", "configure `tls` and `trust` where it matters"),
    # ---- the clock
    "clock_unsynchronised": Rule(
        _W,
        "the kernel says that the clock is not synchronised, and everything here ends by the clock",
        "run chrony or timesyncd",
    ),
    "clock_wrong": Rule(_E, "the clock cannot be right: it is before this version was made", "set the clock"),
    # ---- Envoy
    "envoy_no_check": Rule(
        _E, "no ext_authz filter at all: nothing is asked", "add `envoy.filters.http.ext_authz` to each chain"
    ),
    "envoy_connect": Rule(
        _W,
        "the gate opens tunnels: nobody checks what is asked in one, and a path that was decided on may not come through",
        "take CONNECT out of `upgrade_configs`, and `connect_matcher` out of routes",
    ),
    "envoy_listener_without_check": Rule(
        _W, "a chain without ext_authz beside others that have it", "add it, or drop the listener"
    ),
    "envoy_failure_mode_allow": Rule(
        _E, "requests pass when the decision point cannot be asked", "failure_mode_allow: false"
    ),
    "envoy_no_peer_certificate": Rule(
        _E, "the caller's certificate is not sent, and without it there is no identity", "include_peer_certificate: true"
    ),
    "envoy_no_downstream_tls": Rule(
        _E,
        "the chain takes connections without TLS, so nobody has an identity",
        "add a `transport_socket` with a client certificate",
    ),
    "envoy_client_certificate_optional": Rule(
        _E, "a client may come without a certificate", "require_client_certificate: true"
    ),
    "envoy_accepts_untrusted": Rule(
        _E, "certificates that nobody signed are accepted, and are sent as if they were good", "remove ACCEPT_UNTRUSTED"
    ),
    "envoy_no_validation": Rule(
        _E,
        "nothing says what client certificates are verified against",
        "a validation context with the trust bundle, or by SDS",
    ),
    "envoy_expired_accepted": Rule(_E, "expired certificates are accepted", "remove allow_expired_certificate"),
    "envoy_route_without_check": Rule(
        _E,
        "a route, an upgrade or the filter itself goes without the check",
        "remove `disabled: true`; put the check into the filters of the upgrade",
    ),
    "envoy_check_sampled": Rule(_E, "a switch outside decides which requests are checked", "remove filter_enabled"),
    "envoy_metadata_decides": Rule(
        _E,
        "metadata can take the place of a decision, and headers can become metadata",
        "remove check_response_metadata_key",
    ),
    "envoy_no_stream_cap": Rule(
        _E,
        "a stream or connection, once allowed, may outlive every grant",
        "max_stream_duration, or for TCP max_downstream_connection_duration, at most the longest task",
    ),
    "envoy_connects_early": Rule(
        _W,
        "the service behind is connected before anything is decided: it is kept busy, and heard if it speaks first",
        "upstream_connect_mode: ON_DOWNSTREAM_DATA and max_early_data_bytes in the tcp_proxy",
    ),
    "envoy_no_timeout": Rule(_W, "how long to wait for a decision is left to a default", "timeout: 0.2s in grpc_service"),
    "envoy_timeout_long": Rule(
        _W, "a request waits very long, or for ever, for a decision point that hangs", "a timeout between 50 ms and 1 s"
    ),
    "envoy_xfcc_forwarded": Rule(
        _E,
        "what a client writes into x-forwarded-client-cert is passed on",
        "forward_client_cert_details: SANITIZE_SET or SANITIZE",
    ),
    "envoy_path_not_canonical": Rule(
        _W,
        "the path that is decided about may differ from the one that is served",
        "normalize_path, merge_slashes, path_with_escaped_slashes_action: REJECT_REQUEST",
    ),
    "envoy_underscores": Rule(
        _W, "`task_grant` may be read as `task-grant` behind the gate", "headers_with_underscores_action: REJECT_REQUEST"
    ),
    "envoy_partial_body": Rule(_E, "a rule may be shown half of a body", "allow_partial_message: false"),
    "envoy_route_cache_cleared": Rule(
        _W, "the route may change after the decision was made about it", "clear_route_cache: false"
    ),
    "envoy_filter_before": Rule(
        _W,
        "a filter that can rewrite requests stands before the check, and another may stand behind it",
        "put ext_authz first, after what authenticates",
    ),
    "envoy_raw_headers": Rule(
        _N, "repeated headers are joined before they are sent, so their number cannot be seen", "encode_raw_headers: true"
    ),
    "envoy_session_tickets": Rule(
        _W, "a resumed session shows no certificate that was verified now", "disable_stateless_session_resumption: true"
    ),
    "envoy_decisions_unencrypted": Rule(
        _E,
        "decisions are fetched without TLS over a network: anyone on the way can allow",
        "a TLS transport socket in the cluster",
    ),
    "envoy_unreadable": Rule(_E, "the file is not an Envoy configuration that can be read", "see the detail"),
}
