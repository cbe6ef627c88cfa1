"""The one canonical layout of a policy file, with every comment kept.

Written from the surface tree, item by item; an item is what stands on lines of its own: a statement, a clause, a field, a
step. Comments before an item stay before it, comments inside or behind it go behind it. A blank line between two items
is kept as one. The result parses to the same tree, and formatting it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from language.diagnostics import Diagnostic
from language.source import Source, Span
from language.syntax import nodes as n
from language.syntax.layout import Printer
from language.syntax.literals import format_duration, format_instant, quote
from language.syntax.parse import parse
from language.syntax.show import show_expr, show_record, show_scope, show_subject, show_type

RULE_WORD_WIDTH = 6  # `unless`
TASK_WORD_WIDTH = 8  # `carries`


class FormatError(Exception):
    """The file does not parse, so there is nothing to lay out."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__("the file does not parse")
        self.diagnostics = tuple(diagnostics)


def format_source(source: Source) -> str:
    """The canonical text of a source, or FormatError."""
    module, found = parse(source)
    errors = [d for d in found if d.is_error]
    if errors:
        raise FormatError(errors)
    return _Formatter(module).format()


def comment_homes(module: n.Module) -> tuple[tuple[n.Comment, Span], ...]:
    """Each comment with what it is laid out with: an item, or the whole block at whose head or end it stands."""
    formatter = _Formatter(module)
    formatter.format()
    return tuple(formatter.out.homes)


class _Formatter:
    def __init__(self, module: n.Module) -> None:
        self.module = module
        self.out = Printer(module.source, module.comments)

    def format(self) -> str:
        module, out = self.module, self.out
        if module.pin_span is not None:
            out.whole = module.pin_span
            out.item(f"language {module.version}", module.pin_span)
        if module.package_span is not None:
            out.whole = module.package_span
            out.item(f"package {'.'.join(module.package)}", module.package_span)
        for index, statement in enumerate(module.statements):
            before = module.statements[index - 1] if index else None
            if before is None or _is_block(before) or _is_block(statement):
                out.blank_line()
            out.whole = _whole(statement)
            for annotation in statement.annotations:
                value = f"({quote(annotation.value)})" if annotation.value is not None else ""
                out.item(f"@{annotation.name}{value}", annotation.span)
            self._statement(statement)
        return out.finish()

    def _statement(self, node: n.Statement) -> None:
        out = self.out
        match node:
            case n.Enum(name, members):
                out.item(f"enum {name} {{ {_names(members)} }}", node.span)
            case n.Entity(name, parents, source, fields):
                head = f"entity {name}{_in(parents)}{_source(source)}"
                self._fields(head, fields, node)
            case n.Workload(parents, fields):
                self._fields(f"workload{_in(parents)}", fields, node)
            case n.Relation(name, of, expiring):
                out.item(f"relation {name}({_names(of)}){' expiring' * expiring}", node.span)
            case n.Action(names, on, context):
                self._fields(f"action {_names(names)} on {_names(on)}", context, node)
            case n.Group(name, members):
                out.item(f"action {name} = {_names(members)}", node.span)
            case n.Define(name, parameters, body):
                listed = ", ".join(f"{p.name}: {show_type(p.type)}" for p in parameters)
                out.expression(f"define {name}({listed}) = ", body, node.span)
            case n.Task():
                self._task(node)
            case n.Rule():
                self._rule(node)
            case n.HttpRoutes(host, routes):
                out.open(f"routes http {quote(host)} {{", node.span)
                for route in routes:
                    out.item(f"{route.method} {route.path} -> {_target(route.target)}", route.span)
                out.close(node.span)
            case n.TcpRoutes(tcp_routes):
                out.open("routes tcp {", node.span)
                for tcp_route in tcp_routes:
                    out.item(f"{tcp_route.destination} -> {_target(tcp_route.target)}", tcp_route.span)
                out.close(node.span)
            case n.Test():
                self._test(node)

    def _fields(self, head: str, fields: tuple[n.Field, ...] | None, node: n.Statement) -> None:
        """On one line where that fits and was meant, else a field a line."""
        if fields is None:
            self.out.item(head, node.span)
            return
        line = f"{head} {{ {', '.join(_field(f) for f in fields)} }}" if fields else f"{head} {{}}"
        inside = node.span.text[node.span.text.find("{") :]
        if not fields or ("\n" not in inside and self.out.fits(line)):
            self.out.item(line, node.span)
            return
        self.out.open(f"{head} {{", node.span)
        for field in fields:
            self.out.item(f"{_field(field)},", field.span)
        self.out.close(node.span)

    def _task(self, node: n.Task) -> None:
        self.out.open(f"task {node.name} {{", node.span)
        for clause in node.clauses:
            word, rest = _task_clause(clause)
            self.out.item(f"{word.ljust(TASK_WORD_WIDTH)} {rest}", clause.span)
        self.out.close(node.span)

    def _rule(self, node: n.Rule) -> None:
        self.out.open(f"{node.effect} {node.name} {{", node.span)
        for clause in node.clauses:
            word = n.clause_word(clause).ljust(RULE_WORD_WIDTH) + " "
            if isinstance(clause, n.Condition):
                self.out.expression(word, clause.expression, clause.span)
            else:
                self.out.item(word + _clause(clause), clause.span)
        self.out.close(node.span)

    # ---- tests

    def _test(self, node: n.Test) -> None:
        cases = ""
        if node.cases is not None:
            cases = f" for {node.cases.variable} in [{', '.join(show_expr(v) for v in node.cases.values)}]"
        self.out.open(f"test {quote(node.name)}{cases} {{", node.span)
        for item in sorted((*node.givens, *node.steps), key=lambda i: i.span.start):
            text = _step(item) if isinstance(item, n.Step) else f"given {_given(item)}"
            self.out.item(text, item.span)
        self.out.close(node.span)


