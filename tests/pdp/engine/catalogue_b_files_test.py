"""Section B of the catalogue of faults, in files: requests for `pdp eval`, and data beside policies.

Each row is one thing away from a file that is read. The answer is `invalid_request` or `invalid_data` with the file named,
from the readers and, as exit code 2 without a traceback, from the command.
"""

# ruff: noqa: E501, RUF001  # tables are read a row a line; the odd digits are the point
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pdp
from pdp.store import strict_data
from pdp.store.requests import REQUEST_BYTES_MAX, read_request

POLICY = """language 1
entity User { level: Int }
entity Doc
action read on Doc { n: Int? from gate, s: String? from gate, tags: Set<String>? from gate }
allow ok { for User
 do read
 on Doc
 when user.level == 1 }
"""
BASE = '"action":"read","resource":["Doc","d"],"user":["User","ada"]'
JSON_OK = f'{{{BASE},"context":{{"n":0}}}}'
YAML_OK = "action: read\nresource: [Doc, d]\nuser: [User, ada]\ncontext:\n  n: 0\n"
RECORD = '{"type":"User","id":"ada","attributes":{"level":1}}'


def asked(tmp_path: Path, text: str | bytes, suffix: str) -> pdp.Decision:
    file = tmp_path / f"request{suffix}"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return engine(tmp_path).check(read_request(file))


