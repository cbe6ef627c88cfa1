"""Policies and data on disk -> sources and records. The one place that reads them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from language import (
    BadLiteral,
    Diagnostic,
    Directory,
    DirectoryError,
    EntityData,
    PolicyErrors,
    RowData,
    Source,
    describe,
    parse_instant,
)
from pdp.errors import PdpError
from pdp.store.strict_data import BadData, read_json, read_ndjson, read_yaml

POLICY_SUFFIX = ".policy"
TEST_SUFFIX = "_test.policy"
POLICY_BYTES_MAX = 3 * 1024 * 1024
DATA_BYTES_MAX = 1024 * 1024 * 1024
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


# ---- data


def load_data(directory: Directory, paths: Iterable[Path]) -> None:
    """Puts the records of data files into a directory: all of them, or PdpError with file and line, and none."""
    entities: list[tuple[str, EntityData]] = []
    rows: list[tuple[str, RowData]] = []
    for path in paths:
        for where, record in _records(path):
            try:
                _sort_record(record, where, entities, rows)
            except BadData as error:
                raise PdpError("invalid_data", f"{where}: {error}") from None
    _put_all(directory, entities, rows)


def _put_all(directory: Directory, entities: list[tuple[str, EntityData]], rows: list[tuple[str, RowData]]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for where, entity in entities:
        key = (entity.type, entity.id)
        if key in seen:
            raise PdpError("invalid_data", f"{where}: {entity.type} `{entity.id}` stands already at {seen[key]}")
        seen[key] = where
    try:
        directory.upsert(e for _, e in entities)
    except DirectoryError as error:
        raise PdpError("invalid_data", f"{_guilty(directory, entities)}: {error.message}") from None
    for where, row in rows:
        try:
            directory.put_rows([row])
        except DirectoryError as error:
            raise PdpError("invalid_data", f"{where}: {error.message}") from None


def _guilty(directory: Directory, entities: list[tuple[str, EntityData]]) -> str:
    """Where the first record stands that is wrong by itself; a cycle has no single place."""
    for where, entity in entities:
        try:
            Directory(directory.vocabulary).upsert([entity])
        except DirectoryError:
            return where
    return entities[0][0].rsplit(":", 1)[0]


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        if path.stat().st_size > DATA_BYTES_MAX:
            raise PdpError("invalid_file", f"`{path}` is larger than 1 GiB")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PdpError("invalid_file", f"`{path}` cannot be read: {error}") from None
    try:
        if path.suffix == ".ndjson":
            for line, record in read_ndjson(text):
                yield f"{path}:{line}", record
            return
        content = read_json(text) if path.suffix == ".json" else read_yaml(text)
    except BadData as error:
        place = f"{path}:{error.line}" if error.line else str(path)
        raise PdpError("invalid_data", f"{place}: {error}") from None
    if not isinstance(content, list):
        raise PdpError("invalid_data", f"{path}: found {describe(content)}, expected a list of records")
    for number, record in enumerate(content, 1):
        yield f"{path}: record {number}", record


_ENTITY_KEYS = {"type", "id", "attributes", "parents"}
_ROW_KEYS = {"relation", "of", "until"}


def _sort_record(record: Any, where: str, entities: list[tuple[str, EntityData]], rows: list[tuple[str, RowData]]) -> None:
    if not isinstance(record, dict):
        raise BadData(f"found {describe(record)}, expected a record")
    allowed = _ROW_KEYS if "relation" in record else _ENTITY_KEYS
    for key in record:
        if key not in allowed:
            raise BadData(f"`{key[:60]}` means nothing here; known are {', '.join(sorted(allowed))}")
    if "relation" in record:
        rows.append((where, _row(record)))
    else:
        entities.append((where, entity_data(record)))


def entity_data(record: dict[str, Any]) -> EntityData:
    """An entity's record, its shape checked; whether it fits the vocabulary is the directory's question."""
    type_name, entity_id = record.get("type"), record.get("id")
    if not isinstance(type_name, str) or not isinstance(entity_id, str):
        raise BadData("an entity has a `type` and an `id`, both texts")
    attributes = record.get("attributes", {})
    if not isinstance(attributes, dict):
        raise BadData(f"`attributes`: found {describe(attributes)}, expected an object")
    return EntityData(type_name, entity_id, attributes, references(record.get("parents", []), "parents"))


def references(value: Any, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list):
        raise BadData(f'`{where}`: found {describe(value)}, expected a list of ["Type", "id"]')
    found = []
    for each in value:
        match each:
            case [str(type_name), str(entity_id)]:
                found.append((type_name, entity_id))
            case _:
                raise BadData(f'`{where}`: found {describe(each)}, expected ["Type", "id"]')
    return tuple(found)


def _row(record: dict[str, Any]) -> RowData:
    relation = record["relation"]
    if not isinstance(relation, str):
        raise BadData(f"`relation`: found {describe(relation)}, expected a name")
    of = references(record.get("of"), "of")
    if "until" not in record:
        return RowData(relation, of)
    until = record["until"]
    if not isinstance(until, str):
        raise BadData(f"`until`: found {describe(until)}, expected an RFC 3339 time")
    try:
        return RowData(relation, of, parse_instant(until))
    except BadLiteral as error:
        raise BadData(f"`until`: {error}") from None
