"""The manual is executed: every example in `docs/` is compiled, evaluated or run, and compared with what the page says.

The word after a block's language says what is done with it:

    policy               a policy set of its own: no finding at all, and its tests pass
    policy vocabulary    what the page's fragments build on (a page without one uses the reference's)
    policy world         the givens in which the page's expressions are evaluated
    policy fragment      compiles on top of the vocabulary; tests in it pass
    policy error CODE…   the same, and gives exactly these codes
    policy failing       its tests do not pass
    policy expressions   each line `EXPRESSION   # true`, `# false`, `# error`, or the code that it is refused with
    policy excerpt FILE  stands so in that file of the template
    policy FILE          a file that the page writes; so does json, yaml, ndjson, ini, python FILE; diff FILE changes one
    console              commands and their output; a line `…` stands for any lines, `…` in a line for any text; pdp, pytest
    python               runs, in the folder that the page's commands made; an `output` block after it is what it prints

Everything on a page runs in one folder, from top to bottom.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer

from language import CODES, Bundle, Compiler, PolicyErrors, Severity, Source, run_test
from language.checker.builtins import BUILTINS
from language.types import Scalar
from language.vocabulary import GATE, LOCATION, PROCESS, PROOF_FACT, TASK_FIELDS
from pdp.cli import main as command
from pdp.engine.ways import test_ways as ways
from pdp.errors import ERROR_CODES
from pdp.grants.issuer_keys import KeyState
from pdp.grants.life import STEPS
from pdp.grants.people import Issuer
from pdp.grants.proof import ProofRules
from pdp.grants.reasons import REASONS
from pdp.grants.refusals import HANDLE_REFUSALS
from pdp.identity import REFUSALS, Options
from pdp.model.gates import TELLS, Gate
from pdp.sdk import asgi, grpc_server, sqlalchemy
from pdp.wire.envoy_answer import UNAVAILABLE_REASONS
from pdp.wire.envoy_headers import CREDENTIALS
from pdp.wire.refusals import UNFIT

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
GENERATED = ("diagnostics.md", "api.md")
TEMPLATE = ROOT / "pdp" / "cli" / "template"
REFERENCE = "language.md"
PAGES = tuple(sorted(p.name for p in DOCS.glob("*.md") if p.name not in GENERATED))

_BLOCK = re.compile(r"^```(\S[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SAID = re.compile(r"(?P<expression>.*\S)\s+# (?P<value>[a-z_]+)")


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def kind(self) -> str:
        return " ".join([self.language, *self.words[:1]]) if self.language == "policy" else self.language

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def read(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


@cache
def blocks(page: str) -> tuple[Block, ...]:
    text = read(page)
    found = []
    for match in _BLOCK.finditer(text):
        language, *words = match[1].split()
        found.append(Block(page, text.count("\n", 0, match.start()) + 1, language, tuple(words), match[2]))
    return tuple(found)


def of_kind(*kinds: str) -> list[Any]:
    found = [b for page in PAGES for b in blocks(page) if b.kind in kinds]
    return [pytest.param(b, id=str(b)) for b in found]


def only(kind: str, page: str) -> Block:
    own = [b for b in blocks(page) if b.kind == kind] or [b for b in blocks(REFERENCE) if b.kind == kind]
    assert len(own) == 1, f"{page}: one `{kind}` block"
    return own[0]


# ---- policies


def compiled(*texts: str) -> Bundle:
    return Compiler().compile([Source("example.policy", "\n".join(texts))])


def codes(*texts: str) -> set[str]:
    """What is found; a declaration that an example does not use is no finding about it."""
    _, diagnostics = Compiler().check([Source("example.policy", "\n".join(texts))])
    return {d.code for d in diagnostics if d.code != "unused_declaration"}


def failures(bundle: Bundle) -> list[str]:
    results = [run_test(bundle, test, ways()) for test in bundle.tests]
    return [f"{f.span.text}: {f.message}" for r in results for f in r.failures]


@pytest.mark.parametrize("block", of_kind("policy"))
def test_policy_stands_by_itself(block: Block) -> None:
    bundle = compiled(block.text)
    assert [(d.code, d.message) for d in bundle.warnings] == []
    assert failures(bundle) == []


@pytest.mark.parametrize("block", of_kind("policy vocabulary"))
def test_vocabulary_compiles(block: Block) -> None:
    assert codes(block.text) == set()


@pytest.mark.parametrize("block", of_kind("policy fragment"))
def test_fragment_compiles(block: Block) -> None:
    texts = only("policy vocabulary", block.page).text, block.text
    assert codes(*texts) == set()
    assert failures(compiled(*texts)) == []


@pytest.mark.parametrize("block", of_kind("policy error"))
def test_error_is_found(block: Block) -> None:
    expected = set(block.words[1:])
    assert expected
    assert expected <= CODES.keys()
    before = "" if block.text.startswith("language 1") else only("policy vocabulary", block.page).text
    assert codes(before, block.text) == expected


@pytest.mark.parametrize("block", of_kind("policy failing"))
def test_failing_test_fails(block: Block) -> None:
    assert failures(compiled(only("policy vocabulary", block.page).text, block.text))


@pytest.mark.parametrize("block", of_kind("policy excerpt"))
def test_excerpt_is_in_the_template(block: Block) -> None:
    assert block.text.strip("\n") in (TEMPLATE / block.words[1]).read_text("utf-8")


# ---- expressions


def expressions() -> list[tuple[Block, str, str]]:
    found = []
    for page in PAGES:
        for block in blocks(page):
            if block.kind == "policy expressions":
                for line in filter(str.strip, block.text.split("\n")):
                    said = _SAID.fullmatch(line)
                    assert said, f"{block}: `{line}` says no value"
                    found.append((block, said["expression"], said["value"]))
    return found


_REASONS = {"true": "denied", "false": "default_deny", "error": "error"}
# A deny, so that all three values can be told apart; what it reads may be claimed or optional.
_PROBE = '@escapable("probe")\ndeny probe {{ do select on Table when {} {} }}'
_STEP = 'at 0s select on Table "invoices" {{ columns: ["id", "total"], none: [] }} deny because {}'


@pytest.mark.parametrize(("block", "expression", "value"), [pytest.param(*e, id=f"{e[0]} {e[1]}") for e in expressions()])
def test_expression_has_its_value(block: Block, expression: str, value: str) -> None:
    assert value_of(block.page, expression, value) == value


def value_of(page: str, expression: str, expected: str) -> str:
    vocabulary, world = only("policy vocabulary", page).text, only("policy world", page).text
    rule = _PROBE.format(expression, "trusting context.columns" if "columns" in expression else "")
    step = _STEP.format(_REASONS.get(expected, "denied"))
    try:
        bundle = compiled(vocabulary, rule, f'test "probe" {{\n{world}\n{step}\n}}')
    except PolicyErrors as errors:
        found = {d.code for d in errors.diagnostics if d.is_error}
        return expected if expected in found else ", ".join(sorted(found))
    wrong = failures(bundle)
    return expected if not wrong and expected in _REASONS else f"compiles; {wrong}"


@pytest.mark.parametrize("builtin", BUILTINS, ids=lambda b: f"{b.of}.{b.name}")
def test_builtin_is_in_the_reference(builtin: Any) -> None:
    told = {(expression, value) for block, expression, value in expressions() if block.page == REFERENCE}
    assert (builtin.true_example, "true") in told
    assert (builtin.false_example, "false") in told
    assert f"`.{builtin.name}(" in read(REFERENCE)


# ---- the tables of the manual


def code_spans(page: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", _BLOCK.sub("", read(page))))


def test_reference_knows_every_keyword() -> None:
    grammar = (ROOT / "language" / "syntax" / "grammar.lark").read_text("utf-8")
    keywords = re.findall(r"^[A-Z]+\.9: /([a-z]+)\(\?!", grammar, re.MULTILINE)
    (written,) = (b.text for b in blocks(REFERENCE) if b.language == "ebnf")
    quoted = set(re.findall(r'"([^"\s]+)"', written))
    assert len(keywords) > 50
    assert [k for k in keywords if k not in quoted] == []
    operators = set(re.findall(r'^[A-Z]+: "([^"]+)"', grammar, re.MULTILINE))
    assert operators <= quoted


def test_reference_knows_every_type_and_field() -> None:
    told = code_spans(REFERENCE)
    fields = [f.name for f in TASK_FIELDS]
    fields += [f"{r.name}.{f.name}" for r in (GATE, LOCATION) for f in r.fields]
    fields += [f"workload.process.{f.name}" for f in PROCESS.fields]
    words = [*[s.value for s in Scalar], *PROOF_FACT.members, *PROCESS.fields[0].type.members, *fields]  # type: ignore[union-attr]
    assert [w for w in words if w not in told and f"task.{w}" not in told] == []


LIMITS = (
    "RULES_MAX",
    "FIELDS_MAX",
    "ELEMENTS_MAX",
    "NESTING_MAX",
    "DEFINITIONS_DEPTH_MAX",
    "QUANTIFIERS_MAX",
    "ID_BYTES_MAX",
)


@cache
def sources() -> str:
    return "\n".join(p.read_text("utf-8") for p in sorted((ROOT / "language").rglob("*.py")))


@pytest.mark.parametrize("name", LIMITS)
def test_reference_knows_the_limit(name: str) -> None:
    found = set(re.findall(rf"^{name} = ([0-9_]+)$", re.sub(r" *#.*$", "", sources(), flags=re.MULTILINE), re.MULTILINE))
    assert len(found) == 1, f"{name}: {found}"
    assert re.search(rf"\b{int(found.pop()):,}\b", read(REFERENCE))


def test_every_warning_is_in_the_reference() -> None:
    told = code_spans(REFERENCE)
    assert [n for n, c in CODES.items() if c.severity is Severity.WARNING and n not in told] == []


def test_every_reason_is_in_the_page_of_decisions() -> None:
    told = code_spans("decisions.md")
    assert [n for n, c in CODES.items() if c.severity is Severity.REASON and n not in told] == []
    assert [n for n in ERROR_CODES if n not in told] == []


def test_every_reason_of_a_gate_is_in_the_page_of_gates() -> None:
    told = code_spans("python.md")
    assert [n for gate in (asgi, grpc_server, sqlalchemy) for n in gate.REASONS if n not in told] == []


def test_every_verb_and_option_is_in_the_page_of_the_command_line() -> None:
    page = read("cli.md")
    command._add_verbs([])
    for verb, found in verbs_of(typer.main.get_command(command.app)):
        assert f"\n## `pdp {verb}`\n" in page, verb
        section = page.split(f"\n## `pdp {verb}`\n")[1].split("\n## ")[0]
        for parameter in found.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert f"`{parameter.opts[0]}" in section, (verb, parameter.opts)
                twin = f"`PDP_{verb}_{parameter.name}`".upper().replace("-", "_").replace(" ", "_")
                assert twin in section.upper(), (verb, parameter.name)


def verbs_of(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb with its command; those of a group as `dev ca`."""
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from verbs_of(found, f"{before}{name} ")
        else:
            yield f"{before}{name}", found