def engine(tmp_path: Path, data: str | bytes = RECORD, name: str = "d.ndjson") -> pdp.Engine:
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "p.policy").write_text(POLICY)
    (tmp_path / "data" / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return pdp.Engine.load(tmp_path)


def refused(tmp_path: Path, text: str | bytes, suffix: str, codes: tuple[str, ...] = ("invalid_request",)) -> str:
    with pytest.raises(pdp.PdpError) as caught:
        asked(tmp_path, text, suffix)
    assert caught.value.code in codes
    assert len(caught.value.message.encode()) < 600  # no log has to choke on it
    return caught.value.message


def n(text: str) -> str:
    return f'{{{BASE},"context":{{"n":{text}}}}}'


def test_the_neighbours_are_allowed(tmp_path: Path) -> None:
    assert asked(tmp_path, JSON_OK, ".json").allowed
    assert asked(tmp_path, YAML_OK, ".yaml").allowed


DEEP = 10_000
JSON_ROWS = [
    ("26-dup-keys", f'{{{BASE},"action":"read"}}'),
    ("26-dup-keys-escaped", f'{{{BASE},"\\u0061ction":"read"}}'),
    ("26-dup-keys-inside", f'{{{BASE},"context":{{"n":0,"n":0}}}}'),
    ("26-dup-keys-in-an-entity", '{"action":"read","resource":{"type":"Doc","id":"d","id":"d"},"user":["User","ada"]}'),
    ("27-case-keys", f'{{{BASE},"Context":{{"n":0}}}}'),
    ("27-case-keys-both", f'{{{BASE},"context":{{"n":0,"N":0}}}}'),
    ("27-unknown", f'{{{BASE},"now":"2026-01-01T00:00:00Z"}}'),
    *[(f"28-nan-inf-{v}", n(v)) for v in ("NaN", "Infinity", "-Infinity", "1e999", "1e3", "1.0", "0.5")],
    ("29-bigint", n("9" * 5001)),
    ("29-bigint-negative", n("-" + "9" * 5001)),
    *[(f"30-int-forms-{v!a}", n(v)) for v in ("1_000", "１２", "+7", "0x10", "007", "7.", '"7"', '" 7 "', '"1_000"', '"１２"')],
    ("31-overflow", n(str(2**63))),
    ("31-overflow-negative", n(str(-(2**63) - 1))),
    ("32-bool-int", n("true")),
    ("33-neg-zero", n("-0")),
    ("33-neg-zero-fraction", n("-0.0")),
    ("34-string-vs-list", f'{{{BASE},"context":{{"tags":"admin"}}}}'),
    ("34-string-vs-list-proof", f'{{{BASE},"proof":"key"}}'),
    ("34-string-vs-list-entity", '{"action":"read","resource":"Doc","user":["User","ada"]}'),
    ("35-null", n("null")),
    ("35-null-context", f'{{{BASE},"context":null}}'),
    ("35-null-proof", f'{{{BASE},"proof":null}}'),
    ("35-null-task", f'{{{BASE},"task":null}}'),
    ("35-null-user", '{"action":"read","resource":["Doc","d"],"user":null}'),
    ("35-null-attributes", '{"action":"read","resource":{"type":"Doc","id":"d","attributes":null},"user":["User","ada"]}'),
    ("35-missing-action", '{"resource":["Doc","d"],"user":["User","ada"]}'),
    ("35-missing-resource", '{"action":"read","user":["User","ada"]}'),
    ("36-nfc", '{"action":"read","resource":["Doc","e\\u0301"],"user":["User","ada"]}'),
    ("39-bidi", '{"action":"read","resource":["Doc","a\\u202e"],"user":["User","ada"]}'),
    ("39-zero-width", '{"action":"read","resource":["Doc","a\u200b"],"user":["User","ada"]}'),
    ("40-surrogate", f'{{{BASE},"context":{{"s":"\\ud800"}}}}'),
    ("40-surrogate-id", '{"action":"read","resource":["Doc","\\ud800"],"user":["User","ada"]}'),
    ("40-surrogate-context-key", f'{{{BASE},"context":{{"\\ud800":1}}}}'),
    ("41-newline", '{"action":"read","resource":["Doc","d\\n"],"user":["User","ada"]}'),
    ("46-deep", n("[" * DEEP + "]" * DEEP)),
    ("46-deep-objects", n('{"a":' * DEEP + "1" + "}" * DEEP)),
    ("46-deep-unclosed", "[" * DEEP),
    ("46-deep-after-brackets-in-texts", f'{{{BASE},"context":{{"s":"]]]]\\"]]]]","n":{"[" * DEEP}{"]" * DEEP}}}}}'),
    ("47-wide", f'{{{BASE},"context":{{' + ",".join(f'"k{i}":1' for i in range(100_000)) + "}}"),
    ("47-large", n("0") + " " * REQUEST_BYTES_MAX),
    ("53-empty-object", "{}"),
    *[(f"53-top-level-{i}", t) for i, t in enumerate(("", "null", "true", "[]", "1", '"x"', JSON_OK + JSON_OK, JSON_OK[:-1], "\ufeff" + JSON_OK))],
]  # fmt: skip


@pytest.mark.parametrize("text", [pytest.param(t, id=i) for i, t in JSON_ROWS])
def test_a_json_request(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text, ".json")


@pytest.mark.parametrize("text", [b"\xff\xfe{}", b'{"action":"\xc0\xaf"}', b'{"action":"\xed\xa0\x80"}'], ids=ascii)
def test_40_bytes_that_are_no_utf_8(tmp_path: Path, text: bytes) -> None:
    refused(tmp_path, text, ".json", ("invalid_file",))


def yaml_n(text: str) -> str:
    return YAML_OK.replace("n: 0", f"n: {text}")


YAML_ROWS = [
    ("26-dup-keys", YAML_OK + "action: read\n"),
    ("26-dup-keys-quoted", YAML_OK + '"act\\x69on": read\n'),
    ("26-merge", YAML_OK.replace("  n: 0", "  <<: {n: 0}")),
    ("27-case-keys", YAML_OK.replace("n:", "N:")),
    *[(f"28-nan-inf-{v}", yaml_n(v)) for v in (".nan", ".inf", "-.inf", ".NaN", "NaN", "1e999", "1.0e+3", "1.0")],
    ("29-bigint", yaml_n("9" * 5001)),
    *[(f"30-int-forms-{v!a}", yaml_n(v)) for v in ("1_000", "１２", "+7", "0x10", "0o17", "012", "1:30", '"7"', "' 7 '", "--7")],
    ("31-overflow", yaml_n(str(2**63))),
    *[(f"32-bool-int-{v}", yaml_n(v)) for v in ("true", "yes", "on", "True", "y")],
    ("33-neg-zero", yaml_n("-0")),
    *[(f"35-null-{i}", yaml_n(v)) for i, v in enumerate(("", "~", "null", "Null"))],
    ("34-string-vs-list", YAML_OK.replace("n: 0", "tags: admin")),
    ("40-surrogate", YAML_OK.replace("n: 0", 's: "\\ud800"')),
    ("41-newline", YAML_OK.replace("[Doc, d]", "[Doc, 'd\n\n']")),
    ("41-block-text", "action: read\nresource:\n- Doc\n- |\n  d\nuser: [User, ada]\n"),
    ("46-deep", yaml_n("[" * DEEP + "]" * DEEP)),
    ("46-deep-33", yaml_n("[" * 33 + "]" * 33)),
    ("46-anchor", yaml_n("&a [*a]")),
    ("46-anchors", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"),
    ("53-empty", ""),
    ("53-two-documents", f"{YAML_OK}---\n{YAML_OK}"),
    ("53-nul", YAML_OK + "\x00"),
]  # fmt: skip


@pytest.mark.parametrize("text", [pytest.param(t, id=i) for i, t in YAML_ROWS])
def test_a_yaml_request(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text, ".yaml")


YAML_DEEP = [
    ("46-deep-blocks", "- " * DEEP + "1\n"),
    ("46-deep-keys", "? " * DEEP + "1\n"),
    ("46-deep-behind-a-quote", 'a: x"\nb: ' + "[" * DEEP + "]" * DEEP + '\nc: y"\n'),
]


@pytest.mark.parametrize("text", [pytest.param(t, id=i) for i, t in YAML_DEEP])
def test_46_deep_yaml(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text, ".yaml")


@pytest.mark.parametrize(
    "value", ["!!str 5", "!!bool 1", '!!int "5"', "!!python/object:x {}", "!foo [1]", '!foo "x"', "!!set {a}"]
)
def test_32_yaml_tags_mean_nothing(value: str) -> None:
    with pytest.raises(strict_data.BadData, match="tag"):
        strict_data.read_yaml(f"n: {value}\n")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"action":"read","resource":["Doc","d"],"user":["User","ada"],"workload":null}', id="workload"),
        pytest.param(
            '{"action":"read","resource":{"type":"Doc","id":"d","parents":null},"user":["User","ada"]}', id="parents"
        ),
    ],
)
def test_35_null_is_not_absent(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text, ".json")


