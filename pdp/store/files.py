"""Policies on disk -> sources; which files are policies and which are data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from language import Diagnostic, PolicyErrors, Source
from pdp.errors import PdpError

POLICY_SUFFIX = ".policy"
TEST_SUFFIX = "_test.policy"
POLICY_BYTES_MAX = 3 * 1024 * 1024
DATA_SUFFIXES = (".json", ".ndjson", ".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    policies: tuple[Path, ...]
    data: tuple[Path, ...]


def find_files(path: Path, *, with_tests: bool) -> PolicyFiles:
    """Every policy below a folder and every file in a folder `data`; or the one file, with the data beside it."""
    if not path.exists():
        raise PdpError("invalid_file", f"there is no `{path}`")
    if path.is_file():
        data = path.parent / "data"
        return PolicyFiles((path,), tuple(_data_files(data)) if data.is_dir() else ())
    policies: list[Path] = []
    data_files: list[Path] = []
    for folder, names, files in os.walk(path):
        names[:] = sorted(n for n in names if not n.startswith("."))
        here = Path(folder)
        policies += [here / f for f in sorted(files) if f.endswith(POLICY_SUFFIX) and not f.startswith(".")]
        if here.name == "data":
            data_files += _data_files(here)
    if not policies:
        raise PdpError("invalid_file", f"there is no policy below `{path}`: no file ends in `{POLICY_SUFFIX}`")
    if not with_tests:
        policies = [p for p in policies if not p.name.endswith(TEST_SUFFIX)]
    return PolicyFiles(tuple(policies), tuple(data_files))


def _data_files(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.iterdir()) if p.suffix in DATA_SUFFIXES and not p.name.startswith("."))


def read_sources(paths: Iterable[Path]) -> tuple[Source, ...]:
    """The texts of policy files; what is not text is told as a diagnostic, like any other mistake in a policy."""
    sources: list[Source] = []
    found: list[Diagnostic] = []
    for path in paths:
        name = str(path)
        try:
            if path.stat().st_size > POLICY_BYTES_MAX:
                hint = "split the file; what is many belongs in a relation"
                found.append(Diagnostic("file_too_large", f"`{name}` is larger than 3 MiB", None, hint))
                continue
            content = path.read_bytes()
        except OSError as error:
            found.append(Diagnostic("unreadable", f"`{name}` cannot be read: {error.strerror}", None))
            continue
        try:
            sources.append(Source(name, content.decode("utf-8")))
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            message = f"`{name}` is not UTF-8: byte {content[error.start]:#04x} in line {line}"
            found.append(Diagnostic("bad_encoding", message, None))
    if found:
        raise PolicyErrors([*found, *_syntax_errors(sources)])
    return tuple(sources)


def _syntax_errors(sources: list[Source]) -> list[Diagnostic]:
    """What else is wrong, so that one run tells everything."""
    from language import Compiler  # only on this path

    _, diagnostics = Compiler().check(sources)
    return [d for d in diagnostics if d.is_error and d.code.startswith(("unexpected", "unterminated", "forbidden"))]
