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
from pdp.store.regular_file import read_regular

POLICY_SUFFIX = ".policy"
POLICY_BYTES_MAX = 3 * 1024 * 1024
DATA_FOLDER = "data"
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
    """Every policy below a folder and every file in a folder `data`; or the one file, with the data beside it. A file that
    is nearly one of them is an error, since a rule in it that forbids would be skipped in silence.

    Without tests it is what is served: nothing that a file of tests says is in force.
    """
    if not os.path.exists(path):
        raise PdpError("invalid_file", f"there is no `{path}`")
    if path.is_file():
        if path.name.endswith(TEST_SUFFIX) and not with_tests:
            raise PdpError("invalid_file", f"`{path}` is a file of tests, and a decision point serves none")
        data = path.parent / DATA_FOLDER
        return PolicyFiles((path,), tuple(_data_files(path.parent, find_folders(data))) if data.is_dir() else ())
    folders = list(find_folders(path))
    policies = [file for here, files in folders for file in _named(here, files, (POLICY_SUFFIX,))]
    data_files = tuple(_data_files(path, folders))
    if not with_tests:
        policies = [p for p in policies if not p.name.endswith(TEST_SUFFIX)]
    if not policies:
        but = "" if with_tests else f" and not in `{TEST_SUFFIX}`"
        raise PdpError("invalid_file", f"there is no policy below `{path}`: no file ends in `{POLICY_SUFFIX}`{but}")
    return PolicyFiles(tuple(policies), data_files)


def _data_files(root: Path, folders: Iterable[tuple[Path, list[str]]]) -> Iterator[Path]:
    for here, files in folders:
        if here.name == DATA_FOLDER:
            yield from _named(here, files, DATA_SUFFIXES)
        elif any(part.strip().casefold() == DATA_FOLDER for part in here.relative_to(root).parts):
            why = f"data are read from the folder `{DATA_FOLDER}` itself, not from folders below it"
            if DATA_FOLDER not in here.relative_to(root).parts:
                why = f"the folder of data has the name `{DATA_FOLDER}`, in these very letters"
            for file in _named(here, files, DATA_SUFFIXES):
                raise PdpError("invalid_file", f"`{file}` is not read: {why}")


def _named(here: Path, files: list[str], endings: tuple[str, ...]) -> Iterator[Path]:
    """The files with one of these endings. One with nearly such a name is refused, and a link to one under another name."""
    for name in files:
        file = here / name
        if name.endswith(endings):
            if not file.is_file():
                raise PdpError("invalid_file", f"`{file}` is not a file")
            yield file
        elif _is_nearly(name, endings) or (file.is_symlink() and _is_nearly(file.resolve().name, endings)):
            listed = ", ".join(f"`{ending}`" for ending in endings)
            raise PdpError("invalid_file", f"`{file}` is not read: its name must end in {listed}, in these very letters")


def _is_nearly(name: str, endings: tuple[str, ...]) -> bool:
    return name.strip().casefold().endswith(endings)


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
            data = path.parent / DATA_FOLDER
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


def read_bytes(path: Path) -> bytes:
    try:
        return read_regular(path)
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
            content = read_regular(path, POLICY_BYTES_MAX + 1)
            if len(content) > POLICY_BYTES_MAX:
                hint = "split the file; what is many belongs in a relation"
                found.append(Diagnostic("file_too_large", f"`{name}` is larger than 3 MiB", None, hint))
                continue
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
