"""`DecisionMiddleware`: which requests reach the application, and what the others are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

import pdp
from pdp.sdk.asgi import REASONS, DecisionMiddleware, Scope
from pdp.sdk.subject import Subject
from pdp.sdk.written import changes_when_converted

ADA, BOB = Subject(user=("User", "ada")), Subject(user=("User", "bob"))


def as_ada(scope: Scope) -> Subject:
    return ADA


class Application:
    """Remembers what it saw."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})


def scope(target: str = "/tables/invoices", **changes: Any) -> Scope:
    """What a server makes of a request, one change away from one that is allowed."""
    raw, _, query = target.encode("latin-1").partition(b"?")
    made: Scope = {
        "type": "http",
        "method": "GET",
        "raw_path": raw,
        "path": unquote(raw.decode("latin-1")),
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"shop.example")],
    }
    return {**made, **changes}


def answer(asked: Scope, engine: pdp.Engine, **options: Any) -> tuple[int, dict[str, Any], Application]:
    app, sent = Application(), []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the body of a request is not read to decide it")

    asyncio.run(DecisionMiddleware(app, engine, **{"subject": as_ada, **options})(asked, receive, send))
    if asked["type"] == "websocket":
        return sent[0]["code"] if sent else 0, {"reason": sent[0]["reason"]} if sent else {}, app
    assert [m["type"] for m in sent] == ["http.response.start", "http.response.body"]
    body = sent[1]["body"]
    return sent[0]["status"], json.loads(body) if body else {}, app


@pytest.mark.parametrize(
    "asked",
    [
        scope(),
        scope("/"),
        scope("/tables/people?tag=a&tag=b"),
        scope("/tables/inv%6Fices"),
        scope(headers=[(b"Host", b"SHOP.example.:443")]),
        scope(method="HEAD"),
        scope("/tables/invoices/rows", method="POST"),
        scope("/live/lobby", type="websocket", method="DELETE"),
    ],
)
def test_reaches_the_application(engine: pdp.Engine, asked: Scope) -> None:
    _, _, app = answer(asked, engine)
    (seen,) = app.scopes
    assert seen["state"]["decision"].allowed
    assert {k: v for k, v in seen.items() if k != "state"} == {k: v for k, v in asked.items() if k != "state"}


#: Texts of which a framework makes a number or a UUID that is written otherwise.
AMBIGUOUS = (
    "07", "+7", "-0", "%207", "7%20", "1_000", "7.0", "7.", ".5", "1e3", "%D9%A7", "%EF%BC%97",
    "123E4567-E89B-12D3-A456-426614174000", "123e4567e89b12d3a456426614174000", "%7B123e4567-e89b-12d3-a456-426614174000%7D",
)  # fmt: skip


@pytest.mark.parametrize(
    "text", ["7", "0", "-7", "7.5", "123e4567-e89b-12d3-a456-426614174000", "v1.0", "7a", "a07", "nan", "e3", "."]
)
def test_texts_that_stay_as_they_are(text: str) -> None:
    assert not changes_when_converted([text, [text], 7, True])


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_an_application_may_take_values_as_texts(engine: pdp.Engine, text: str) -> None:
    assert answer(scope(f"/tables/{text}"), engine)[1]["reason"] == "ambiguous_text"
    assert answer(scope(f"/tables/{text}"), engine, as_text=True)[1].get("reason") != "ambiguous_text"


def test_the_state_of_the_server_stays_its_own(engine: pdp.Engine) -> None:
    state = {"pool": 1}
    _, _, app = answer(scope(state=state), engine)
    assert state == {"pool": 1}
    assert app.scopes[0]["state"].keys() == {"pool", "decision"}
    assert answer(scope(state=None), engine)[0] == 204


def test_a_prefix_that_a_proxy_took_away_is_missed(engine: pdp.Engine) -> None:
    """The application serves `/tables/x` as if it stood under `/sub`, which policy calls something else."""
    asked = scope("/tables/invoices", root_path="/sub")
    assert answer(asked, engine, root_path="/sub")[1]["reason"] == "conflicting_root_path"
    assert answer(scope("/subway", root_path="/sub"), engine, root_path="/sub")[1]["reason"] == "conflicting_root_path"
    assert answer(scope("/sub/tables/invoices", root_path="/sub"), engine, root_path="/sub")[0] == 204
    for wrong in ("sub", "/sub/"):
        with pytest.raises(pdp.PdpError, match="root_path"):
            DecisionMiddleware(Application(), engine, subject=as_ada, root_path=wrong)


