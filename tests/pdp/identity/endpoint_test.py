"""B-8: bundle endpoints, against real TLS servers on this machine; and bundles in files."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from pdp.errors import PdpError
from pdp.identity import NEVER, Origin, Refused, TrustStore, make_bundle, parse_workload_id, read_jwks
from pdp.identity.dev.certificates import changed, revocation_list
from pdp.identity.dev.domain import DevDomain, make_domain
from pdp.identity.dev.malformed_svids import SvidShape
from pdp.store.dev_domain import private_pem
from pdp.store.trust import EndpointSource, FileSource, SpiffeServer, Trust, WebServer, refresh
from tests.pdp.identity.world import HOUR, ROCA_KEY, SECOND, key, outcome, refused

#: OpenSSL asks the real clock, so here it is the start of everything.
NOW = time.time_ns() // 1000
PARTNER = make_domain("partner.test", key(), key(), key(), NOW, HOUR)
SERVER_ID = "spiffe://partner.test/bundles"
SERVER = SpiffeServer(parse_workload_id(SERVER_ID))

Answer = tuple[int, dict[str, str], bytes]


class Endpoint:
    """What the server answers, by path, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {"/bundle": (200, {}, PARTNER.bundle_document(5))}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.port = 0

    def url(self, path: str = "/bundle") -> str:
        return f"https://localhost:{self.port}{path}"


