"""Files of entities and rows -> one change of a directory, with the place of each record for whoever has to mend it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from language import Change, Directory, DirectoryError, EntityData, RowData, describe
from pdp.errors import PdpError
from pdp.store.files import read_bytes
from pdp.store.records import read_record
from pdp.store.strict_data import BadData, read_json, read_ndjson, read_yaml, yaml_lines

DATA_BYTES_MAX = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands. In JSON and YAML the line is looked for only when somebody has to be told."""

    path: Path
    number: int
    line: int | None
    text: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.path}:{self.line or _line_of(self.path, self.text, self.number)}"


@dataclass(slots=True)
class DataSet:
    """What the data files of a policy set hold, together."""

    entities: dict[tuple[str, str], tuple[Place, EntityData]] = field(default_factory=dict)
    rows: list[tuple[Place, RowData]] = field(default_factory=list)

    @property
    def change(self) -> Change:
        return Change(put=[e for _, e in self.entities.values()], put_rows=[r for _, r in self.rows])

    def explain(self, directory: Directory, error: DirectoryError) -> PdpError:
        """The error with the place of the first record that is wrong by itself; a cycle has no single place."""
        single = ((place, Change(put=[e])) for place, e in self.entities.values())
        for place, change in (*single, *((place, Change(put_rows=[r])) for place, r in self.rows)):
            try:
                Directory(directory.vocabulary).change(change)
            except DirectoryError as own:
                return PdpError("invalid_data", f"{place}: {own.message}")
        paths = dict.fromkeys(str(place.path) for place, _ in self.entities.values())
        return PdpError("invalid_data", f"{', '.join(paths)}: {error.message}")


def load_data(directory: Directory, paths: Iterable[Path]) -> None:
    """Puts the records of data files into a directory: all of them, or PdpError with file and line, and none."""
    data = read_data(paths)
    try:
        directory.change(data.change)
    except DirectoryError as error:
        raise data.explain(directory, error) from None


def read_data(paths: Iterable[Path]) -> DataSet:
    """Every record of the files, its shape checked; PdpError with file and line."""
    return read_contents((path, read_content(path)) for path in paths)


def read_content(path: Path) -> bytes:
    try:
        large = path.stat().st_size > DATA_BYTES_MAX
    except OSError as error:
        raise PdpError("invalid_file", f"`{path}` cannot be read: {error.strerror}") from None
    if large:
        raise PdpError("invalid_file", f"`{path}` is larger than 1 GiB")
    return read_bytes(path)


def read_contents(contents: Iterable[tuple[Path, bytes]]) -> DataSet:
    """The same of what was read already."""
    found = DataSet()
    rows: dict[tuple[str, tuple[tuple[str, str], ...]], Place] = {}
    for path, content in contents:
        for place, record in _records(path, content):
            try:
                read = read_record(record)
            except BadData as error:
                raise PdpError("invalid_data", f"{place}: {error}") from None
            if isinstance(read, RowData):
                if (row := (read.relation, read.of)) in rows:
                    raise PdpError("invalid_data", f"{place}: this row of {read.relation} stands already at {rows[row]}")
                rows[row] = place
                found.rows.append((place, read))
                continue
            key = (read.type, read.id)
            if key in found.entities:
                before = found.entities[key][0]
                raise PdpError("invalid_data", f"{place}: {read.type} `{read.id}` stands already at {before}")
            found.entities[key] = (place, read)
    return found


def _records(path: Path, encoded: bytes) -> Iterator[tuple[Place, Any]]:
    try:
        text = encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PdpError("invalid_file", f"`{path}` cannot be read: {error}") from None
    try:
        if path.suffix == ".ndjson":
            for line, record in read_ndjson(text):
                yield Place(path, line, line, ""), record
            return
        content = read_json(text) if path.suffix == ".json" else read_yaml(text)
    except BadData as error:
        place = f"{path}:{error.line}" if error.line else str(path)
        raise PdpError("invalid_data", f"{place}: {error}") from None
    if not isinstance(content, list):
        raise PdpError("invalid_data", f"{path}: found {describe(content)}, expected a list of records")
    for number, record in enumerate(content, 1):
        yield Place(path, number, None, text), record


def _line_of(path: Path, text: str, number: int) -> int:
    """The line at which a record begins in a text that was read without error."""
    if path.suffix != ".json":
        return yaml_lines(text)[number - 1]
    at, decoder = _next_value(text, text.index("[") + 1), json.JSONDecoder()
    for _ in range(number - 1):
        at = _next_value(text, decoder.raw_decode(text, at)[1])
    return text.count("\n", 0, at) + 1


def _next_value(text: str, at: int) -> int:
    while text[at] in " \t\r\n,":
        at += 1
    return at
