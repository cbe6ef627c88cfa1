"""Routes: what a gate's HTTP request or TCP connection means, typed, in one place.

A path is literal segments and `{parameters}`; a parameter is one whole segment. Two routes that could match the same
request are refused, so that order means nothing here either.
"""

from __future__ import annotations

import re
from dataclasses import replace

from language import typed as t
from language.checker.base import Surroundings
from language.checker.expressions import ExpressionChecker
from language.checker.narrow import NOTHING
from language.checker.report import Report
from language.diagnostics import did_you_mean
from language.routing import CONNECT
from language.spiffe import is_spiffe_id
from language.syntax import nodes as n
from language.types import STRING, EntityType, RecordType, SetType, Type, show
from language.vocabulary import Vocabulary

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", CONNECT, "TRACE")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+", re.ASCII)
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)


class RouteChecker:
    def __init__(self, vocabulary: Vocabulary, expressions: ExpressionChecker, report: Report) -> None:
        self.vocabulary = vocabulary
        self.expressions = expressions
        self.report = report

    def http(self, nodes: list[n.HttpRoutes]) -> tuple[t.HttpRoute, ...]:
        routes: list[t.HttpRoute] = []
        for block in nodes:
            if not _HOST.fullmatch(block.host):
                hint = "lower case, without scheme or path; a port only where it is part of the name"
                self.report.say("bad_route", f"`{block.host[:60]}` is not a host", block.span, hint)
            for node in block.routes:
                route = self._http_route(block.host, node)
                clash = next((r for r in routes if route and _overlap(r, route)), None)
                if clash is not None:
                    place = clash.span.location
                    self.report.say("overlapping_routes", f"the route at {place} matches the same requests", node.span)
                if route is not None:
                    routes.append(route)
        return tuple(routes)

    def _http_route(self, host: str, node: n.HttpRoute) -> t.HttpRoute | None:
        if node.method.text not in METHODS:
            self.report.unknown("method", node.method.text, node.method.span, METHODS)
        path = self._path(node.path)
        if path is None:
            return None
        if path and node.method.text == CONNECT:
            hint = "a tunnel goes to a host, and what is asked through it is seen by nobody; write `CONNECT /` for the host"
            self.report.say("bad_route", "a CONNECT has no path", node.path.span, hint)
        parameters = {s.text for s in path if s.is_parameter}
        target = self._target(node.target, parameters)
        return t.HttpRoute(host, node.method.text, path, target, span=node.span) if target else None

    def _path(self, node: n.Ident) -> tuple[t.PathSegment, ...] | None:
        found: list[t.PathSegment] = []
        parts = node.text[1:].split("/") if node.text != "/" else []
        for part in parts:
            parameter = _PARAMETER.fullmatch(part)
            name = parameter[1] if parameter else part
            if not parameter and (not _SEGMENT.fullmatch(part) or part in (".", "..")):
                hint = "segments are literal text or `{name}`, not empty, without escapes or a final `/`"
                self.report.say("bad_route", f"`{node.text[:80]}` is not a path", node.span, hint)
                return None
            if parameter and any(s.is_parameter and s.text == name for s in found):
                self.report.say("duplicate_declaration", f"`{{{name}}}` stands twice in this path", node.span)
            found.append(t.PathSegment(name, parameter is not None))
        return tuple(found)

    def tcp(self, nodes: list[n.TcpRoutes]) -> tuple[t.TcpRoute, ...]:
        routes: dict[str, t.TcpRoute] = {}
        for block in nodes:
            for node in block.routes:
                destination = node.destination.text
                if not is_spiffe_id(destination):
                    self.report.say("bad_spiffe_pattern", f"`{destination}` is not a SPIFFE ID", node.destination.span)
                if destination in routes:
                    place = routes[destination].span.location
                    self.report.say("overlapping_routes", f"this destination has a route at {place}", node.span)
                target = self._target(node.target, set())
                if target is not None:
                    routes.setdefault(destination, t.TcpRoute(destination, target, span=node.span))
        return tuple(routes.values())

    # ---- targets

    def _target(self, node: n.Target, parameters: set[str]) -> t.RouteTarget | None:
        action = self.vocabulary.actions.get(node.action.text)
        self.expressions.used |= {f"action {node.action}", node.type.text}
        if action is None:
            known = self.vocabulary.actions
            self.report.unknown("action", node.action.text, node.action.span, known, "unknown_action")
            return None
        if node.type.text not in action.on:
            known_types = ", ".join(f"`{r}`" for r in action.on)
            message = f"`{node.action}` is an action on {known_types}"
            self.report.say("action_not_on_type", message, node.type.span)
            return None
        id_ = self._route_value(node.id, parameters, STRING, EntityType(node.type.text))
        return t.RouteTarget(
            action.name, node.type.text, id_, self._context(node, action.context, parameters), span=node.span
        )

    def _context(self, node: n.Target, record: RecordType, parameters: set[str]) -> tuple[t.RouteValue | None, ...]:
        entries = {e.name.text: e for e in (node.context.entries if node.context else ())}
        for name, entry in entries.items():
            if record.find(name) is None:
                known = [f.name for f in record.fields]
                message = f"`{node.action}` has no context `{name}`"
                self.report.say("unknown_attribute", message, entry.name.span, did_you_mean(name, known))
        values: list[t.RouteValue | None] = []
        for field in record.fields:
            told = entries.get(field.name)
            if told is None:
                if not field.optional:
                    self.report.say("missing_field", f"the context of `{node.action}` needs `{field.name}`", node.span)
                values.append(None)
            elif isinstance(told.value, n.Record):
                self.report.say("bad_route", "a route cannot make a record", told.span)
                values.append(None)
            else:
                values.append(self._route_value(told.value, parameters, field.type, None))
        return tuple(values)

    def _route_value(self, node: n.Expr, parameters: set[str], type_: Type, entity: EntityType | None) -> t.RouteValue:
        """`path.x`, `query.x`, `header["x"]`, or a constant; nothing is converted."""
        match node:
            case n.Attribute(n.Name("path" | "query" as part), name):
                return self._part(node, part, name.text, parameters, type_)
            case n.Index(n.Name("query" | "header" as part), n.Literal("string", str(name))):
                return self._part(node, part, name.lower() if part == "header" else name, parameters, type_)
        typed = self.expressions.value(node, Surroundings(roots_visible=False), NOTHING, type_)
        if not isinstance(typed, t.Constant):
            hint = '`path.x`, `query.x`, `query["x"]`, `header["x"]`, or a constant'
            self.report.say("bad_route", "a route cannot compute", node.span, hint)
        if entity is not None and isinstance(typed, t.Constant):
            typed = replace(typed, type=entity)
        return typed

    def _part(self, node: n.Expr, part: str, name: str, parameters: set[str], type_: Type) -> t.RouteInput:
        if part == "path" and name not in parameters:
            self.report.unknown("path parameter", name, node.span, parameters)
        many = isinstance(type_, SetType) and type_.of == STRING and part != "path"
        if type_ != STRING and not many:
            hint = "what a request carries is text: `String`, or `Set<String>` for all values of a query parameter or header"
            self.report.say("type_mismatch", f"`{node.span.text}` is text, expected `{show(type_)}`", node.span, hint)
        return t.RouteInput(part, name, many, span=node.span)  # type: ignore[arg-type]  # one of three words


def _overlap(a: t.HttpRoute, b: t.HttpRoute) -> bool:
    """Whether a request could match both, with neither more literal: the more literal of two wins by itself."""
    if (a.host, a.method, len(a.path)) != (b.host, b.method, len(b.path)):
        return False
    for left, right in zip(a.path, b.path, strict=True):
        if not left.is_parameter and not right.is_parameter and left.text != right.text:
            return False
    shapes = [tuple(s.is_parameter for s in r.path) for r in (a, b)]
    more_literal = all(x <= y for x, y in zip(*shapes, strict=True)) or all(x >= y for x, y in zip(*shapes, strict=True))
    return shapes[0] == shapes[1] or not more_literal
