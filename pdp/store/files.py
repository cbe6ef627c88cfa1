"""Policies on disk -> sources; which files are policies and which are data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from language import TEST_SUFFIX, Diagnostic, PolicyErrors, Source
from pdp.errors import PdpError

POLICY_SUFFIX = ".policy"
POLICY_BYTES_MAX = 3 * 1024 * 1024
DATA_SUFFIXES = (".json", ".ndjson", ".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    policies: tuple[Path, ...]
    data: tuple[Path, ...]

    def digest(self) -> str:
        """Of names and contents: equal when nothing has changed."""
        return digest_of((path, read_bytes(path)) for path in (*self.policies, *self.data))


def digest_of(contents: Iterable[tuple[Path, bytes]]) -> str:
    hasher = sha256()
    for path, content in contents:
        hasher.update(f"{path}\0".encode(errors="surrogateescape"))
        hasher.update(sha256(content).digest())
    return hasher.hexdigest()


def find_files(path: Path, *, with_tests: bool) -> PolicyFiles:
    """Every policy below a folder and every file in a folder `data`; or the one file, with the data beside it.

    Without tests it is what is served: nothing that a file of tests says is in force.
    """
    if not os.path.exists(path):
        raise PdpError("invalid_file", f"there is no `{path}`")
    if path.is_file():
        if path.name.endswith(TEST_SUFFIX) and not with_tests:
            raise PdpError("invalid_file", f"`{path}` is a file of tests, and a decision point serves none")
        data = path.parent / "data"
        return PolicyFiles((path,), tuple(_data_files(data)) if data.is_dir() else ())
    policies: list[Path] = []
    data_files: list[Path] = []
    for here, files in find_folders(path):
        policies += [here / f for f in files if f.endswith(POLICY_SUFFIX) and (with_tests or not f.endswith(TEST_SUFFIX))]
        if here.name == "data":
            data_files += _data_files(here)
    if not policies:
        but = "" if with_tests else f" and not in `{TEST_SUFFIX}`"
        raise PdpError("invalid_file", f"there is no policy below `{path}`: no file ends in `{POLICY_SUFFIX}`{but}")
    return PolicyFiles(tuple(policies), tuple(data_files))


def find_folders(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder and every folder below it, with the names of its files; but for those that begin with a dot. Links are
    followed. What cannot be looked into is an error, since there may be a rule in it that forbids."""
    seen: dict[str, frozenset[tuple[int, int]]] = {}  # what each folder to come is below of
    for folder, names, files in os.walk(path, onerror=_unreadable, followlinks=True):
        names[:] = sorted(n for n in names if not n.startswith("."))
        files = sorted(f for f in files if not f.startswith("."))
        mark = _identity(Path(folder))
        above = seen.pop(folder, frozenset())
        if mark in above:
            raise PdpError("invalid_file", f"`{folder}` is a link to a folder that it is in")
        seen |= {os.path.join(folder, name): above | {mark} for name in names}
        for name in files:
            if not os.path.exists(file := os.path.join(folder, name)):
                raise PdpError("invalid_file", f"`{file}` is a link to what is not there")
        yield Path(folder), files


def folders_behind(path: Path) -> Mapping[Path, tuple[int, int]]:
    """Every folder in which a change can change the set: those that it is in, and those that its links lead into. With what
    each is, since another may come to stand under the same name. Empty when the set cannot be read."""
    try:
        if path.is_file():
            data = path.parent / "data"
            folders = [(path.parent, [path.name]), *(find_folders(data) if data.is_dir() else ())]
        else:
            folders = list(find_folders(path))
        behind = {here: None for here, _ in folders}
        for here, files in folders:
            behind |= {file.resolve().parent: None for name in files if (file := here / name).is_symlink()}
        return {folder: _identity(folder) for folder in behind}
    except (OSError, PdpError):
        return {}


def is_still(folders: Mapping[Path, tuple[int, int]]) -> bool:
    try:
        return all(_identity(folder) == mark for folder, mark in folders.items())
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _unreadable(error: OSError) -> NoReturn:
    raise PdpError("invalid_file", f"`{error.filename}` cannot be read: {error.strerror}") from None


def _data_files(folder: Path) -> Iterator[Path]:
    try:
        return (p for p in sorted(folder.iterdir()) if p.suffix in DATA_SUFFIXES and not p.name.startswith("."))
    except OSError as error:
        _unreadable(error)


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PdpError("invalid_file", f"`{path}` cannot be read: {error.strerror}") from None


def bytes_of(source: Source) -> bytes:
    """The bytes that a source was read from."""
    return source.text.encode()


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
