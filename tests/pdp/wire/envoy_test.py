"""E-1 to E-12 and catalogue A: each row is a real request, changed in one thing, and the code that it gets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from language import Source, compile_policies
from pdp.model.ask import Ask
from pdp.model.gates import Bearer, UsersFrom, Xfcc
from pdp.wire.envoy import MESSAGE_BYTES_MAX, correlation_in, read_check
from pdp.wire.envoy_path import Routes
from pdp.wire.messages import ENVOY
from pdp.wire.refusals import UNFIT, Unfit
from tests.pdp.identity.world import HOUR, ID, NOW, WORLD, key
from tests.pdp.wire.captures import (
    CHAIN,
    DESTINATION,
    GATE,
    GATE_ID,
    LEAF,
    LEAF_ENCODED,
    ROUTES,
    asked,
    encoded,
    http_request,
    tcp_request,
    to_path,
    with_headers,
    with_raw_headers,
)

TOKEN = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"


def is_asked(found: Any) -> Ask:
    assert isinstance(found, Ask), found
    return found


def in_http(**fields: Any) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        for name, value in fields.items():
            setattr(request.attributes.request.http, name, value)

    return change


def of_source(**fields: Any) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        for name, value in fields.items():
            setattr(request.attributes.source, name, value)

    return change


def before(principal: str) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        request.attributes.destination.principal = principal

    return change


def all_of(*changes: Callable[[Any], None]) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        for each in changes:
            each(request)

    return change


def to_host(host: str) -> Callable[[Any], None]:
    return all_of(in_http(host=host), with_headers(**{":authority": host}))


def by_method(method: str) -> Callable[[Any], None]:
    return all_of(in_http(method=method), with_headers(**{":method": method}))


def unmade(request: Any) -> None:
    request.Clear()


def both_forms(request: Any) -> None:
    request.attributes.request.http.header_map.headers.add(key="accept", raw_value=b"*/*")


def without_certificate(request: Any) -> None:
    request.attributes.source.ClearField("certificate")


def users(name: Any) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        metadata = ENVOY.find("envoy.config.core.v3.Metadata")()
        payload = metadata.filter_metadata["envoy.filters.http.jwt_authn"].fields["payload"].struct_value
        if isinstance(name, str):
            payload.fields["sub"].string_value = name
        else:
            payload.fields["sub"].number_value = name
        request.attributes.metadata_context = metadata.SerializeToString()

    return change


BY_METADATA = {"users": frozenset({"User"}), "users_from": UsersFrom(("payload", "sub"), "User")}

#: Number, what is changed, the code; and what is changed about the gate.
ROWS: dict[str, tuple[str, Callable[[Any], None], str, dict[str, Any]]] = {
    # E-1, E-6: what the gate may say
    "destination-not-listed": ("E-1", before(f"{GATE_ID}/other"), "destination_not_asserted", {}),
    "destination-not-listed-2": ("E-6", before("spiffe://dev.test/ns/db/people"), "destination_not_asserted", {}),
    "user-that-is-a-number": ("E-6", users(7), "user_not_asserted", BY_METADATA),
    "metadata-that-are-none": (
        "E-6",
        lambda r: setattr(r.attributes, "metadata_context", b"\xff"),
        "malformed",
        BY_METADATA,
    ),
    # E-2: the certificate
    "certificate-is-der": ("E-2", of_source(certificate="0%82"), "certificate_unreadable", {}),
    "certificate-is-empty-pem": (
        "E-2",
        of_source(certificate=quote("-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n")),
        "certificate_unreadable",
        {},
    ),
    "two-certificates": ("E-2", of_source(certificate=encoded(LEAF, LEAF)), "certificate_unreadable", {}),
    "certificate-and-more": ("E-2", of_source(certificate=LEAF_ENCODED + "x"), "certificate_unreadable", {}),
    "certificate-with-base64-in-another-form": (  # Finding F13: `QUJD=` was read as `QUJD`
        "E-2",
        of_source(certificate=quote("-----BEGIN CERTIFICATE-----\nQUJD=\n-----END CERTIFICATE-----\n")),
        "certificate_unreadable",
        {},
    ),
    "certificate-not-encoded-utf8": ("E-2", of_source(certificate="%ff" + LEAF_ENCODED), "certificate_unreadable", {}),
    "certificate-is-large": ("47", of_source(certificate=LEAF_ENCODED * 120), "too_large", {}),
    # E-3, E-4: the path
    "xfcc-with-two-ids": (
        "E-4",
        with_headers(x_forwarded_client_cert=f"By={GATE_ID};Hash={'0' * 64};URI={ID};URI={ID}2"),
        "xfcc_several_ids",
        {"xfcc": Xfcc.SANITIZE_SET},
    ),
    # E-7: headers
    "both-forms": ("E-7", both_forms, "ambiguous_headers", {}),
    "grant-joined": ("E-7", with_headers(task_grant=f"{TOKEN},{TOKEN}"), "several_credentials", {}),
    "grant-twice": (
        "E-7",
        with_raw_headers(("task-grant", TOKEN.encode()), ("task-grant", TOKEN.encode())),
        "several_credentials",
        {},
    ),
    "proof-joined": ("E-7", with_headers(task_proof=f"{TOKEN}, {TOKEN}"), "several_credentials", {}),
    "grant-with-a-blank": ("E-7", with_headers(task_grant=f"{TOKEN} "), "malformed_credential", {}),
    "grant-is-empty": ("E-7", with_headers(task_grant=""), "malformed_credential", {}),
    "grant-is-large": ("E-7", with_headers(task_grant="a" * 8193), "credential_too_large", {}),
    "authorization-twice": (
        "E-7",
        with_raw_headers(("authorization", b"Bearer a"), ("authorization", b"Bearer b")),
        "several_credentials",
        {},
    ),
    "authorization-joined": (
        "E-7",
        with_headers(authorization=f"Bearer {TOKEN},Bearer {TOKEN}"),
        "several_credentials",
        {"bearer": Bearer.USER},
    ),
    "authorization-is-basic": (
        "E-7",
        with_headers(authorization="Basic YTpi"),
        "malformed_credential",
        {"bearer": Bearer.USER},
    ),
    "authorization-is-large": (
        "E-7",
        with_headers(authorization="Bearer " + "a" * 9000),
        "credential_too_large",
        {"bearer": Bearer.WORKLOAD},
    ),
    "too-many-headers": (
        "E-7",
        with_headers(**{f"x-{n}": "1" for n in range(1001)}),
        "too_many_headers",
        {},
    ),
    "too-many-raw-headers": (
        "E-7",
        with_raw_headers(*((f"x-{n}", b"1") for n in range(1001))),
        "too_many_headers",
        {},
    ),
    "one-header-in-both-forms": (
        "E-7",
        all_of(
            with_raw_headers(("x", b"1")),
            lambda r: setattr(r.attributes.request.http.header_map.headers[0], "value", "2"),
        ),
        "ambiguous_headers",
        {},
    ),
    "header-in-upper-case": ("E-7", with_headers(**{"X-Role": "a"}), "malformed_header", {}),
    "header-without-name": ("E-7", with_headers(**{"": "a"}), "malformed_header", {}),
    "header-with-a-newline-in-its-name": ("20", with_headers(**{"a\nb": "a"}), "malformed_header", {}),
    # E-8 and catalogue A
    "double-slash-authority": ("1", to_path("//admin/x"), "non_canonical_path", {}),
    "dot-segments": ("2", to_path("/tables/../tables"), "non_canonical_path", {}),
    "dot-segments-encoded": ("2", to_path("/tables/%2e%2e"), "non_canonical_path", {}),
    "encoded-slash": ("3", to_path("/tables/a%2Fb"), "non_canonical_path", {}),
    "encoded-backslash": ("3", to_path("/tables/a%5Cb"), "non_canonical_path", {}),
    "backslash": ("3", to_path("/tables/a\\b"), "malformed_path", {}),
    "double-encoding": ("4", to_path("/tables/%252e%252e"), "non_canonical_path", {}),
    "bad-escape": ("5", to_path("/tables/%zz"), "malformed_path", {}),
    "lone-percent": ("5", to_path("/tables/a%"), "malformed_path", {}),
    "nul": ("5", to_path("/tables/%00"), "malformed_path", {}),
    "merge-slashes": ("6", to_path("/tables//invoices"), "non_canonical_path", {}),
    "fragment": ("7", to_path("/tables/invoices#x"), "malformed_path", {}),
    "fragment-in-query": ("7", to_path("/tables/invoices?a=1#x"), "malformed_path", {}),
    "fragment-encoded": ("7", to_path("/tables/invoices%23x"), "non_canonical_path", {}),
    "query-apart": ("8", in_http(query="columns=secret"), "malformed_path", {}),
    "fragment-apart": ("8", in_http(fragment="x"), "malformed_path", {}),
    "query-with-blank": ("8", to_path("/tables/invoices?columns=a b"), "malformed_query", {}),
    "query-with-bad-escape": ("8", to_path("/tables/invoices?columns=%zz"), "malformed_query", {}),
    "semicolon-params": ("9", to_path("/tables/invoices;x=1"), "non_canonical_path", {}),
    "trailing-slash": ("10", to_path("/tables/invoices/"), "non_canonical_path", {}),
    "no-leading-slash": ("11", to_path("tables/invoices"), "malformed_path", {}),
    "asterisk": ("11", to_path("*"), "malformed_path", {}),
    "absolute-form": ("11", to_path("http://api.acme.internal/tables/invoices"), "malformed_path", {}),
    "empty-path": ("11", to_path(""), "malformed_path", {}),
    "utf8-overlong": ("12", to_path("/tables/%c0%af"), "malformed_path", {}),
    "utf8-raw": ("12", to_path("/tables/caf\u00e9"), "malformed_path", {}),
    "method-in-lower-case": ("13", by_method("get"), "no_route", {}),
    "connect-with-a-path": ("S9", all_of(by_method("CONNECT"), to_path("/tables/a")), "connect_with_path", {}),
    "connect-with-the-root": ("S9", all_of(by_method("CONNECT"), to_path("/")), "connect_with_path", {}),
    "connect-extended": (
        "S9",
        all_of(by_method("CONNECT"), to_path(""), with_headers(**{":protocol": "bytestream"})),
        "connect_with_path",
        {},
    ),
    "connect-without-a-route": ("S9", all_of(by_method("CONNECT"), to_path("")), "no_route", {}),
    "method-with-a-blank": ("13", by_method("GET "), "no_route", {}),
    "method-unknown": ("13", by_method("PROPFIND"), "no_route", {}),
    "method-overridden": (
        "13",
        all_of(by_method("DELETE"), with_headers(x_http_method_override="GET")),
        "no_route",
        {},
    ),
    "host-with-userinfo": ("14", to_host("api.acme.internal@evil.example"), "malformed_host", {}),
    "host-of-another": ("14", to_host("api.acme.internal.evil.example"), "no_route", {}),
    "host-with-port": ("14", to_host("api.acme.internal:8443"), "no_route", {}),
    "host-not-ascii": ("14", to_host("\uff41pi.acme.internal"), "malformed_host", {}),
    "host-empty": ("14", to_host(""), "no_route", {}),
    "host-mismatch": ("15", with_headers(host="other.acme.internal"), "conflicting_host", {}),
    "authority-mismatch": ("15", with_headers(**{":authority": "other"}), "conflicting_host", {}),
    "path-mismatch": ("E-8", with_headers(**{":path": "/tables/latest"}), "conflicting_request", {}),
    "method-mismatch": ("E-8", with_headers(**{":method": "POST"}), "conflicting_request", {}),
    "header-twice-read-as-one": (
        "16",
        all_of(
            to_path("/tables/invoices/rows"),
            by_method("POST"),
            with_raw_headers(("x-reason", b"fix"), ("x-reason", b"other")),
            lambda r: [
                setattr(h, "raw_value", v)
                for h in r.attributes.request.http.header_map.headers
                for n, v in ((":path", b"/tables/invoices/rows"), (":method", b"POST"))
                if h.key == n
            ],
        ),
        "ambiguous_value",
        {},
    ),
    "underscore-header": (
        "18",
        with_raw_headers(("task_grant", b"x")),
        "underscore_header",
        {},
    ),
    "underscore-xfcc": ("18", with_raw_headers(("x_forwarded_client_cert", b"x")), "underscore_header", {}),
    "underscore-of-ours": (
        "18",
        with_raw_headers(("x_workload", b"x")),
        "underscore_header",
        {"headers": {"x-workload": "workload"}},
    ),
    "header-not-utf8-read": (
        "19",
        all_of(
            with_raw_headers(("x-reason", b"fi\xffx")),
            lambda r: [
                setattr(h, "raw_value", v)
                for h in r.attributes.request.http.header_map.headers
                for n, v in ((":path", b"/tables/invoices/rows"), (":method", b"POST"))
                if h.key == n
            ],
            in_http(path="/tables/invoices/rows", method="POST"),
        ),
        "malformed_header",
        {},
    ),
    "grant-not-utf8": ("19", with_raw_headers(("task-grant", b"a\xff")), "malformed_credential", {}),
    "nul-in-header": ("20", with_headers(accept="a\x00b"), "malformed_header", {}),
    "crlf-in-header": ("20", with_headers(accept="a\r\nx-user: b"), "malformed_header", {}),
    "crlf-in-raw-header": ("20", with_raw_headers(("x", b"a\nb")), "malformed_header", {}),
    "grpc-path-extra-slash": ("25", to_path("//pkg.Svc/Method"), "non_canonical_path", {}),
    "grpc-path-case": ("25", to_path("/Tables/invoices"), "no_route", {}),
    "missing-query-value": ("E-8", to_path("/tables/invoices/export"), "missing_value", {}),
    "query-value-twice": ("16", to_path("/tables/invoices/export?format=csv&format=pdf"), "ambiguous_value", {}),
    "long-path": ("47", to_path("/tables/" + "a" * 9000), "too_large", {}),
    # E-10, E-12
    "nothing": ("E-12", unmade, "empty_request", {}),
    "only-a-destination": ("E-12", all_of(unmade, before(GATE_ID)), "empty_request", {}),
    "only-a-principal": ("E-12", all_of(unmade, of_source(principal=ID)), "no_peer_certificate", {}),
    "message-too-large": ("47", with_headers(accept="a" * MESSAGE_BYTES_MAX), "too_large", {}),
}


@pytest.mark.parametrize("name", ROWS)
def test_refused(name: str) -> None:
    _, change, code, gate = ROWS[name]
    found = asked(change, **gate)
    assert isinstance(found, Unfit), found
    assert found.code == code
    assert found.message.startswith(UNFIT[code].says)


def test_every_row_is_one_thing_away_from_success() -> None:
    assert is_asked(asked())
    assert is_asked(asked(start=tcp_request))
    assert is_asked(asked(with_raw_headers()))


TCP_ROWS: dict[str, tuple[str, Callable[[Any], None], str]] = {
    "no-certificate": ("E-10", without_certificate, "no_peer_certificate"),
    "no-destination": ("N-3", before(""), "no_destination"),
    "destination-not-listed": ("E-1", before("spiffe://dev.test/ns/db/people"), "destination_not_asserted"),
    "destination-without-route": ("N-3", before(GATE_ID), "no_route"),
    "certificate-unreadable": ("E-2", of_source(certificate="x"), "certificate_unreadable"),
}


@pytest.mark.parametrize("name", TCP_ROWS)
def test_a_connection_is_refused(name: str) -> None:
    _, change, code = TCP_ROWS[name]
    found = asked(change, tcp_request)
    assert isinstance(found, Unfit), found
    assert found.code == code


@pytest.mark.parametrize(
    "raw", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", http_request().SerializeToString()[:-1], b"\x0a\x02\x1a\x05"]
)
def test_undecodable_bytes_are_a_refusal(raw: bytes) -> None:
    found = read_check(raw, GATE, ROUTES)
    assert isinstance(found, Unfit)
    assert found.code == "malformed"


def test_invalid_utf8_in_the_path_is_malformed() -> None:
    """Catalogue 19: the whole message cannot be decoded, and that is a denial, not an error of gRPC."""
    raw = http_request().SerializeToString().replace(b"/tables/invoices", b"/tables/\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8")
    found = read_check(raw, GATE, ROUTES)
    assert isinstance(found, Unfit)
    assert found.code == "malformed"


# ---- what is read


def test_what_an_http_request_means() -> None:
    found = is_asked(asked())
    assert (found.action, found.resource.type, found.resource.id) == ("select", "Table", "invoices")
    assert found.context == {"columns": ["id"]}
    assert found.shown is not None
    assert (found.shown.certificates, found.shown.whole_path, found.shown.principal) == ((LEAF,), False, ID)
    assert (found.itself, found.user, found.grant, found.proof, found.consumed) == (False, None, None, None, ())
    assert found.correlation == "0f0c1a3e-5a0e-4a4c-9a6c-0d8f3c1c9f10"


def test_what_a_connection_means() -> None:
    found = is_asked(asked(start=tcp_request))
    assert (found.action, found.resource.id, found.destination) == ("connect", "ledger", DESTINATION)
    assert (found.grant, found.itself) == (None, False)


def test_distinct_paths_stay_distinct() -> None:
    """Catalogue 10: nothing is trimmed."""
    ids = [
        is_asked(asked(to_path(f"/tables/{p}"))).resource.id for p in ("invoices", "invoices.", "invoices%20", "Invoices")
    ]
    assert ids == ["invoices", "invoices.", "invoices ", "Invoices"]


@pytest.mark.parametrize(
    "host", ["API.acme.internal", "api.acme.internal:443", "api.acme.internal.", "api.acme.INTERNAL.:80"]
)
def test_a_host_is_compared_as_hosts_are(host: str) -> None:
    """Catalogue 14."""
    found = is_asked(asked(all_of(to_host(host), with_headers(task_proof=TOKEN, task_grant=TOKEN))))
    assert found.target is not None
    assert found.target.uri == "https://api.acme.internal/tables/invoices"


@pytest.mark.parametrize(
    "change",
    [
        with_headers(x_forwarded_client_cert=f"By={GATE_ID};URI=spiffe://dev.test/admin"),
        with_headers(x_spiffe_id="spiffe://dev.test/admin"),
        with_headers(x_envoy_downstream_service_cluster="admin", x_forwarded_for="10.0.0.1"),
        with_headers(connection="authorization, task-grant"),
    ],
)
def test_headers_are_never_an_identity(change: Callable[[Any], None]) -> None:
    """Catalogue 21, 22, E-5: what a client can write changes nothing about who it is."""
    assert is_asked(asked(change)).shown == is_asked(asked()).shown
    nobody = is_asked(asked(all_of(change, without_certificate)))
    assert nobody.shown is None
    assert not nobody.itself


def test_no_certificate_is_no_identity_whatever_the_principal_says() -> None:
    found = is_asked(asked(without_certificate))
    assert found.shown is None
    assert not found.itself


def test_unknown_fields_are_ignored() -> None:
    """E-12: a newer Envoy says more. `source.service` and labels are among what is skipped."""
    extra = b"\x0a\x0b" + b"\x0a\x09" + b"\x12\x07billing"  # attributes.source.service
    known = http_request().SerializeToString()
    assert read_check(known + extra + b"\xfa\x3f\x01x", GATE, ROUTES) == read_check(known, GATE, ROUTES)


def test_a_comma_is_not_split() -> None:
    """Catalogue 17."""
    change = all_of(to_path("/tables/a/rows"), by_method("POST"), with_headers(x_reason="fix,other"))
    assert is_asked(asked(change)).context == {"reason": "fix,other"}


def test_underscores_of_others_are_others() -> None:
    """Catalogue 18: `x_user` is not `x-user`."""
    change = all_of(to_path("/tables/a/rows"), by_method("POST"), with_headers(**{"x-reason": "fix"}))

    def look_alike(request: Any) -> None:
        change(request)
        request.attributes.request.http.headers["x_reason"] = "other"

    assert is_asked(asked(look_alike)).context == {"reason": "fix"}


@pytest.mark.parametrize("bearer", list(Bearer))
def test_what_a_bearer_token_is_for_is_the_gates_configuration(bearer: Bearer) -> None:
    found = is_asked(asked(with_headers(authorization=f"Bearer {TOKEN}"), bearer=bearer))
    assert found.user_token == (TOKEN if bearer is Bearer.USER else None)
    assert found.shown is not None
    assert found.shown.token == (TOKEN if bearer is Bearer.WORKLOAD else None)
    assert found.consumed == (() if bearer is Bearer.IGNORE else ("authorization",))


def test_credentials_are_consumed() -> None:
    """A-5."""
    change = with_headers(task_grant=TOKEN, task_proof=TOKEN, txn_token=TOKEN, authorization="Basic YTpi")
    found = is_asked(asked(change))
    assert (found.grant, found.proof) == (TOKEN, TOKEN)
    assert set(found.consumed) == {"task-grant", "task-proof", "txn-token"}
    assert TOKEN not in repr(found)


BODY = b'{"a": 1}'
DIGEST = hashlib.sha256(BODY).digest()


@pytest.mark.parametrize(
    ("change", "digest"),
    [
        (all_of(in_http(body=BODY), with_headers(x_envoy_auth_partial_body="false")), DIGEST),
        (all_of(in_http(raw_body=BODY), with_headers(x_envoy_auth_partial_body="false", content_length="8")), DIGEST),
        (with_headers(x_envoy_auth_partial_body="false"), hashlib.sha256(b"").digest()),
        (all_of(in_http(body=BODY), with_headers(x_envoy_auth_partial_body="true")), None),
        (all_of(in_http(body=BODY), with_headers(x_envoy_auth_partial_body="false", content_length="9")), None),
        (all_of(in_http(body=BODY, raw_body=BODY), with_headers(x_envoy_auth_partial_body="false")), None),
        (in_http(body=BODY), None),
        (with_headers(content_length="0"), None),
    ],
)
def test_a_body_counts_only_whole(change: Callable[[Any], None], digest: bytes | None) -> None:
    """E-9, catalogue 23."""
    found = is_asked(asked(all_of(with_headers(task_grant=TOKEN, task_proof=TOKEN), change)))
    assert found.target is not None
    assert (found.target.method, found.target.body_sha256) == ("GET", digest)


def test_a_target_has_no_query() -> None:
    found = is_asked(asked(with_headers(task_proof=TOKEN), scheme="http"))
    assert found.target is not None
    assert found.target.uri == "http://api.acme.internal/tables/invoices"


@pytest.mark.parametrize(
    ("change", "correlation"),
    [
        (with_headers(x_request_id="abc"), "abc"),
        (with_headers(x_request_id="a" * 129), None),
        (with_headers(x_request_id="caf\u00e9"), None),
        (with_raw_headers(("x-request-id", b"abc")), "12345678901234567890"),  # twice: neither
        (lambda r: r.attributes.request.http.headers.pop("x-request-id"), "12345678901234567890"),
    ],
)
def test_the_correlation_id_is_that_of_the_request(change: Callable[[Any], Any], correlation: str | None) -> None:
    assert is_asked(asked(change)).correlation == correlation


@pytest.mark.parametrize("change", [to_path("//x"), with_headers(accept="a\nb"), both_forms], ids=["path", "value", "forms"])
def test_a_refused_request_has_its_correlation_id_too(change: Callable[[Any], Any]) -> None:
    request = http_request()
    request.attributes.request.http.headers["x-request-id"] = "abc"
    assert change(request) is None
    raw = request.SerializeToString()
    assert isinstance(read_check(raw, GATE, ROUTES), Unfit)
    assert correlation_in(raw) == "abc"


@pytest.mark.parametrize("raw", [b"", b"\xff", tcp_request().SerializeToString(), bytes(MESSAGE_BYTES_MAX + 1)])
def test_what_has_no_correlation_id_has_none(raw: bytes) -> None:
    assert correlation_in(raw) is None


@pytest.mark.parametrize(("location", "expected"), [(True, {"ip": "10.1.2.3", "port": 4711}), (False, {})])
def test_a_location_is_told_only_by_gates_that_may(location: bool, expected: dict[str, Any]) -> None:
    def change(request: Any) -> None:
        address = ENVOY.find("envoy.config.core.v3.Address")()
        address.socket_address.address, address.socket_address.port_value = "10.1.2.3", 4711
        request.attributes.source.address = address.SerializeToString()

    assert is_asked(asked(change, location=location)).location == expected


def test_a_user_of_another_filter() -> None:
    assert is_asked(asked(users("ada"))).user is None
    found = is_asked(asked(users("ada"), **BY_METADATA))
    assert found.user is not None
    assert (found.user.type, found.user.id) == ("User", "ada")
    assert is_asked(asked(**BY_METADATA)).user is None


def test_a_route_is_read_once_and_means_the_same() -> None:
    first, second = is_asked(asked()), is_asked(asked())
    assert first == second
    assert first.resource is second.resource


GRPC = """language 1
entity Table
action select on Table
allow r { who anyone do select on Table }
routes http "api.acme.internal" { POST /acme.v1.Ledger/Read -> select on Table("invoices") }
"""


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/acme.v1.Ledger/Read", None),
        ("/acme.v1.Ledger/read", "no_route"),
        ("/acme.v1.Ledger/Read/", "non_canonical_path"),
        ("/acme.v1.Ledger//Read", "non_canonical_path"),
        ("acme.v1.Ledger/Read", "malformed_path"),
    ],
)
def test_a_call_of_grpc_is_a_route(path: str, code: str | None) -> None:
    """Catalogue 11, 25."""
    routes = Routes(compile_policies([Source("grpc.policy", GRPC)]))
    request = http_request()
    all_of(to_path(path), by_method("POST"), with_headers(content_type="application/grpc"))(request)
    found = read_check(request.SerializeToString(), GATE, routes)
    assert getattr(found, "code", None) == code


# ---- E-4: the forwarded certificate

HASH = hashlib.sha256(LEAF).hexdigest()
CHAIN_ENCODED = encoded(*CHAIN)
OTHER_CHAIN = WORLD.certificates(ID, key().public_key(), NOW, HOUR)


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        (f'By={GATE_ID};Hash={HASH};Chain="{CHAIN_ENCODED}"', True),
        (f'By={GATE_ID};Hash={HASH};Cert="x";Subject="CN=\\"a,b;c\\"";URI={ID};Chain="{CHAIN_ENCODED}"', True),
        (f'By={GATE_ID};Hash={HASH.upper()};Chain="{CHAIN_ENCODED}"', False),
        (f'By={GATE_ID};Hash={"0" * 64};Chain="{CHAIN_ENCODED}"', False),
        (f'By={DESTINATION};Hash={HASH};Chain="{CHAIN_ENCODED}"', False),
        (f'Hash={HASH};Chain="{CHAIN_ENCODED}"', False),
        (f'By={GATE_ID};By={GATE_ID};Hash={HASH};Chain="{CHAIN_ENCODED}"', False),
        (f'By={GATE_ID};Hash={HASH};Chain="{CHAIN_ENCODED}",By={GATE_ID};Hash={HASH}', False),
        (f'By={GATE_ID};Hash={HASH};Chain="{encoded(*OTHER_CHAIN)}"', False),
        (f'By={GATE_ID};Hash={HASH};Chain="{encoded(*reversed(CHAIN))}"', False),
        (f'By={GATE_ID};Hash={HASH};Chain="nonsense"', False),
        (f'By={GATE_ID};Hash={HASH};Chain="%ff"', False),
        (f'By={GATE_ID};Hash={HASH};Chain="{CHAIN_ENCODED}";', False),
        (f'By={GATE_ID};Hash={HASH};Chain="{CHAIN_ENCODED}"x', False),
        (f'By={GATE_ID};Hash={HASH};Evil=1;Chain="{CHAIN_ENCODED}"', False),
        (f'By={GATE_ID};Hash={HASH};Chain="{CHAIN_ENCODED}', False),
        (f"By={GATE_ID};Hash={HASH}", False),
        ("", False),
    ],
)
def test_a_forwarded_chain_counts_when_all_of_it_fits(value: str, whole: bool) -> None:
    found = is_asked(asked(with_headers(x_forwarded_client_cert=value), xfcc=Xfcc.SANITIZE_SET))
    assert found.shown is not None
    assert found.shown.whole_path is whole
    assert found.shown.certificates == (CHAIN if whole else (LEAF,))
    ignored = is_asked(asked(with_headers(x_forwarded_client_cert=value)))
    assert ignored.shown is not None
    assert not ignored.shown.whole_path


def test_every_rule_has_a_row() -> None:
    numbers = {row[0] for row in [*ROWS.values(), *TCP_ROWS.values()]}
    assert {f"E-{n}" for n in (1, 2, 4, 6, 7, 8, 10, 12)} <= numbers  # 3: shown_test; 5, 9, 11: above
    assert {str(n) for n in range(1, 26) if n not in (17, 21, 22, 23, 24)} <= numbers  # likewise


def wire(number: int, content: bytes) -> bytes:
    """A field with bytes in it."""
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def entry(name: str, value: bytes) -> bytes:
    """An entry of a map with a field that nobody knows."""
    return wire(1, name.encode()) + wire(2, value) + wire(3, b"?")


def http_with(raw: bytes) -> bytes:
    """A good request, and more of `attributes.request.http`."""
    return http_request().SerializeToString() + wire(1, wire(4, wire(2, raw)))


UNSEEN = {
    "a credential": http_with(wire(3, entry("task-grant", b"e30"))),
    "any header": http_with(wire(3, entry("x-tenant", b"other"))),
    "a path that is a number": http_with(bytes([4 << 3, 7])),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_protobuf_drops_is_not_unseen(name: str) -> None:
    """Finding S11: a header whose entry has a field that protobuf does not know was dropped, as if it had not been sent."""
    found = read_check(UNSEEN[name], GATE, ROUTES)
    assert isinstance(found, Unfit)
    assert found.code == "malformed"


def test_a_newer_field_of_a_request_is_skipped() -> None:
    known = http_request().SerializeToString()
    assert read_check(http_with(wire(10, b"HTTP/2") + wire(14, b"?")), GATE, ROUTES) == read_check(known, GATE, ROUTES)


def test_a_user_whom_protobuf_drops_is_not_unseen() -> None:
    """A brother of it: the map of the metadata, and each below."""
    text = wire(3, b"ada")
    whole = entry("envoy.filters.http.jwt_authn", wire(1, entry("payload", wire(5, b""))))
    inner = wire(1, b"envoy.filters.http.jwt_authn") + wire(
        2, wire(1, entry("payload", wire(5, wire(1, entry("sub", text)))))
    )
    for dropped in (whole, inner):
        raw = http_request().SerializeToString() + wire(1, wire(11, wire(1, dropped)))
        found = read_check(raw, replace(GATE, **BY_METADATA), ROUTES)
        assert isinstance(found, Unfit)
        assert found.code == "malformed"
