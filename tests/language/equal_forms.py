"""Conditions as trees, written as text, and written again in equal forms by the laws of logic and of sets.

A form is a tuple: a word and its parts. `atom`, `guard`, `value` and `set` hold text; every other word is an operator. A
guard lets something be read that stands beside it, which a comparison does not, so it is never written as one.
"""

from __future__ import annotations

from random import Random
from typing import Any

Form = tuple[Any, ...]

_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


def text_of(form: Form) -> str:
    match form:
        case "atom" | "guard" | "value" | "set", text:
            return str(text)
        case "not", item:
            return f"not ({text_of(item)})"
        case "and" | "or" as word, *items:
            return "(" + f" {word} ".join(text_of(i) for i in items) + ")"
        case "any" | "all" as word, over, body:
            return f"({word} it in {text_of(over)}: {text_of(body)})"
        case "in", item, over:
            return f"{text_of(item)} in {text_of(over)}"
        case "is_empty", of:
            return f"{text_of(of)}.is_empty()"
        case "contains" | "contains_all" | "overlaps" as word, of, argument:
            return f"{text_of(of)}.{word}({text_of(argument)})"
        case "call", name, *arguments:
            return f"{name}({', '.join(text_of(a) for a in arguments)})"
        case operator, left, right:
            return f"{_operand(left)} {operator} {_operand(right)}"
    raise AssertionError(form)


def _operand(form: Form) -> str:
    return f"({text_of(form)})" if form[0] == "atom" else text_of(form)


def restated(random: Random, form: Form) -> Form:
    """An equal form: every part may be written in another way. The order of parts stays, since guards come first."""
    match form:
        case "and" | "or" | "not" as word, *items:
            form = (word, *[restated(random, i) for i in items])
        case "any" | "all" as word, over, body:
            form = (word, over, restated(random, body))
    for _ in range(random.randint(0, 2)):
        form = random.choice(_equals(form))
    return form


def _equals(form: Form) -> list[Form]:
    equal: list[Form] = [form, ("not", ("not", form))]
    match form:
        case "atom", _:
            equal += [("==", form, ("value", "true")), ("!=", ("value", "false"), form)]
        case "and" | "or" as word, *items:
            equal.append(("not", ("or" if word == "and" else "and", *[("not", i) for i in items])))
        case "not", ("and" | "or" as word, *items):
            equal.append(("or" if word == "and" else "and", *[("not", i) for i in items]))
        case "not", ("not", item):
            equal.append(item)
        case "any" | "all" as word, over, body:
            equal.append(("not", ("all" if word == "any" else "any", over, ("not", body))))
        case "contains", of, item:
            equal.append(("in", item, of))
            if of[1] != "proof":
                equal += [("any", of, ("==", ("value", "it"), item)), ("call", "listed", item, of)]
        case "contains_all", of, ("set", text) as argument if "[" not in text:
            equal.append(("all", argument, ("in", ("value", "it"), of)))
        case ("==" | "!=" | "<" | "<=" | ">" | ">=") as operator, left, right:
            equal += [("not", (_OPPOSITE[operator], left, right)), (_MIRRORED[operator], right, left)]
            if operator == "==" and right[1].startswith('"'):
                equal.append(("call", "same", left, right))
    return equal
