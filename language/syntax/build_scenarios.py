"""Routes and tests: the builder's methods for them."""

from __future__ import annotations

from typing import Any

from lark import Token, Transformer

from language.syntax import nodes as n
from language.syntax.literals import parse_instant, parse_int
from language.syntax.reductions import (
    Carrying,
    Parents,
    carried,
    duration_of,
    find_node,
    ident,
    idents,
    moment_of,
    nodes_in,
    read_literal,
    span_between,
    string_of,
    text_of,
    token_span,
)


class BuildScenarios(Transformer[Token, Any]):
    # ---- routes

    def http_routes(self, c: list[Any]) -> n.HttpRoutes:
        return n.HttpRoutes(string_of(c[2]), nodes_in(c), span=span_between(c))

    def http_route(self, c: list[Any]) -> n.HttpRoute:
        return n.HttpRoute(ident(c[0]), ident(c[1]), c[3], span=span_between(c))

    def tcp_routes(self, c: list[Any]) -> n.TcpRoutes:
        return n.TcpRoutes(nodes_in(c), span=span_between(c))

    def tcp_route(self, c: list[Any]) -> n.TcpRoute:
        return n.TcpRoute(ident(c[0]), c[2], span=span_between(c))

    def target(self, c: list[Any]) -> n.Target:
        return n.Target(ident(c[0]), ident(c[2]), c[4], find_node(c, n.Record), span=span_between(c))

    def record(self, c: list[Any]) -> n.Record:
        return n.Record(nodes_in(c), span=span_between(c))

    def entry(self, c: list[Any]) -> n.Entry:
        token = c[0]
        quoted = token.type == "STRING"
        name = n.Ident(string_of(token), span=token_span(token)) if quoted else ident(token)
        return n.Entry(name, c[2], quoted, span=span_between(c))

    # ---- tests

    def test(self, c: list[Any]) -> n.Test:
        givens = tuple(g for g in c if isinstance(g, n.Given))
        steps = tuple(s for s in c if isinstance(s, n.Step))
        return n.Test(string_of(c[1]), find_node(c, n.Cases), givens, steps, span=span_between(c))

    def cases(self, c: list[Any]) -> n.Cases:
        return n.Cases(ident(c[1]), nodes_in(c), span=span_between(c))

    def given_now(self, c: list[Any]) -> n.GivenNow:
        return n.GivenNow(read_literal(parse_instant, c[2], 1), span=span_between(c))

    def given_workload(self, c: list[Any]) -> n.GivenWorkload:
        return n.GivenWorkload(str(c[2]), find_node(c, n.Record), find_node(c, Parents) or (), span=span_between(c))

    def given_user(self, c: list[Any]) -> n.GivenEntity:
        return self._entity(c, 2, is_subject=True)

    def given_entity(self, c: list[Any]) -> n.GivenEntity:
        return self._entity(c, 1, is_subject=False)

    def _entity(self, c: list[Any], at: int, *, is_subject: bool) -> n.GivenEntity:
        attributes, above = find_node(c, n.Record), find_node(c, Parents) or ()
        return n.GivenEntity(ident(c[at]), text_of(c[at + 1]), attributes, above, is_subject, span=span_between(c))

    def given_task(self, c: list[Any]) -> n.GivenTask:
        holder = opener = lasting = None
        depth = 0
        for i, child in enumerate(c):
            match child:
                case Token(type="HELD"):
                    holder = str(c[i + 2])
                case Token(type="OPENED"):
                    opener = str(c[i + 2])
                case Token(type="INT"):
                    depth = read_literal(parse_int, child, 0)
                case Token(type="DURATION"):
                    lasting = duration_of(child)
        proof = idents(c[5:])
        facts = find_node(c, n.Record)
        return n.GivenTask(ident(c[2]), ident(c[4]), facts, holder, opener, lasting, depth, proof, span=span_between(c))

    def given_gate(self, c: list[Any]) -> n.GivenGate:
        return n.GivenGate(str(c[2]), find_node(c, n.Record), span=span_between(c))

    def given_location(self, c: list[Any]) -> n.GivenLocation:
        return n.GivenLocation(c[2], span=span_between(c))

    def given_proof(self, c: list[Any]) -> n.GivenProof:
        return n.GivenProof(idents(c), span=span_between(c))

    def given_row(self, c: list[Any]) -> n.GivenRow:
        until = moment_of(c[-1]) if c[-1].type != "RPAR" else None
        return n.GivenRow(ident(c[1]), nodes_in(c), until, span=span_between(c))

    def parents(self, c: list[Any]) -> Parents:
        parents = Parents(nodes_in(c))
        parents.span = span_between(c)
        return parents

    def parent(self, c: list[Any]) -> n.ParentRef:
        return n.ParentRef(ident(c[0]), text_of(c[1]), span=span_between(c))

    def action_name(self, c: list[Any]) -> n.Ident:
        return ident(c[0])

    def as_(self, c: list[Any]) -> Carrying:
        return carried(c, workload=str(c[1]))

    def for_user(self, c: list[Any]) -> Carrying:
        return carried(c, user=n.ParentRef(ident(c[1]), text_of(c[2]), span=span_between(c)))

    def with_task(self, c: list[Any]) -> Carrying:
        return carried(c, task=ident(c[1]))

    def without_task(self, c: list[Any]) -> Carrying:
        return carried(c, without_task=True)

    def with_proof(self, c: list[Any]) -> Carrying:
        return carried(c, proof=idents(c))

    def check_step(self, c: list[Any]) -> n.CheckStep:
        carried: dict[str, Any] = {"workload": None, "user": None, "task": None, "without_task": False, "proof": None}
        for child in c:
            if isinstance(child, Carrying):
                carried |= child
        return n.CheckStep(
            moment_of(c[1]),
            c[2],
            ident(c[4]),
            text_of(c[5]),
            find_node(c, n.Record),
            outcome=find_node(c, n.Outcome),
            span=span_between(c),
            **carried,
        )

    def task_step(self, c: list[Any]) -> n.TaskStep:
        return n.TaskStep(moment_of(c[1]), c[2].value, ident(c[3]), span=span_between(c))

    def remove_step(self, c: list[Any]) -> n.DataStep:
        removed = n.ParentRef(ident(c[3]), text_of(c[4]), span=span_between(c))
        return n.DataStep(moment_of(c[1]), None, removed, span=span_between(c))

    def remove_row_step(self, c: list[Any]) -> n.DataStep:
        row = n.GivenRow(ident(c[3]), nodes_in(c), None, span=span_between(c[3:]))
        return n.DataStep(moment_of(c[1]), None, row, span=span_between(c))

    def put_step(self, c: list[Any]) -> n.DataStep:
        return n.DataStep(moment_of(c[1]), c[2], None, span=span_between(c))

    row_step = put_step

    def outcome(self, c: list[Any]) -> n.Outcome:
        until = rule = reason = because = None
        for word, value in zip(c[1::2], c[2::2], strict=True):
            match word.type, value.type:
                case "UNTIL", _:
                    until = moment_of(value)
                case "BY", _:
                    rule = ident(value)
                case _, "NAME":
                    reason = ident(value)
                case _:
                    because = string_of(value)
        return n.Outcome(c[0].value, until, rule, reason, because, span=span_between(c))