def test_every_refusal_is_in_the_page_of_identity() -> None:
    told = re.findall(r"^\| `([a-z0-9_]+)` \| ([A-Z]+-\d+) \| (.+?) \|$", read("identity.md"), re.MULTILINE)
    assert told == [(code, rule.number, rule.says) for code, rule in REFUSALS.items()]


def test_every_code_and_step_of_grants_is_in_their_page() -> None:
    told = re.findall(r"^\| `([a-z_]+)` \| (check|step|check, step) \| (.+?) \|$", read("grants.md"), re.MULTILINE)
    assert told == [(code, ", ".join(sorted(reason.where)), reason.says) for code, reason in REASONS.items()]
    for step in STEPS:
        before = ", ".join("nothing" if state is None else f"`{state.value}`" for state in step.before)
        after = ", ".join(f"`{state.value}`" for state in step.after)
        assert f"| `{step.name}` | {before} | {after} | {step.who} |" in read("grants.md")


def test_every_option_of_identity_is_in_its_page() -> None:
    told = code_spans("identity.md")
    assert [f.name for f in dataclasses.fields(Options) if f.name not in told] == []


def test_every_refusal_of_handles_and_proofs_is_in_their_page() -> None:
    told = re.findall(r"^\| `([a-z0-9_]+)` \| ([A-Z]+-\d+) \| (.+?) \|$", read("handles.md"), re.MULTILINE)
    assert told == [(code, rule.number, rule.says) for code, rule in HANDLE_REFUSALS.items()]