@pytest.mark.parametrize("key", ["\\ud800", "\\u001b[31m", "\\u202e", "\\n"])
@pytest.mark.parametrize("where", ["unknown", "twice"])
def test_40_messages_repeat_nothing_that_no_log_can_take(tmp_path: Path, key: str, where: str) -> None:
    text = f'{{{BASE},"{key}":1}}' if where == "unknown" else f'{{{BASE},"{key}":1,"{key}":1}}'
    assert refused(tmp_path, text, ".json").isprintable()


class Counted(str):
    """A key that counts how often it is compared."""

    __slots__ = ()
    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_47_wide_with_one_key_twice_is_found_in_one_pass() -> None:
    keys = [Counted(f"k{i}") for i in range(1000)]
    Counted.comparisons = 0
    with pytest.raises(strict_data.BadData, match="`k999` stands twice"):
        strict_data._object([(k, 1) for k in [*keys, Counted("k999")]])
    assert Counted.comparisons < 10 * len(keys)


def test_43_redos_of_the_reader_itself() -> None:
    """An unclosed text of escaped quotes behind enough brackets, 1 MiB of it: refused, with seconds of the processor to spare.
    The kernel ends what takes more; the fault takes hours."""
    script = (
        "import resource; from pdp.store.strict_data import BadData, read_json\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (5, 5))\n"
        "text = '[' + '[],' * 40 + chr(34) + (chr(92) + chr(34)) * 500_000\n"
        "try:\n    read_json(text)\nexcept BadData as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "not JSON: unterminated string starting at\n")


# ---- data beside policies

DATA_ROWS = [
    ("26-dup-keys", RECORD.replace('"id"', '"id":"x","id"')),
    ("26-dup-records", f"{RECORD}\n{RECORD}"),
    ("27-case-keys", RECORD.replace('"id"', '"Id":"x","id"')),
    ("27-case-keys-attribute", RECORD.replace('"level"', '"Level"')),
    *[(f"28-nan-inf-{v}", RECORD.replace(":1", f":{v}")) for v in ("NaN", "Infinity", "1e999", "1.0")],
    ("29-bigint", RECORD.replace(":1", ":" + "9" * 5001)),
    *[(f"30-int-forms-{v!a}", RECORD.replace(":1", f":{v}")) for v in ("1_000", "１", "+7", "0x10", '"7"')],
    ("31-overflow", RECORD.replace(":1", f":{2**63}")),
    ("32-bool-int", RECORD.replace(":1", ":true")),
    ("33-neg-zero", RECORD.replace(":1", ":-0")),
    ("34-string-vs-list", RECORD.replace('"id"', '"parents":"ab","id"')),
    ("35-null", RECORD.replace(":1", ":null")),
    ("35-null-parents", RECORD.replace('"id"', '"parents":null,"id"')),
    ("35-missing", RECORD.replace('"level":1', "")),
    ("36-nfc", RECORD.replace("ada", "e\\u0301")),
    ("39-bidi", RECORD.replace("ada", "a\\u202e")),
    ("40-surrogate", RECORD.replace("ada", "\\ud800")),
    ("41-newline", RECORD.replace("ada", "ada\\n")),
    ("46-deep", RECORD.replace(":1", ":" + "[" * DEEP + "]" * DEEP)),
    ("47-wide", RECORD.replace('"level":1', ",".join(f'"k{i}":1' for i in range(100_000)))),
    ("47-id", RECORD.replace("ada", "x" * 2049)),
    ("53-empty-record", "{}"),
    ("53-null", "null"),
]  # fmt: skip


@pytest.mark.parametrize("name", ["d.ndjson", "d.json"])
@pytest.mark.parametrize("text", [pytest.param(t, id=i) for i, t in DATA_ROWS])
def test_a_data_file(tmp_path: Path, text: str, name: str) -> None:
    """The whole set is refused, the file named and, a record a line, the line; what was in force stays."""
    good = '{"type":"User","id":"first","attributes":{"level":1}}'
    lines = [good, *text.split("\n")]
    content = "\n".join(lines) if name == "d.ndjson" else "[" + ",\n".join(lines) + "]"
    running = engine(tmp_path, good if name == "d.ndjson" else f"[{good}]", name)
    (tmp_path / "data" / name).write_text(content)
    with pytest.raises(pdp.PdpError) as caught:
        running.reload()
    assert caught.value.code == "invalid_data"
    assert f"{name}:{len(lines)}" in caught.value.message or (name == "d.json" and name in caught.value.message)
    assert running.check(action="read", resource=("Doc", "d"), user=("User", "first")).allowed
    with pytest.raises(pdp.PdpError):
        pdp.Engine.load(tmp_path)


# ---- the command


COMMAND = ["26-dup-keys", "28-nan-inf-NaN", "29-bigint", "40-surrogate", "46-deep", "47-large", "53-empty-object"]


@pytest.mark.parametrize("row", COMMAND)
def test_the_command_says_why_and_ends_with_2(tmp_path: Path, row: str) -> None:
    engine(tmp_path)
    file = tmp_path / "request.json"
    assert command(tmp_path, file, JSON_OK).returncode == 0
    ran = command(tmp_path, file, dict(JSON_ROWS)[row])
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("pdp: invalid_request: ")
    assert "Traceback" not in ran.stderr


def command(policies: Path, file: Path, text: str) -> subprocess.CompletedProcess[str]:
    file.write_text(text)
    program = [sys.executable, "-c", "from pdp.cli.main import main; main()", "eval", str(policies), "--request", str(file)]
    return subprocess.run(program, capture_output=True, text=True, check=False, env={**os.environ})