def headers(*more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"shop.example"), *more]


@pytest.mark.parametrize(
    ("asked", "status", "reason"),
    [
        (scope("/nothing"), 403, "no_route"),
        (scope("/tables/invoices/"), 403, "non_canonical_path"),
        (scope("//tables/invoices"), 403, "non_canonical_path"),
        (scope("/tables//invoices"), 403, "non_canonical_path"),
        (scope("/x/../tables/invoices"), 403, "non_canonical_path"),
        (scope("/x/%2e%2e/tables/invoices"), 403, "non_canonical_path"),
        (scope("/tables/a%2Fb"), 403, "non_canonical_path"),
        (scope("/tables/a%5Cb"), 403, "non_canonical_path"),
        (scope("/tables/a\\b"), 400, "malformed_path"),
        (scope("/tables/%252e%252e"), 403, "non_canonical_path"),
        (scope("/tables/inv%256Fices"), 403, "non_canonical_path"),
        (scope("/tables/%zz"), 400, "malformed_path"),
        (scope("/tables/%00"), 400, "malformed_path"),
        (scope("/tables/%c0%af", path="/tables/\ufffd\ufffd"), 400, "malformed_path"),
        (scope("/tables/\xe9"), 400, "malformed_path"),
        (scope("/tables/invoices%23x"), 403, "non_canonical_path"),
        (scope("http://shop.example/tables/invoices"), 400, "malformed_path"),
        (scope("*", method="OPTIONS"), 400, "malformed_path"),
        (scope("shop.example:443", method="CONNECT"), 400, "connect_with_path"),
        (scope(raw_path=b"/tables/invoices?x"), 400, "malformed_path"),
        (scope(raw_path=None), 500, "no_raw_path"),
        (scope(path="/tables/people"), 403, "conflicting_path"),
        (scope("/tables/invoices", path="/rewritten"), 403, "conflicting_path"),
        (scope(root_path="/tables"), 403, "conflicting_root_path"),
        (scope("/sub/tables/invoices", root_path="/sub"), 403, "conflicting_root_path"),
        *[(scope(f"/tables/{text}"), 400, "ambiguous_text") for text in AMBIGUOUS],
        (scope("/tables/invoices?tag=07"), 400, "ambiguous_text"),
        (scope(headers=headers((b"x-note", b"7.0"))), 400, "ambiguous_text"),
        (scope("/tables/invoices?note=%zz"), 400, "malformed_query"),
        (scope("/tables/invoices?note=%ff"), 400, "malformed_query"),
        (scope("/tables/invoices?note=\xe9"), 400, "malformed_query"),
        (scope("/tables/invoices?" + "&" * 1000), 400, "malformed_query"),
        (scope(headers=[]), 400, "malformed_host"),
        (scope(headers=headers((b"host", b"shop.example"))), 400, "malformed_host"),
        (scope(headers=headers((b"Host", b"other.example"))), 400, "malformed_host"),
        (scope(headers=[(b"host", b"ada@shop.example")]), 400, "malformed_host"),
        (scope(headers=[(b"host", b"shop.example:8080")]), 403, "no_route"),
        (scope(headers=[(b"host", b"evil.example")]), 403, "no_route"),
        (scope(headers=headers((b"x-note", b"\xff"))), 400, "malformed_header"),
        (scope(headers=headers((b"x-note", b"a"), (b"X-Note", b"b"))), 400, "ambiguous_value"),
        (scope(headers=headers((b"x-note", b"stop"))), 403, "denied"),
        (scope(method="get"), 403, "no_route"),
        (scope(method="OPTIONS"), 403, "no_route"),
        (scope(method="DELETE"), 403, "no_route"),
        # The method that was sent is the one that is judged, whatever a header asks an application to make of it.
        (scope("/tables/invoices/rows", headers=headers((b"x-http-method-override", b"POST"))), 403, "no_route"),
        (scope("/tables/invoices/rows", method="HEAD"), 403, None),
        (scope("/tables/invoices", type="websocket", path="/live/lobby"), 1008, "conflicting_path"),
        (scope("/nothing", type="websocket"), 1008, "no_route"),
        (scope("/live/%2e%2e", type="websocket"), 1008, "non_canonical_path"),
    ],
)
def test_never_reaches_the_application(engine: pdp.Engine, asked: Scope, status: int, reason: str | None) -> None:
    found, body, app = answer(asked, engine)
    assert (found, body.get("reason"), app.scopes) == (status, reason, [])


