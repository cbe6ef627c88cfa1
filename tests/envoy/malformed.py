"""Section A of the fault catalogue as bytes on a socket: each row one thing away from a request that is allowed.

`says` is the reason that the decision point gives behind an Envoy that lets everything through that it can. `ENVOY`: Envoy
itself does not take it, whatever its settings, with 400 or by closing the connection.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.envoy.stand import HOST, request

ENVOY = "envoy"
BODY = b"x" * 200  # more than the lax gate sends along


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    name: str
    raw: bytes
    says: str


def _get(number: int, name: str, target: str, says: str, *lines: str | bytes) -> Row:
    return Row(number, name, request("GET", target, *lines), says)


NON_CANONICAL, MALFORMED, NO_ROUTE = "non_canonical_path", "malformed_path", "no_route"

ROWS = (
    _get(1, "double slash, read as an authority", "//admin/x", NON_CANONICAL),
    _get(1, "double slash before a page", "//home", NON_CANONICAL),
    _get(2, "dot segments", "/public/../admin", NON_CANONICAL),
    _get(2, "dot segment", "/./home", NON_CANONICAL),
    _get(2, "encoded dot segments", "/public/%2e%2e/admin", NON_CANONICAL),
    _get(2, "half encoded", "/pages/.%2E", NON_CANONICAL),
    _get(3, "encoded slash", "/pages%2Fhome", NON_CANONICAL),
    _get(3, "encoded backslash", "/pages%5Chome", NON_CANONICAL),
    _get(3, "backslash", "/pages\\home", MALFORMED),
    _get(4, "encoded twice", "/pages/%252e%252e", NON_CANONICAL),
    _get(5, "no hexadecimal", "/pages/%zz", MALFORMED),
    _get(5, "lone percent", "/pages/100%", MALFORMED),
    _get(5, "zero byte, encoded", "/pages/home%00", MALFORMED),
    _get(6, "empty segment", "/pages//home", NON_CANONICAL),
    _get(6, "many", "/pages///home", NON_CANONICAL),
    _get(7, "fragment", "/pages/home#x", ENVOY),
    _get(7, "encoded fragment", "/pages/home%23x", NON_CANONICAL),
    _get(9, "parameters", "/pages/home;x=1", NON_CANONICAL),
    _get(10, "slash at the end", "/pages/home/", NON_CANONICAL),
    _get(11, "no slash at the front", "pages/home", ENVOY),
    _get(11, "star", "*", ENVOY),
    _get(12, "overlong", "/pages/%c0%af", MALFORMED),
    _get(12, "not UTF-8", "/pages/%ff", MALFORMED),
    _get(12, "bytes above ASCII", "/pages/h\xf6me", ENVOY),
    Row(13, "lower-case method", request("get", "/pages/home"), ENVOY),
    Row(13, "unknown method", request("BREW", "/pages/home"), ENVOY),
    Row(13, "method of another route", request("DELETE", "/pages/home"), NO_ROUTE),
    Row(13, "method that is no word", request("G,T", "/pages/home"), ENVOY),
    Row(14, "user in the host", request("GET", "/pages/home", host=f"ada@{HOST}"), "malformed_host"),
    Row(14, "two hosts in one", request("GET", "/pages/home", host=f"{HOST},evil.example"), NO_ROUTE),
    Row(14, "no host", request("GET", "/pages/home", host=""), ENVOY),
    _get(15, "second host", "/pages/home", NO_ROUTE, "host: evil.example"),
    _get(15, "target with another authority", "http://evil.example/pages/home", NO_ROUTE),
    _get(16, "header twice that is read as one", "/pages/home", "ambiguous_value", "x-role: user", "x-role: admin"),
    _get(16, "query twice that is read as one", "/pages/home?q=1&q=2", "ambiguous_value"),
    _get(16, "credential twice", "/pages/home", "several_credentials", "task-grant: a.b.c", "task-grant: d.e.f"),
    _get(16, "credentials joined", "/pages/home", "several_credentials", "task-grant: a.b.c,d.e.f"),
    _get(18, "underscore beside a credential", "/pages/home", "underscore_header", "task_grant: a.b.c"),
    _get(18, "underscore beside an identity", "/pages/home", "underscore_header", "x_workload: spiffe://prod.acme/root"),
    _get(19, "value that is not UTF-8, and read", "/pages/home", "malformed_header", b"x-role: \xff\xfe"),
    _get(20, "zero byte in a value", "/pages/home", ENVOY, "x-other: a\x00b"),
    _get(20, "a line of nothing but a name", "/pages/home", ENVOY, "x-other"),
    _get(20, "blank before the colon", "/pages/home", ENVOY, "x-role : admin"),
    _get(8, "query with a bad escape", "/pages/home?q=%zz", "malformed_query"),
    _get(25, "gRPC path with a slash more", "/app.Pages//Read", NON_CANONICAL),
    Row(25, "gRPC path in another case", request("POST", "/app.pages/Read", body=b"\0" * 5), NO_ROUTE),
    Row(25, "gRPC path under a prefix", request("POST", "/x/app.Pages/Read", body=b"\0" * 5), NO_ROUTE),
    _get(0, "closed page", "/pages/admin", "denied"),
    _get(0, "closed page, encoded", "/pages/%61dmin", "denied"),
    _get(0, "malformed grant", "/pages/home", "malformed_credential", "task-grant: {}"),
    _get(0, "grant that nobody signed", "/pages/home", "token_not_compact", "task-grant: a.b.c"),
    _get(0, "grant that is too large", "/pages/home", "credential_too_large", f"task-grant: {'a' * 9_000}"),
)
