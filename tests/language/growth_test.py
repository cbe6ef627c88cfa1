"""What it costs to check grows with what is written, and not with its square: lines that are run are counted, not time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from language import Compiler, Source

PARTS = 5
PART = ", ".join(f"s{i}: Set<String>" for i in range(200))
PARTS_WRITTEN = ",\n".join(f"f{i}: {{ {PART} }}" for i in range(PARTS))
HEAD = f"""language 1
entity User
entity Doc
action read on Doc {{ map: Map<String, String>, {PARTS_WRITTEN} }}
task job {{ carries n: Int opened by spiffe://a.b/ci who spiffe://a.b/** may read on Doc lasts at most 1h }}
allow users {{ for User do read on Doc }}
"""


def joined(word: str, count: int, form: Callable[[int], str]) -> str:
    return f"\n {word} ".join(map(form, range(count)))


def field(number: int) -> str:
    return f"context.f{number // 200}.s{number % 200}"


def trusting() -> str:
    return "trusting " + ",\n ".join(f"context.f{i}" for i in range(PARTS))


def key(number: int) -> str:
    return f'context.map has "k{number}"'


def bearers(count: int) -> str:
    rule = "allow a{0} {{ who spiffe://a.b/** do read on Doc during job when task.n > {0} }}"
    return "".join(rule.format(i) + " # silence bearer_accepted: why\n" for i in range(count))


def telling(number: int) -> str:
    return f'(not {field(number)}.is_empty() and not {field(number)}.contains("a"))'


def deny(word: str, joint: str, count: int, form: Callable[[int], str]) -> str:
    return f"deny d {{ do read on Doc {word} {joined(joint, count, form)} }}"


GROWING: dict[str, Callable[[int], str]] = {
    "keys that lift": lambda n: deny("when", "or", n, key),
    "keys that do not": lambda n: deny("unless", "or", n, key),
    "keys in pairs": lambda n: deny("when", "and", n // 2, lambda i: f"({key(2 * i)} or {key(2 * i + 1)})"),
    "sets that lift": lambda n: deny("when", "or", n, lambda i: f'{field(i)}.contains("a")'),
    "sets that pass": lambda n: f"allow a {{ for User do read on Doc when {joined('and', n, telling)} {trusting()} }}",
    "silences": bearers,
}


def lines_run(text: str) -> int:
    """How many lines of the checker are run, each time that one is."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if "/checker/" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        Compiler().check([Source("p.policy", text)])
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("kind", GROWING)
def test_thrice_the_text_is_thrice_the_work(kind: str) -> None:
    """Silences, and each thing that can be left out, were looked for in all that is written."""
    least, some, many = (lines_run(HEAD + GROWING[kind](count)) for count in (10, 300, 900))
    assert many - least < 3.3 * (some - least)


def test_five_thousand_keys_are_few_steps_each() -> None:
    assert lines_run(HEAD + GROWING["keys that lift"](5_000)) < 5_000 * 1_500