def _whole(node: n.Statement) -> Span:
    """A statement with the annotations that stand before it."""
    starts = node.annotations[0].span.start if node.annotations else node.span.start
    return Span(node.span.source, starts, node.span.end)


def _is_block(node: n.Statement) -> bool:
    return isinstance(node, n.Task | n.Rule | n.HttpRoutes | n.TcpRoutes | n.Test)


def _names(names: tuple[n.Ident, ...]) -> str:
    return ", ".join(name.text for name in names)


def _in(parents: tuple[n.Ident, ...]) -> str:
    return f" in {_names(parents)}" if parents else ""


def _source(source: n.SourceWord | None) -> str:
    return "" if source is None else " claimed" if source == "claimed" else f" from {source}"


def _field(field: n.Field) -> str:
    return f"{field.name}: {show_type(field.type)}{_source(field.source)}"


def _task_clause(clause: n.TaskClause) -> tuple[str, str]:
    match clause:
        case n.Carries(fields):
            return "carries", ", ".join(_field(f) for f in fields)
        case n.OpenedBy(openers):
            named = ", ".join(show_subject(o) for o in openers if not isinstance(o, n.Ident))
            holder = any(isinstance(o, n.Ident) for o in openers)
            return "opened by", f"{named} or holder" if named and holder else named or "holder"
        case n.TaskWho(who):
            return "who", ", ".join(show_subject(s) for s in who)
        case n.May(actions, on):
            return "may", f"{_names(actions)} on {', '.join(show_scope(s) for s in on)}"
        case n.Lasts(at_most):
            return "lasts", f"at most {format_duration(at_most)}"
        case n.Approval(count, of):
            return "approved by", f"{count} of {show_scope(of)}"


def _clause(clause: n.Clause) -> str:
    match clause:
        case n.Who(subjects):
            return ", ".join(show_subject(s) for s in subjects)
        case n.For(scopes):
            return ", ".join(show_scope(s) for s in scopes)
        case n.On(scopes):
            return "any" if scopes is None else ", ".join(show_scope(s) for s in scopes)
        case n.Do(actions):
            return "any" if actions is None else _names(actions)
        case n.During(names) | n.Proof(names):
            return _names(names)
        case n.Trusting(paths):
            return ", ".join(str(p) for p in paths)
        case n.Because(text):
            return quote(text)
        case n.Condition():
            return show_expr(clause.expression)