@contextmanager
def serving(folder: Path, chain: tuple[bytes, ...], private_key: Any) -> Iterator[Endpoint]:
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            endpoint.asked.append(self.path)
            endpoint.headers.append({k.lower(): v for k, v in self.headers.items()})
            status, headers, body = endpoint.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    folder.mkdir(exist_ok=True)
    (folder / "chain.pem").write_text("".join(map(ssl.DER_cert_to_PEM_cert, chain)))
    (folder / "key.pem").write_bytes(private_pem(private_key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is what some tests are about
    server.socket = context.wrap_socket(server.socket, server_side=True)
    endpoint.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def svid(change: Callable[[SvidShape], SvidShape] = lambda s: s, of: DevDomain = PARTNER) -> tuple[tuple[bytes, ...], Any]:
    made = key()
    return of.issue(change(of.shape(SERVER_ID, NOW, HOUR)), made.public_key()), made


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Endpoint]:
    """A server with an ordinary certificate for `localhost`."""

    def named(shape: SvidShape) -> SvidShape:
        return SvidShape(changed(shape.leaf, uris=(), dns=("localhost",)), shape.intermediate)

    with serving(tmp_path / "web", *svid(named)) as endpoint:
        (tmp_path / "ca.pem").write_bytes(PARTNER.bundle_pem())
        yield endpoint


@pytest.fixture
def spiffe(tmp_path: Path) -> Iterator[Endpoint]:
    with serving(tmp_path / "spiffe", *svid()) as endpoint:
        yield endpoint


def stored() -> TrustStore:
    """The partner's bundle as an operator put it there first."""
    return TrustStore().with_bundle(read_jwks("partner.test", PARTNER.bundle_document(), Origin("first", NOW)))


def web_source(endpoint: Endpoint, tmp_path: Path, path: str = "/bundle") -> EndpointSource:
    return EndpointSource("partner.test", endpoint.url(path), WebServer(tmp_path / "ca.pem"))


def test_https_web(web: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # no proxy of the environment takes part
    (found,) = web_source(web, tmp_path).read(TrustStore(), NOW)
    assert found.trust_domain == "partner.test"
    assert (found.sequence, found.source) == (5, web.url())
    assert found.fresh_until_us == NOW + 900 * SECOND
    assert "authorization" not in web.headers[0]


def test_https_web_under_other_authorities(web: Endpoint, tmp_path: Path) -> None:
    source = EndpointSource("partner.test", web.url(), WebServer())
    refused("endpoint_wrong_server", lambda: source.read(TrustStore(), NOW))
    by_address = EndpointSource("partner.test", web.url().replace("localhost", "127.0.0.1"), WebServer(tmp_path / "ca.pem"))
    refused("endpoint_wrong_server", lambda: by_address.read(TrustStore(), NOW))
    assert web.asked == []


def test_https_spiffe(spiffe: Endpoint) -> None:
    source = EndpointSource("partner.test", spiffe.url(), SERVER)
    assert source.read(stored(), NOW)[0].sequence == 5
    refused("no_bundle", lambda: source.read(TrustStore(), NOW))
    refused("bundle_stale", lambda: source.read(stored().fresh_until("partner.test", NOW - 1), NOW))
    assert len(spiffe.asked) == 1


def test_https_spiffe_wants_exactly_the_configured_id(spiffe: Endpoint) -> None:
    other = SpiffeServer(parse_workload_id("spiffe://partner.test/other"))
    refused("endpoint_wrong_server", lambda: EndpointSource("partner.test", spiffe.url(), other).read(stored(), NOW))
    assert spiffe.asked == []


WRONG_SERVERS: dict[str, tuple[str, Callable[[SvidShape], SvidShape]]] = {
    "a CA": ("leaf_is_ca", lambda s: SvidShape(changed(s.leaf, is_ca=True), s.intermediate)),
    "two ids": ("several_uri_names", lambda s: SvidShape(changed(s.leaf, uris=(SERVER_ID, SERVER_ID)), s.intermediate)),
    "signs certificates": (
        "leaf_signs_certificates",
        lambda s: SvidShape(changed(s.leaf, usage=frozenset({"digital_signature", "key_cert_sign"})), s.intermediate),
    ),
    "intermediate no ca": (
        "issuer_not_ca",
        lambda s: SvidShape(s.leaf, changed(s.intermediate, is_ca=False, path_length=None)),
    ),
    "Finding F15: intermediate of another domain": (
        "issuer_of_other_domain",
        lambda s: SvidShape(s.leaf, changed(s.intermediate, uris=("spiffe://other.test",))),
    ),
    "Finding F15: intermediate with the ID of a workload": (
        "issuer_with_workload_id",
        lambda s: SvidShape(s.leaf, changed(s.intermediate, uris=("spiffe://partner.test/ca",))),
    ),
    "Finding F15: intermediate that may not sign": (
        "issuer_may_not_sign",
        lambda s: SvidShape(s.leaf, changed(s.intermediate, usage=frozenset({"crl_sign"}))),
    ),
    "another domain in the leaf": (
        "no_bundle",
        lambda s: SvidShape(changed(s.leaf, uris=("spiffe://other.test/bundles",)), s.intermediate),
    ),
    "for clients only": (
        "wrong_extended_usage",
        lambda s: SvidShape(changed(s.leaf, extended_usage=(ExtendedKeyUsageOID.CLIENT_AUTH,)), s.intermediate),
    ),
    "expired": (
        "expired",
        lambda s: SvidShape(changed(s.leaf, not_before_us=NOW - 2 * HOUR, not_after_us=NOW - HOUR), s.intermediate),
    ),
}


@pytest.mark.parametrize("name", WRONG_SERVERS)
def test_https_spiffe_with_a_certificate_that_is_no_svid(name: str, tmp_path: Path) -> None:
    code, change = WRONG_SERVERS[name]
    with serving(tmp_path / "s", *svid(change)) as endpoint:
        refused(code, lambda: EndpointSource("partner.test", endpoint.url(), SERVER).read(stored(), NOW))
        assert endpoint.asked == []


def test_https_spiffe_of_the_same_name_with_other_keys(tmp_path: Path) -> None:
    impostor = make_domain("partner.test", key(), key(), key(), NOW, HOUR)
    with serving(tmp_path / "s", *svid(of=impostor)) as endpoint:
        source = EndpointSource("partner.test", endpoint.url(), SERVER)
        refused("untrusted_issuer", lambda: source.read(stored(), NOW))
        assert endpoint.asked == []


def test_https_spiffe_of_another_domain_under_the_same_name(tmp_path: Path) -> None:
    """Finding F15: an SVID of the configured ID below the authority of another domain that is trusted, too."""
    other = make_domain("other.test", key(), key(), key(), NOW, HOUR)
    both = stored().with_bundle(read_jwks("other.test", other.bundle_document(), Origin("test", NOW)))
    with serving(tmp_path / "s", *svid(of=other)) as endpoint:
        source = EndpointSource("partner.test", endpoint.url(), SERVER)
        refused("untrusted_issuer", lambda: source.read(both, NOW))
        assert endpoint.asked == []


def test_https_spiffe_with_a_certificate_that_is_revoked(tmp_path: Path) -> None:
    """Finding F15: lists of the domain are asked here, too."""
    chain, private = svid()
    serial = x509.load_der_x509_certificate(chain[0]).serial_number
    with serving(tmp_path / "s", chain, private) as endpoint:
        source = EndpointSource("partner.test", endpoint.url(), SERVER)
        for serials, code in (({}, ""), ({serial: NOW}, "certificate_revoked")):
            crl = revocation_list(PARTNER.intermediate, serials, NOW - HOUR, NOW + HOUR)
            made = make_bundle("partner.test", "test", NOW, certificates=[PARTNER.root.certificate], revocation_lists=[crl])
            trust = TrustStore().with_bundle(made)
            assert outcome(lambda trust=trust: source.read(trust, NOW))[0] == code
        assert len(endpoint.asked) == 1


def test_https_spiffe_with_keys_that_are_too_weak(tmp_path: Path) -> None:
    """Finding F15: X-11 for the issuer of a server."""
    weak = make_domain("partner.test", key(), ROCA_KEY, key(), NOW, HOUR)
    trust = TrustStore().with_bundle(read_jwks("partner.test", weak.bundle_document(), Origin("test", NOW)))
    with serving(tmp_path / "s", *svid(of=weak)) as endpoint:
        refused("weak_issuer", lambda: EndpointSource("partner.test", endpoint.url(), SERVER).read(trust, NOW))
        assert endpoint.asked == []


def test_redirects_are_followed_and_forgotten(web: Endpoint, tmp_path: Path) -> None:
    web.answers["/moved"] = (301, {"Location": "/bundle"}, b"")
    source = web_source(web, tmp_path, "/moved")
    for _ in range(2):
        assert source.read(TrustStore(), NOW)[0].source == web.url("/moved")
    assert web.asked == ["/moved", "/bundle"] * 2


@pytest.mark.parametrize(
    "location",
    ["http://localhost/bundle", "https://user@localhost/", "file:///etc/passwd", "https:///x", "https://a b/", "//[::1/"],
)
def test_redirects_elsewhere_are_refused(location: str, web: Endpoint, tmp_path: Path) -> None:
    web.answers["/moved"] = (302, {"Location": location}, b"")
    refused("endpoint_not_https", lambda: web_source(web, tmp_path, "/moved").read(TrustStore(), NOW))


def test_a_redirect_to_another_server_is_not_followed(tmp_path: Path, spiffe: Endpoint) -> None:
    with serving(
        tmp_path / "other", *svid(lambda s: SvidShape(changed(s.leaf, uris=(SERVER_ID + "x",)), s.intermediate))
    ) as other:
        spiffe.answers["/moved"] = (302, {"Location": other.url()}, b"")
        source = EndpointSource("partner.test", spiffe.url("/moved"), SERVER)
        refused("endpoint_left_host", lambda: source.read(stored(), NOW))
        assert other.asked == []


@pytest.mark.parametrize("location", ["https://127.0.0.1:{port}/bundle", "https://localhost/", "//other.test/bundle"])
def test_a_redirect_never_leaves_its_host(location: str, web: Endpoint, tmp_path: Path) -> None:
    """Finding F15: a host that answers for others could choose whom we ask."""
    web.answers["/moved"] = (302, {"Location": location.format(port=web.port)}, b"")
    refused("endpoint_left_host", lambda: web_source(web, tmp_path, "/moved").read(TrustStore(), NOW))
    assert web.asked == ["/moved"]


def test_redirects_end(web: Endpoint, tmp_path: Path) -> None:
    web.answers["/loop"] = (302, {"Location": "/loop"}, b"")
    refused("endpoint_too_many_redirects", lambda: web_source(web, tmp_path, "/loop").read(TrustStore(), NOW))
    assert len(web.asked) == 4


@pytest.mark.parametrize(
    "url",
    [
        "http://a/",
        "https://",
        "https://u@a/",
        "https://u:p@a/",
        "https://a/#f",
        "https://a:x/",
        "https://a\n/",
        "a",
        "https://[::1/",
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    refused("endpoint_not_https", lambda: EndpointSource("partner.test", url, WebServer()))


ANSWERS: dict[str, tuple[Answer, str]] = {
    "not found": ((404, {}, b""), "trust_unavailable"),
    "compressed": ((200, {"Content-Encoding": "gzip"}, b"x"), "trust_unavailable"),
    "cut off": ((200, {"Content-Length": "9999"}, b"{}"), "trust_unavailable"),
    "no length": ((200, {"Content-Length": "x"}, b"{}"), "bundle_without_keys"),
    "not a bundle": ((200, {}, b"<html>"), "bundle_malformed"),
    "without keys": ((200, {}, b"{}"), "bundle_without_keys"),
    "5 MB": ((200, {}, bytes(5 << 20)), "bundle_too_large"),
    "redirect to nowhere": ((302, {}, b""), "trust_unavailable"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_the_server_says(name: str, web: Endpoint, tmp_path: Path) -> None:
    answer, code = ANSWERS[name]
    web.answers["/bundle"] = answer
    with pytest.raises((Refused, PdpError)) as caught:
        web_source(web, tmp_path).read(TrustStore(), NOW)
    assert caught.value.code == code  # type: ignore[union-attr]  # both have one


def test_nobody_there(tmp_path: Path, web: Endpoint) -> None:
    source = EndpointSource("partner.test", "https://localhost:1/", WebServer())
    with pytest.raises(PdpError, match="trust_unavailable"):
        source.read(TrustStore(), NOW)


def test_what_is_known_stays_until_it_is_stale(web: Endpoint, tmp_path: Path) -> None:
    """B-5, B-6, B-7 in one run: what is malformed or rolled back changes nothing; an emptied one revokes."""
    trust, source = Trust(), web_source(web, tmp_path)
    assert refresh(source, trust, NOW).code is None
    good = trust.current
    web.answers["/bundle"] = (200, {}, b"{}")
    problem = refresh(source, trust, NOW + SECOND)
    assert (problem.code, problem.again_us) == ("bundle_without_keys", NOW + 6 * SECOND)
    web.answers["/bundle"] = (200, {}, PARTNER.bundle_document(4))
    assert refresh(source, trust, NOW + SECOND).code == "bundle_rollback"
    web.answers["/bundle"] = (500, {}, b"")
    assert refresh(source, trust, NOW + SECOND).code == "trust_unavailable"
    assert trust.current is good
    refused("bundle_stale", lambda: trust.current.bundle_for("partner.test", NOW + 900 * SECOND + 1))
    web.answers["/bundle"] = (200, {}, b'{"keys":[],"spiffe_sequence":6}')
    again = refresh(source, trust, NOW + 2 * SECOND)
    assert (again.code, again.again_us) == (None, NOW + 302 * SECOND)
    refused("bundle_revoked", lambda: trust.current.bundle_for("partner.test", NOW))


# ---- files


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(PARTNER.bundle_pem())
    (tmp_path / "a.json").write_bytes(b"\n" + PARTNER.bundle_document())
    (tmp_path / "map.json").write_bytes(b'{"trust_domains":{"partner.test":' + PARTNER.bundle_document() + b"}}")
    root = PARTNER.root.certificate.public_bytes(Encoding.DER)
    for name, domain in (("a.pem", "partner.test"), ("a.json", "partner.test"), ("map.json", None)):
        (found,) = FileSource(tmp_path / name, domain).read(TrustStore(), NOW)
        assert found.authorities[0].public_bytes(Encoding.DER) == root
        assert found.fresh_until_us == NEVER
    with pytest.raises(PdpError, match="trust_unavailable"):
        FileSource(tmp_path / "none.pem", "partner.test").read(TrustStore(), NOW)


def test_a_file_starts_an_endpoint_off(tmp_path: Path, spiffe: Endpoint) -> None:
    """The endpoint shows an SVID of the domain whose bundle it serves: the first one comes from a file."""
    (tmp_path / "first.json").write_bytes(PARTNER.bundle_document(1))
    source = EndpointSource("partner.test", spiffe.url(), SERVER)
    trust = Trust()
    assert refresh(source, trust, NOW).code == "no_bundle"
    trust.put(FileSource(tmp_path / "first.json", "partner.test", source.name).read(trust.current, NOW))
    assert trust.current.bundles["partner.test"].fresh_until_us == NOW + 900 * SECOND
    assert refresh(source, trust, NOW + 1).code is None
    assert trust.current.bundles["partner.test"].sequence == 5
