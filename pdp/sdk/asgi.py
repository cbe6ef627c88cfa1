"""`DecisionMiddleware`: every HTTP request and WebSocket of an ASGI application is decided before the application sees it.

The policy's own `routes http` say what a request means; what they do not know is denied. Nothing that a request says makes
anybody somebody: headers, cookies and the query reach `subject`, which must verify what it believes, and the context
attributes that a route names, which are claims.

A check inside a process that an attacker controls contains nothing. This one judges those who send requests to it.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from language import NotRouted, canonical_host, route_http
from pdp.errors import PdpError
from pdp.model.decision import Decision
from pdp.model.request import Request
from pdp.sdk.engine import Engine
from pdp.sdk.subject import Subject, told
from pdp.sdk.written import changes_when_converted

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
TellsSubject = Callable[[Scope], Subject | Awaitable[Subject | None] | None]

#: Reasons of this gate's own, beside those of decisions and routes.
REASONS = {
    "conflicting_path": "the path that the application would see is not the one that was sent",
    "conflicting_root_path": "the application is not mounted where this gate was told that it is",
    "no_raw_path": "the server does not say what path was sent",
    "malformed_header": "a header is not UTF-8",
    "unknown_host": "the host is none of this application's",
    "ambiguous_text": "the application may take the value for a number or a UUID, which is written otherwise",
    "subject_failed": "it could not be told on whose behalf the request is made",
    "refused": "the request could not be decided",
}

#: A refusal whose cause is the shape of the request; the others are denials.
_MALFORMED = (
    "malformed_path",
    "malformed_host",
    "malformed_query",
    "connect_with_path",
    "malformed_header",
    "missing_value",
    "ambiguous_value",
    "ambiguous_text",
)
_POLICY_VIOLATION = 1008
_RELOADS_MAX = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: int
    reason: str
    because: str | None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class _Target:
    """The parts of a request by which it is routed, as they came over the wire."""

    method: str
    host: str
    target: str
    headers: Mapping[str, list[str]]


class DecisionMiddleware:
    """Decides each request, and passes on only what is allowed; the decision is then `scope["state"]["decision"]`.

    `subject` is told the scope and says on whose behalf the request is made, after verifying it; None is nobody.
    `hosts` are the values of the Host header that this application answers to; None leaves it to the routes.
    `root_path` is where the application is mounted. What is decided is the whole path as it was sent, with it.
    `as_text` says that the application takes what routes name as it is written, and makes no number or UUID of it.
    """

    def __init__(
        self,
        app: App,
        engine: Engine,
        *,
        subject: TellsSubject,
        gate: Mapping[str, Any] | None = None,
        hosts: Collection[str] | None = None,
        root_path: str = "",
        as_text: bool = False,
    ) -> None:
        if root_path and (not root_path.startswith("/") or root_path.endswith("/")):
            raise PdpError("invalid_argument", "root_path: begins with a slash, and does not end with one")
        if isinstance(hosts, str):
            raise PdpError("invalid_argument", "hosts: found a text, expected a collection of texts")
        self._app = app
        self._engine = engine
        self._subject = subject
        self._gate = gate
        self._hosts = None if hosts is None else frozenset(map(canonical_host, hosts))
        self._root_path = root_path
        self._as_text = as_text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise PdpError("invalid_request", f"asgi: no decision is defined for `{scope['type']}`")
        found = await self._decide(scope)
        if isinstance(found, _Refusal):
            await _answer(scope, found, send)
            return
        await self._app({**scope, "state": {**(scope.get("state") or {}), "decision": found}}, receive, send)

    async def _decide(self, scope: Scope) -> Decision | _Refusal:
        """The decision that allows, or what to answer instead."""
        try:
            target = self._target(scope)
            who = await self._who(scope)
            decision = self._ask(target, who)
        except NotRouted as error:
            status = 400 if error.code in _MALFORMED else 500 if error.code == "no_raw_path" else 403
            return _Refusal(status, error.code, REASONS.get(error.code, str(error)))
        except PdpError as error:
            _log.error("a request was refused: %s", error)
            return _Refusal(400 if error.code == "invalid_request" else 503, error.code, REASONS["refused"])
        except Exception:  # noqa: BLE001  # the edge: whatever went wrong, the application does not run
            _log.exception("a request could not be decided")
            return _Refusal(500, "refused", REASONS["refused"])
        if decision.allowed is not True:
            return _Refusal(403, decision.reason, decision.because, decision)
        return decision

    def _target(self, scope: Scope) -> _Target:
        raw = scope.get("raw_path")
        if not isinstance(raw, bytes):
            # `path` is decoded already: `/a%2Fb` and `/a/b` cannot be told apart in it.
            raise _refused("no_raw_path")
        path, query = _text(raw, "malformed_path"), _text(scope.get("query_string", b""), "malformed_query")
        if "?" in path:
            raise NotRouted("malformed_path", "the path holds a query")
        # The application routes by `path` and `root_path`. Whoever rewrote them before this gate, perhaps by the word of a
        # header, would have one path judged and another one run.
        if unquote_to_bytes(path).decode("utf-8", "replace") != scope["path"]:
            raise _refused("conflicting_path")
        if scope.get("root_path", "") != self._root_path:
            raise _refused("conflicting_root_path")
        # A proxy that has taken the prefix away: the application serves what is left as if it stood under the prefix.
        if self._root_path and not f"{scope['path']}/".startswith(f"{self._root_path}/"):
            raise _refused("conflicting_root_path")
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            try:
                headers.setdefault(name.decode("ascii").lower(), []).append(value.decode("utf-8"))
            except UnicodeDecodeError:
                raise _refused("malformed_header") from None
        hosts = headers.get("host", [])
        if len(hosts) != 1:
            raise NotRouted("malformed_host", f"the request names {len(hosts)} hosts")
        if self._hosts is not None and canonical_host(hosts[0]) not in self._hosts:
            raise _refused("unknown_host")
        method = "GET" if scope["type"] == "websocket" else scope["method"]
        return _Target(method, hosts[0], f"{path}?{query}" if query else path, headers)

    async def _who(self, scope: Scope) -> Subject:
        try:
            found = self._subject(scope)
            return told(await found if inspect.isawaitable(found) else found)
        except Exception:  # noqa: BLE001  # a token that does not verify is told by raising, too
            _log.exception("the subject of a request could not be told")
            raise _refused("subject_failed") from None

    def _ask(self, target: _Target, who: Subject) -> Decision:
        for _ in range(_RELOADS_MAX):
            bundle = self._engine.bundle
            routed = route_http(bundle.program, target.method, target.host, target.target, target.headers)
            if not self._as_text and changes_when_converted((routed.resource_id, *routed.context.values())):
                raise _refused("ambiguous_text")
            decision = self._engine.check(
                Request(
                    routed.action,
                    (routed.resource_type, routed.resource_id),
                    who.workload,
                    who.user,
                    who.task,
                    routed.context,
                    self._gate,
                    who.location,
                    who.proof,
                )
            )
            # Not routed by one policy set and judged by another.
            if self._engine.bundle is bundle:
                return decision
        raise PdpError("invalid_argument", "the policies were replaced during each of several attempts")


def _refused(code: str) -> NotRouted:
    return NotRouted(code, REASONS[code])


def _text(raw: bytes, code: str) -> str:
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        raise NotRouted(code, "there are bytes in it that are not ASCII") from None


async def _answer(scope: Scope, refusal: _Refusal, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": refusal.reason})
        return
    decision = refusal.decision
    told = {
        "reason": refusal.reason,
        "because": refusal.because,
        "decision_id": decision.id if decision is not None else None,
    }
    if decision is not None and decision.rule is not None:
        told["rule"] = decision.rule
    body = json.dumps(told).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