def _target(target: n.Target) -> str:
    context = f" {show_record(target.context)}" if target.context is not None else ""
    return f"{target.action} on {target.type}({show_expr(target.id)}){context}"


def _given(given: n.Given) -> str:
    match given:
        case n.GivenNow(instant):
            return f"now {format_instant(instant)}"
        case n.GivenWorkload(spiffe_id, attributes, parents):
            return f"workload {spiffe_id}{_attributes(attributes)}{_parents(parents)}"
        case n.GivenEntity(type_, id_, attributes, parents, is_subject):
            user = "user " * is_subject
            return f"{user}{type_} {_text(id_)}{_attributes(attributes)}{_parents(parents)}"
        case n.GivenRow(relation, arguments, until):
            end = f" until {_moment(until)}" if until is not None else ""
            return f"{relation}({', '.join(show_expr(a) for a in arguments)}){end}"
        case n.GivenTask():
            parts = [f"task {given.name} = {given.kind}{_attributes(given.facts)}"]
            parts += [f"held by {given.holder}"] if given.holder else []
            parts += [f"opened by {given.opener}"] if given.opener else []
            parts += [f"lasting {format_duration(given.lasting)}"] if given.lasting is not None else []
            parts += [f"depth {given.depth}"] if given.depth else []
            parts += [f"proof {_names(given.proof)}"] if given.proof else []
            return " ".join(parts)
        case n.GivenGate(gate_id, attributes):
            return f"gate {gate_id}{_attributes(attributes)}"
        case n.GivenLocation(attributes):
            return f"location{_attributes(attributes)}"
        case n.GivenProof(facts):
            return f"proof {_names(facts)}"


def _step(step: n.Step) -> str:
    match step:
        case n.CheckStep():
            parts = [f"at {_moment(step.at)} {step.action} on {step.type} {_text(step.id)}{_attributes(step.context)}"]
            parts += [f"as {step.workload}"] if step.workload is not None else []
            parts += [f"for {step.user.type} {_text(step.user.id)}"] if step.user is not None else []
            parts += [f"during {step.task}"] if step.task is not None else []
            parts += ["without task"] if step.without_task else []
            parts += [f"proof {_names(step.proof)}"] if step.proof else []
            parts += [_outcome(step.outcome)] if step.outcome is not None else []
            return " ".join(parts)
        case n.TaskStep(at, verb, task):
            return f"at {_moment(at)} {verb} {task}"
        case n.DataStep(at, put, remove):
            if put is not None:
                return f"at {_moment(at)} given {_given(put)}"
            assert remove is not None
            if isinstance(remove, n.GivenRow):
                return f"at {_moment(at)} remove {_given(remove)}"
            return f"at {_moment(at)} remove {remove.type} {_text(remove.id)}"


def _outcome(outcome: n.Outcome) -> str:
    parts: list[str] = [outcome.effect]
    parts += [f"until {_moment(outcome.until)}"] if outcome.until is not None else []
    parts += [f"by {outcome.rule}"] if outcome.rule is not None else []
    parts += [f"because {outcome.reason}"] if outcome.reason is not None else []
    parts += [f"because {quote(outcome.because)}"] if outcome.because is not None else []
    return " ".join(parts)


def _attributes(record: n.Record | None) -> str:
    return "" if record is None else f" {show_record(record)}"


def _parents(parents: tuple[n.ParentRef, ...]) -> str:
    return f" in {', '.join(f'{p.type} {_text(p.id)}' for p in parents)}" if parents else ""


def _text(text: n.Text) -> str:
    return text.value if text.is_variable else quote(text.value)


def _moment(moment: n.Moment) -> str:
    return format_instant(moment.microseconds) if moment.absolute else format_duration(moment.microseconds)