def test_every_option_of_people_and_proofs_is_in_their_page() -> None:
    told = code_spans("handles.md")
    fields = [*dataclasses.fields(Issuer), *dataclasses.fields(ProofRules)]
    assert [f.name for f in fields if f.name not in told] == []
    assert [state.value for state in KeyState if state.value not in told] == []


def test_every_refusal_of_a_message_is_in_the_page_of_envoy() -> None:
    told = re.findall(r"^\| `([a-z0-9_]+)` \| (\S+) \| (\d+) \| (.+?) \|$", read("envoy.md"), re.MULTILINE)
    assert told == [(code, rule.number, str(rule.status), rule.says) for code, rule in UNFIT.items()]


def test_every_word_of_a_gate_is_in_the_page_of_envoy() -> None:
    words = {f.name for f in dataclasses.fields(Gate) if f.init} | set(CREDENTIALS) | set(TELLS) | set(UNAVAILABLE_REASONS)
    assert words - code_spans("envoy.md") == set()


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", read(page))):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            path = (DOCS / (name or page)).resolve()
            assert path.exists(), f"{page}: {target}"
            if anchor:
                assert anchor in anchors(path), f"{page}: {target}"


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_every_page_is_in_the_index() -> None:
    index = read("README.md")
    assert [p.name for p in DOCS.glob("*.md") if p.name != "README.md" and f"]({p.name})" not in index] == []