@pytest.mark.parametrize("target", ["/tables/none", "/tables/invoices;x=1", "/tables/invoices%20", "/tables/Invoices"])
def test_nothing_is_trimmed_from_an_id(engine: pdp.Engine, target: str) -> None:
    """Bob may read what is not personal, so each of these is looked up; none of them is `invoices`."""
    status, body, app = answer(scope(target), engine, subject=lambda _: BOB)
    assert (status, body["reason"], app.scopes) == (403, "error", [])


def test_a_header_makes_nobody_somebody(engine: pdp.Engine) -> None:
    spoofed = headers((b"x-user", b"ada"), (b"x-forwarded-user", b"ada"), (b"x-spiffe-id", b"spiffe://shop.example/api"))
    assert answer(scope(headers=spoofed), engine, subject=lambda _: None)[:2][1]["reason"] == "no_subject"


def test_says_who_denied_and_why(engine: pdp.Engine) -> None:
    status, body, _ = answer(scope("/tables/people"), engine, subject=lambda _: BOB)
    decision_id = body.pop("decision_id")
    assert (status, body) == (403, {"reason": "denied", "because": "personal data is not for bob", "rule": "personal"})
    assert isinstance(decision_id, str)


async def later(scope: Scope) -> Subject | None:
    return ADA


async def raises(scope: Scope) -> Subject | None:
    raise PermissionError("a secret detail")


@pytest.mark.parametrize(
    ("subject", "status", "reason"),
    [
        (later, 204, None),
        (raises, 403, "subject_failed"),
        (lambda scope: scope["nothing"], 403, "subject_failed"),
        (lambda scope: True, 403, "subject_failed"),
        (lambda scope: "spiffe://shop.example/api", 403, "subject_failed"),
        (lambda scope: Subject(user="ada"), 400, "invalid_request"),
        (lambda scope: Subject(workload="ada"), 400, "invalid_request"),
        (lambda scope: Subject(), 403, "no_subject"),
    ],
)
def test_subject(engine: pdp.Engine, subject: Any, status: int, reason: str | None) -> None:
    found, body, app = answer(scope(), engine, subject=subject)
    assert (found, body.get("reason"), len(app.scopes)) == (status, reason, 1 if status == 204 else 0)
    assert "secret" not in json.dumps(body)


class Broken:
    def __init__(self, engine: pdp.Engine, error: Exception | None) -> None:
        self._engine, self._error = engine, error

    @property
    def bundle(self) -> object:
        """Replaced at each look, if nothing worse happens."""
        return type("Bundle", (), {"program": self._engine.bundle.program})()

    def check(self, request: pdp.Request) -> pdp.Decision:
        if self._error is not None:
            raise self._error
        return self._engine.check(request)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RuntimeError("a secret detail"), 500, "refused"),
        (pdp.PdpError("invalid_data", "a secret detail"), 503, "invalid_data"),
        (pdp.PdpError("invalid_request", "a secret detail"), 400, "invalid_request"),
        (None, 503, "invalid_argument"),
    ],
)
def test_a_refusal_to_decide_is_no_permission(engine: pdp.Engine, error: Exception | None, status: int, reason: str) -> None:
    found, body, app = answer(scope(), Broken(engine, error))  # type: ignore[arg-type]  # stands in
    assert (found, body["reason"], app.scopes) == (status, reason, [])
    assert "secret" not in json.dumps(body)


