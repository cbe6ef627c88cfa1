"""What is not wrong and yet not right: findings about a policy set that compiles."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from language import typed as t
from language.checker.narrow import path_of
from language.checker.report import Report
from language.checker.withheld import UNKNOWN, Places, Withheld, Without, is_claimed
from language.source import Span
from language.syntax import nodes as n
from language.types import EntityType, EnumType, RecordType, SetType, Type


def lint(
    modules: tuple[n.Module, ...],
    program: t.Program,
    definitions: Mapping[str, Mapping[str, n.Define]],
    used: set[str],
    report: Report,
) -> None:
    _lint_twins(modules, report)
    _lint_unused(modules, program, definitions, used, report)
    _lint_scripts(modules, report)


def lint_rule(rule: t.Rule, report: Report) -> None:
    """What can be said about a rule by itself; a rule that is not checked again is not looked at again."""
    dead = "deny_never_matches" if rule.effect == "deny" else "unreachable_rule"
    instances = [i for found in rule.instances.values() for i in found]
    if not instances:
        report.say(dead, f"`{rule.short_name}` meets no action on any resource", rule.span)
        return
    impossible = [[c for c in i.conjuncts if _is_false(c.expr)] for i in instances]
    if all(impossible):
        report.say(dead, f"`{rule.short_name}` can never apply: this is never true", impossible[0][0].span)
    if rule.effect == "allow" and any(i.task_kind and not i.proofs for i in instances):
        hint = "add `proof key`, so that the grant is of use only with its key"
        message = f"`{rule.short_name}` takes a grant from whoever bears it"
        report.say("bearer_accepted", message, rule.span, hint)
    if rule.effect == "allow":
        _lint_empty_sets(rule, instances, report)


def _lint_empty_sets(rule: t.Rule, instances: list[t.Instance], report: Report) -> None:
    """An allow narrows what may be asked for, and a set with nothing in it passes; many read such a set as everything."""
    seen: set[tuple[int, ...]] = set()
    said: set[str] = set()
    for conjuncts in (i.conjuncts for i in instances):
        marks = tuple(map(id, conjuncts))  # conditions are shared by what a rule can meet
        if marks in seen:
            continue
        seen.add(marks)
        whole = t.And(tuple(c.expr for c in conjuncts), span=rule.span)
        sets = _sets_sent_empty(t.walk(whole))
        places = Places(whole) if sets else None
        for empty in (e for e in sets if e.label not in said):
            without = Without(empty, places)
            passing = [part for part in without.turns(whole, True) if _is_unsaid(part, without)]
            if passing:
                said.add(empty.label)
                hint = f"say `not {empty.label}.is_empty()` as well, or silence this with the reason"
                report.say("empty_set_passes", f"an empty `{empty.label}` passes here", passing[0].span, hint)


def _sets_sent_empty(parts: list[t.TypedExpr]) -> list[Withheld]:
    """The sets that the caller says, and those that may be absent, of which nobody knows what no element would mean."""
    optional = {path_of(e.of) for e in parts if isinstance(e, t.IsPresent)}
    sets = [e for e in parts if isinstance(e, t.FieldOf | t.AttributeOf) and isinstance(e.type, SetType)]
    paths = {path: e for e in sets if (path := path_of(e)) is not None}
    return [Withheld("elements", path) for path, e in paths.items() if is_claimed(e) or path in optional]


def _is_unsaid(part: t.TypedExpr, without: Without) -> bool:
    """Whether a part is settled by the empty set and does not itself say what an empty set means."""
    match part:
        case t.SetCall("is_empty"):
            return False
        case t.Compare(_, left, right) if any(isinstance(e, t.Constant) and e.value == frozenset() for e in (left, right)):
            return False
        case _:
            return without.worth(part) is not UNKNOWN


def _lint_twins(modules: tuple[n.Module, ...], report: Report) -> None:
    """Two rules of one package that say the same, clause by clause."""
    same: dict[object, n.Rule] = {}
    for module in modules:
        for node in module.statements:
            if isinstance(node, n.Rule):
                said = frozenset(node.clauses)
                twin = same.setdefault((module.package, node.effect, said), node)
                if twin is not node and twin.name.text != node.name.text:
                    message = f"`{node.name}` changes no answer: `{twin.name}` says the same"
                    report.say("redundant_rule", message, node.name.span)


def _is_false(expr: t.TypedExpr) -> bool:
    match expr:
        case t.Constant(value):
            return value is False
        case t.Not(t.Constant(value)):
            return value is True
        case _:
            return False


def _lint_unused(
    modules: tuple[n.Module, ...],
    program: t.Program,
    definitions: Mapping[str, Mapping[str, n.Define]],
    used: set[str],
    report: Report,
) -> None:
    acted = {action for rule in program.rules for action, _ in rule.instances}
    reached = used | {name for r in program.vocabulary.actions.values() for name in r.on}
    reached |= {p for e in (*program.vocabulary.entities.values(), program.vocabulary.workload) for p in e.parents}
    reached |= {name for r in program.vocabulary.relations.values() for name in r.of}
    reached |= _types_in_use(program)
    for module in modules:
        for node in module.statements:
            match node:
                case n.Entity(name) | n.Enum(name) | n.Relation(name) | n.Task(name) if name.text not in reached:
                    report.say("unused_declaration", f"nothing uses `{name}`", name.span)
                case n.Define(name) if name.text not in reached:
                    report.say("unused_declaration", f"nothing uses `{name}`", name.span)
                case n.Action(names):
                    for name in names:
                        if name.text not in acted and program.rules:
                            report.say("unused_declaration", f"no rule is about `{name}`", name.span)


def _types_in_use(program: t.Program) -> set[str]:
    found: set[str] = set()
    vocabulary = program.vocabulary
    waiting: list[Type] = [f.type for e in (*vocabulary.entities.values(), vocabulary.workload) for f in e.fields]
    waiting += [f.type for a in vocabulary.actions.values() for f in a.context.fields]
    waiting += [f.type for task in vocabulary.tasks.values() for f in task.carries]
    while waiting:
        match waiting.pop():
            case EnumType(name) | EntityType(name):
                found.add(name)
            case SetType(of):
                waiting.append(of)
            case RecordType(fields):
                waiting += [f.type for f in fields]
    return found


def _lint_scripts(modules: tuple[n.Module, ...], report: Report) -> None:
    """Letters of two scripts in one word: what looks like one name may be another."""
    for module in modules:
        text = module.source.text
        if text.isascii():
            continue
        for match in re.finditer(r"[^\W\d_]{2,}", text):
            scripts = {_script(c) for c in match[0]}
            if len(scripts) > 1:
                message = f"`{match[0]}` mixes letters of {' and '.join(sorted(scripts))}"
                report.say("mixed_script", message, Span(module.source, match.start(), match.end()))


def _script(character: str) -> str:
    return unicodedata.name(character, "UNKNOWN").split(" ")[0].capitalize()
