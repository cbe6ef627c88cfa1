"""Source -> Module, with every syntax error in our own words.

Before lark sees the text, one linear scan collects comments, bounds nesting, statement and file size, and refuses
characters that lie to the eye. After a syntax error the broken clause or statement is blanked out and the rest is read
again, so that one run tells about more than one mistake.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from lark import Lark
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from language.diagnostics import Diagnostic, did_you_mean, printable
from language.source import Source, Span
from language.syntax import nodes as n
from language.syntax.build import Build
from language.syntax.literals import HIDDEN
from language.syntax.reductions import NESTING_MAX, current_diagnostics, current_source

FILE_BYTES_MAX = 3 * 1024 * 1024
LINE_MAX = 64 * 1024
STATEMENT_MAX = 256 * 1024
STATEMENTS_MAX = 100_000  # lines that can start one, and blocks that end
SYNTAX_ERRORS_MAX = 20


def parse(source: Source) -> tuple[n.Module, list[Diagnostic]]:
    """The module of a source, and what is wrong with it; a module with errors is marked `broken`."""
    found: list[Diagnostic] = []
    comments = _scan(source, found)
    if any(d.is_error for d in found):
        return _empty(source), found
    text = source.text
    broken = False
    for _ in range(SYNTAX_ERRORS_MAX):
        attempt: list[Diagnostic] = []
        try:
            items = _parse_text(source, text, attempt)
        except UnexpectedInput as error:
            broken = True
            found.append(_explain(source, text, error))
            blanked = _blank_out(text, _offset(error, text))
            if blanked == text:
                break
            text = blanked
        else:
            found += attempt
            if any(d.code == "nesting_too_deep" for d in attempt):
                return _empty(source), found  # no later pass may meet a tree that its recursion cannot follow
            return replace(_module(source, items, comments, found), broken=broken), found
    return _empty(source), found


def _empty(source: Source) -> n.Module:
    return n.Module(source, None, (), None, (), (), broken=True)


def _parse_text(source: Source, text: str, found: list[Diagnostic]) -> list[Any]:
    tokens = current_source.set(source), current_diagnostics.set(found)
    try:
        items: list[Any] = _parser().parse(text)  # type: ignore[assignment]  # the transformer's `start` returns a list
        return items
    finally:
        current_source.reset(tokens[0])
        current_diagnostics.reset(tokens[1])


def make_parser(**options: Any) -> Lark:
    """The parser built from the grammar; `tools/generate.py` stores its tables, which load ten times faster."""
    grammar = files("language.syntax").joinpath("grammar.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", maybe_placeholders=False, **options)


@cache
def _parser() -> Lark:
    stored = json.loads(files("language.syntax").joinpath("_gen/tables.json").read_text("utf-8"))
    table = stored["data"]["parser"]["parser"]
    table["states"] = {int(state): actions for state, actions in table["states"].items()}  # JSON has only texts as keys
    memo = {int(number): each for number, each in stored["memo"].items()}
    parser: Lark = Lark._load_from_dict(  # type: ignore[no-untyped-call]  # as lark's own stand-alone parsers do
        stored["data"], memo, transformer=Build()
    )
    return parser


def _module(source: Source, items: list[Any], comments: tuple[n.Comment, ...], found: list[Diagnostic]) -> n.Module:
    version, package = None, ()
    package_span = pin_span = None
    statements: list[n.Statement] = []
    annotations: list[n.Annotation] = []
    docs = _docs(source, comments)
    for item in items:
        if isinstance(item, tuple):
            if item[0] == "pin":
                version, pin_span = item[1], item[2]
            else:
                package, package_span = item[1], item[2]
        elif isinstance(item, n.Annotation):
            annotations.append(item)
        else:
            first = annotations[0].span.start if annotations else item.span.start
            doc = docs.get(source.position(first)[0])
            if annotations or doc:
                item = replace(item, annotations=tuple(annotations), doc=doc)
                annotations = []
            statements.append(item)
    for annotation in annotations if not found else ():  # after a syntax error its statement may be gone
        found.append(Diagnostic("dangling_annotation", "an annotation with no statement after it", annotation.span))
    return n.Module(source, version, package, package_span, tuple(statements), comments, pin_span)


def _docs(source: Source, comments: tuple[n.Comment, ...]) -> dict[int, str]:
    """Doc comments by the line that follows them: consecutive `##` lines are one text."""
    docs: dict[int, str] = {}
    for comment in comments:
        if comment.own_line and comment.text.startswith("##"):
            line = source.position(comment.start)[0]
            before = docs.pop(line, None)
            text = comment.text[2:].strip()
            docs[line + 1] = f"{before}\n{text}" if before else text
    return docs


# ---- the scan before the parse

_LANDMARK = re.compile(r'"(?:[^"\\\n]|\\.)*"?|#[^\n]*|[()\[\]{}]|\n(?=[a-z@])')
_FORBIDDEN = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff{HIDDEN}]")
_LONG_LINE = re.compile(rf"[^\n]{{{LINE_MAX + 1}}}")


def _scan(source: Source, found: list[Diagnostic]) -> tuple[n.Comment, ...]:
    text = source.text
    if len(text) > FILE_BYTES_MAX or len(text.encode("utf-8", "surrogatepass")) > FILE_BYTES_MAX:
        limit = f"{FILE_BYTES_MAX // 1024 // 1024} MiB"
        found.append(Diagnostic("file_too_large", f"a policy file has at most {limit}", None, f"split `{source.path}`"))
        return ()
    if match := _LONG_LINE.search(text):
        span = Span(source, match.start(), match.start() + 1)
        found.append(Diagnostic("line_too_long", f"a line has at most {LINE_MAX} characters", span))
        return ()
    for match in _FORBIDDEN.finditer(text):
        if len(found) >= SYNTAX_ERRORS_MAX:
            break
        span = Span(source, match.start(), match.end())
        name = f"U+{ord(match[0]):04X}"
        hint = f"in a string write `\\u{{{ord(match[0]):x}}}`"
        found.append(Diagnostic("forbidden_character", f"the invisible character {name} may not stand here", span, hint))
    comments: list[n.Comment] = []
    opened: list[int] = []
    boundary = boundaries = 0
    for match in _LANDMARK.finditer(text):
        start, mark = match.start(), match[0]
        kind = mark[0]
        if kind == "#":
            before = text[text.rfind("\n", 0, start) + 1 : start]
            comments.append(n.Comment(start, match.end(), mark.rstrip(), not before.strip()))
        elif kind in "([{":
            opened.append(start)
            if len(opened) == NESTING_MAX + 1:
                span = Span(source, start, start + 1)
                found.append(Diagnostic("nesting_too_deep", f"brackets nest at most {NESTING_MAX} deep", span))
                return ()
        elif kind in ")]}":
            if opened:
                opened.pop()
        if start - boundary > STATEMENT_MAX:
            span = Span(source, boundary, boundary + 1)
            found.append(Diagnostic("statement_too_large", f"a statement has at most {STATEMENT_MAX} characters", span))
            return ()
        if not opened and kind in "\n}":
            boundary = start
            boundaries += 1
            if boundaries > STATEMENTS_MAX:
                span = Span(source, start, start + 1)
                found.append(Diagnostic("too_many_elements", "a file has too many statements; split it", span))
                return ()
    if len(text) - boundary > STATEMENT_MAX:
        span = Span(source, boundary, boundary + 1)
        found.append(Diagnostic("statement_too_large", f"a statement has at most {STATEMENT_MAX} characters", span))
    return tuple(comments)


# ---- recovery

_STATEMENT_START = re.compile(
    r"^[ \t]*(?:enum|entity|workload|relation|action|task|define|allow|deny|routes|test|@[a-z])(?![A-Za-z0-9_])", re.M
)
_CLAUSE = r"(?:who|for|do|on|during|proof|when|unless|from|until|trusting|because)(?![A-Za-z0-9_])"
_CLAUSE_LINE = re.compile(r"[ \t]*" + _CLAUSE)
_AFTER_CLAUSE = re.compile(r"\s*(?:" + _CLAUSE + r"|\})")


def _blank_out(text: str, offset: int) -> str:
    """The text with the broken clause, or else the broken statement, turned to spaces."""
    line_start = text.rfind("\n", 0, offset) + 1
    line_end = text.find("\n", offset)
    line_end = len(text) if line_end == -1 else line_end
    if _CLAUSE_LINE.match(text, line_start) and _AFTER_CLAUSE.match(_without_comment_lines(text, line_end)):
        return _spaces(text, line_start, line_end)
    starts = [m.start() for m in _STATEMENT_START.finditer(text)]
    begin = max((s for s in starts if s <= offset), default=0)
    end = min((s for s in starts if s > max(offset, begin)), default=len(text))
    return _spaces(text, begin, end)


def _without_comment_lines(text: str, start: int) -> str:
    return re.sub(r"#[^\n]*", "", text[start : start + 2000])


def _spaces(text: str, start: int, end: int) -> str:
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


# ---- words for syntax errors


def _offset(error: UnexpectedInput, text: str) -> int:
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return len(text.rstrip()) if text.strip() else 0
    return error.pos_in_stream or 0


_BAD_NUMBER = re.compile(r"[0-9][0-9A-Za-z_.]*")
_INSTANT_WITHOUT_OFFSET = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]*")
_CLOSED_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_NON_ASCII_NAME = re.compile(r"[^\W\d]\w*")


def _explain(source: Source, text: str, error: UnexpectedInput) -> Diagnostic:
    offset = _offset(error, text)
    expected = _expected(error)
    wanted = f"; expected {expected}" if expected else ""
    if isinstance(error, UnexpectedToken):
        if error.token.type == "$END":
            return Diagnostic("unexpected_end", f"the file ends too early{wanted}", Span(source, offset, offset))
        word = str(error.token)
        span = Span(source, offset, offset + len(word))
        hint = did_you_mean(word, _accepted_words(error))
        return Diagnostic("unexpected_word", f"found `{printable(word[:60])}`{wanted}", span, hint)
    assert isinstance(error, UnexpectedCharacters)
    character = text[offset]
    if character == '"':
        end = text.find("\n", offset)
        span = Span(source, offset, len(text) if end == -1 else end)
        if _CLOSED_STRING.match(text, offset):
            return Diagnostic("unexpected_word", f"found a string{wanted}", span)
        return Diagnostic("unterminated_string", "this string has no closing quote on its line", span)
    if match := _INSTANT_WITHOUT_OFFSET.match(text, max(0, offset - 8)):
        hint = "end it with `Z`, or with an offset such as `+02:00`"
        span = Span(source, match.start(), match.end())
        return Diagnostic("bad_number", f"the instant `{match[0]}` does not say its offset", span, hint)
    if match := _BAD_NUMBER.match(text, offset):
        span = Span(source, offset, match.end())
        hint = "durations are written `15m`, `1h30m`, `90s`; there are no decimals"
        return Diagnostic("bad_number", f"`{match[0][:60]}` is not a number, duration or time{wanted}", span, hint)
    if match := _NON_ASCII_NAME.match(text, offset):
        span = Span(source, offset, match.end())
        if not match[0].isascii():
            hint = "names are ASCII; text of any script may stand in strings"
            return Diagnostic("non_ascii_name", f"`{printable(match[0][:60])}` is not a name", span, hint)
        hint = did_you_mean(match[0], _accepted_words(error))
        return Diagnostic("unexpected_word", f"found `{match[0][:60]}`{wanted}", span, hint)
    span = Span(source, offset, offset + 1)
    return Diagnostic("unexpected_character", f"found `{printable(character)}`{wanted}", span, _ALIENS.get(character))


_ALIENS = {
    "'": "strings stand in double quotes",
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`, or `!=`",
    ";": "clauses end with the line",
    "*": "there is no multiplication; `*` stands only in SPIFFE patterns",
    "%": "there is no remainder",
}


_NAMES = {
    "NAME": "a name",
    "RULE_NAME": "the name of a rule",
    "STRING": "a string",
    "INT": "a number",
    "DURATION": "a duration",
    "INSTANT": "an instant",
    "TIME": "a time of day",
    "SPIFFE": "a SPIFFE ID or pattern",
    "ANNOTATION": "an annotation",
    "METHOD": "a method",
    "PATH": "a path",
    "DAY": "a weekday",
    "$END": "the end of the file",
}
_EXPRESSION_START = {"NAME", "STRING", "INT", "LPAR", "LSQB", "TRUE", "NOW"}
_STATEMENT_WORDS = {"ENUM", "ENTITY", "ALLOW", "DENY", "DEFINE"}


def _accepted(error: UnexpectedInput) -> set[str]:
    if isinstance(error, UnexpectedToken):
        return set(error.accepts or error.expected or ())
    return set(error.allowed or ()) if isinstance(error, UnexpectedCharacters) else set()


def _accepted_words(error: UnexpectedInput) -> list[str]:
    return [name.lower() for name in _accepted(error) if name.isalpha() and name not in _NAMES]


def _expected(error: UnexpectedInput) -> str:
    """What could stand here, in a few words."""
    accepted = _accepted(error) - {"WS", "COMMENT"}
    words: list[str] = []
    if accepted >= _STATEMENT_WORDS:
        words.append("a statement such as `entity`, `allow` or `test`")
    elif accepted >= _EXPRESSION_START:
        words.append("an expression")
    else:
        terminals = {t.name: t for t in _parser().terminals}
        for name in sorted(accepted):
            if name in _NAMES:
                words.append(_NAMES[name])
            elif name in terminals and name.isalpha() and terminals[name].pattern.type == "re":
                words.append(f"`{name.lower()}`")
            elif name in terminals:
                words.append(f"`{terminals[name].pattern.value}`")
    words = sorted(words, key=lambda w: (w.startswith("`"), w))
    if len(words) > 12:
        words = [*words[:12], "…"]
    return ", ".join(words[:-1]) + (" or " if len(words) > 1 else "") + words[-1] if words else ""