def test_every_block_is_of_a_known_kind() -> None:
    policy = {"", "vocabulary", "world", "fragment", "error", "failing", "expressions", "excerpt"}
    other = {"console", "python", "output", "json", "yaml", "diff", "ebnf", "sh", "text", "ndjson", "ini"}
    for page in PAGES:
        for block in blocks(page):
            known = block.words[0] if block.words else ""
            fits = known in policy or "." in known if block.language == "policy" else block.language in other
            assert fits, str(block)
    assert sum(read(p).count("\n```") for p in PAGES) == 2 * sum(len(blocks(p)) for p in PAGES)


# ---- what runs: one folder for each page, from top to bottom


@pytest.mark.parametrize("page", PAGES)
def test_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names: dict[str, Any] = {"__name__": "__manual__"}
    printed = ""
    for block in blocks(page):
        match block.language:
            case "console":
                run_console(block, monkeypatch)
            case "python" if not block.words:
                printed = run_python(block, names)
            case "output":
                assert_alike(block.text, printed, f"{block}: output")
            case "json" | "yaml" | "ndjson" | "ini" | "python" | "policy" if block.words and "." in block.words[-1]:
                if block.kind != "policy excerpt":
                    write(tmp_path / block.words[-1], block.text)
            case "diff":
                change(tmp_path / block.words[0], block)


def run_python(block: Block, names: dict[str, Any]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\n" * block.line + block.text, str(DOCS / block.page), "exec"), names)
    return out.getvalue()


def run_console(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    code = 0
    for line, expected in commands(block):
        if line == "echo $?":
            assert expected.strip() == str(code), f"{block}: the exit code is {code}"
            continue
        printed, code = run_pytest(line) if line.startswith("pytest") else run_pdp(line, monkeypatch)
        assert_alike(expected, printed, f"{block}: {line}")


def commands(block: Block) -> Iterator[tuple[str, str]]:
    parts = re.split(r"^\$ (.+)\n", block.text, flags=re.MULTILINE)
    assert parts[0] == "", f"{block}: starts with a command"
    yield from zip(parts[1::2], parts[2::2], strict=True)


def run_pdp(line: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """The command in this process: what it prints on both streams, and its exit code."""
    words = shlex.split(line)
    with monkeypatch.context() as patch:
        while "=" in words[0]:
            patch.setenv(*words.pop(0).split("=", 1))
        assert words[0] == "pdp", line
        patch.setattr(sys, "argv", words)
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), pytest.raises(SystemExit) as ended:
            command.main()
    return out.getvalue(), int(ended.value.code or 0)


def run_pytest(line: str) -> tuple[str, int]:
    """pytest in a process of its own, with our plugin also where the project was installed before it had one."""
    installed = any(e.name == "bulkhead" for e in entry_points(group="pytest11"))
    plugins = [] if installed else ["-p", "pdp.sdk.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "--no-header", "-p", "no:hypothesispytest", *plugins, *shlex.split(line)[1:]]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path, "COLUMNS": "100"}
    )
    return run.stdout + run.stderr, run.returncode


def assert_alike(expected: str, found: str, where: str) -> None:
    pattern = "".join(
        r"(?:[^\n]*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n"
        for line in expected.strip("\n").split("\n")
    )
    if not expected.strip():
        pattern = ""
    assert re.fullmatch(pattern, found.strip("\n") + "\n" if found.strip() else ""), f"{where}\n{found}"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def change(path: Path, block: Block) -> None:
    """A change as a diff without line numbers; what it takes away stands in the file once."""
    lines = block.text.splitlines()
    before = "".join(line[1:] + "\n" for line in lines if line[0] in " -")
    after = "".join(line[1:] + "\n" for line in lines if line[0] in " +")
    text = path.read_text("utf-8")
    assert text.count(before) == 1, f"{block}: stands once in {path.name}"
    path.write_text(text.replace(before, after), "utf-8")