def test_hosts_of_this_application(engine: pdp.Engine) -> None:
    """The other host's table gives the same path a harmless meaning; the client may not choose it."""
    other = scope(headers=[(b"host", b"other.example")])
    assert answer(other, engine)[0] == 204
    assert answer(other, engine, hosts=["shop.example"])[1]["reason"] == "unknown_host"
    for host in (b"shop.example", b"SHOP.example", b"shop.example.", b"shop.example:80", b"shop.example:443"):
        assert answer(scope(headers=[(b"host", host)]), engine, hosts=["Shop.Example"])[0] == 204
    assert answer(scope(headers=[(b"host", b"shop.example:8080")]), engine, hosts=["shop.example"])[0] == 403
    with pytest.raises(pdp.PdpError):
        DecisionMiddleware(Application(), engine, subject=as_ada, hosts="shop.example")


def test_lifespan_passes_and_nothing_unknown_does(engine: pdp.Engine) -> None:
    app = Application()
    gate = DecisionMiddleware(app, engine, subject=as_ada)
    asyncio.run(gate({"type": "lifespan"}, None, None))  # type: ignore[arg-type]  # not used
    assert len(app.scopes) == 1
    with pytest.raises(pdp.PdpError, match="gopher"):
        asyncio.run(gate({"type": "gopher"}, None, None))  # type: ignore[arg-type]  # not used
    assert len(app.scopes) == 1


# ---- inside real applications


async def show(request: Request) -> JSONResponse:
    return JSONResponse({"id": request.path_params["id"], "rule": request.state.decision.rule})


async def live(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(socket.scope["state"]["decision"].rule)
    await socket.close()


@pytest.fixture
def client(engine: pdp.Engine) -> Iterator[TestClient]:
    app = Starlette(routes=[Route("/tables/{id}", show), WebSocketRoute("/live/{id}", live)])
    app.add_middleware(DecisionMiddleware, engine=engine, subject=lambda s: ADA if s["query_string"] != b"tag=bob" else BOB)
    with TestClient(app, base_url="http://shop.example") as made:
        yield made


def test_in_starlette(client: TestClient) -> None:
    assert client.get("/tables/people").json() == {"id": "people", "rule": "ada"}
    assert client.head("/tables/people").status_code == 200
    denied = client.get("/tables/people?tag=bob")
    assert (denied.status_code, denied.json()["rule"]) == (403, "personal")
    assert denied.headers["cache-control"] == "no-store"
    assert client.get("/tables/%2e%2e/tables/people").status_code == 403
    assert client.options("/tables/people").status_code == 403
    assert client.head("/missing").content == b""


def test_websockets_in_starlette(client: TestClient) -> None:
    with client.websocket_connect("ws://shop.example/live/lobby") as socket:
        assert socket.receive_text() == "ada"
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("ws://shop.example/dead/lobby"):
        raise AssertionError
    assert (closed.value.code, closed.value.reason) == (1008, "no_route")


def test_a_mounted_application_is_decided_by_the_whole_path(engine: pdp.Engine) -> None:
    inner = Starlette(routes=[Route("/tables/{id}", show)])
    for root_path, status in (("/sub", 200), ("", 403)):
        gated = DecisionMiddleware(inner, engine, subject=as_ada, root_path=root_path)
        client = TestClient(Starlette(routes=[Mount("/sub", app=gated)]), base_url="http://shop.example")
        assert client.get("/sub/tables/people").status_code == status


def test_in_fastapi(engine: pdp.Engine) -> None:
    app = FastAPI()
    app.add_middleware(DecisionMiddleware, engine=engine, subject=later)

    @app.get("/tables/{table}")
    @pdp.guard(engine, action="read", resource=lambda table: ("Table", table), user=("User", "bob"))
    async def show_table(table: str) -> dict[str, str]:
        return {"id": table}

    client = TestClient(app, base_url="http://shop.example")
    assert client.get("/tables/invoices").json() == {"id": "invoices"}
    with pytest.raises(pdp.Denied):
        client.get("/tables/people")
    assert client.get("/openapi.json").status_code == 403


def test_every_reason_has_words() -> None:
    assert all(code.isidentifier() and words for code, words in REASONS.items())
