"""A record on disk, read: its files in order, their lines, and what the entries say. Nothing here writes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pdp.errors import PdpError
from pdp.record.line import LINE_BYTES_MAX, Line, parse_line
from pdp.store.regular_file import open_regular

NAME = re.compile(r"record-([0-9]{8})\.ndjson")
#: The folder of one of several processes, which have a record each.
_WORKER = re.compile(r"worker-[0-9]{1,2}", re.ASCII)
_BLOCK = 1024 * 1024


def named(folder: Path) -> Path:
    """A folder as somebody named it, from the root on: links are not followed, and what they are called does not matter."""
    return Path(os.path.abspath(folder))


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"record-{number:08d}.ndjson"


def segment_number(path: Path) -> int:
    match = NAME.fullmatch(path.name)
    assert match is not None, path
    return int(match[1])


def find_segments(folder: Path) -> list[Path]:
    """The files of a record, the oldest first."""
    try:
        return sorted(p for p in folder.iterdir() if NAME.fullmatch(p.name))
    except OSError as error:
        raise PdpError("invalid_file", f"`{folder}` cannot be read: {error.strerror}") from None


def find_records(folder: Path) -> list[Path]:
    """The folders with a record: those of the processes of a server, and this one, where there is a record in it itself.

    PdpError where there is none.
    """
    try:
        below = [p for p in folder.iterdir() if _WORKER.fullmatch(p.name) and p.is_dir()]
    except OSError as error:
        raise PdpError("invalid_file", f"`{folder}` cannot be read: {error.strerror}") from None
    found = [each for each in (folder, *sorted(below, key=lambda p: int(p.name[7:]))) if find_segments(each)]
    if not found:
        raise PdpError("invalid_file", f"there is no record in `{folder}`")
    return found


def read_lines(path: Path, start: int = 0) -> Iterator[bytes]:
    """Lines with their ends, from a byte on. One that is too long to be one comes in pieces, none of which is a line."""
    try:
        with open_regular(path) as file:
            file.seek(start)
            rest = b""
            while block := file.read(_BLOCK):
                lines = (rest + block).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    yield line + b"\n"
                if len(rest) > LINE_BYTES_MAX:
                    yield rest
                    rest = b""
            if rest:
                yield rest
    except OSError as error:
        raise PdpError("invalid_file", f"`{path}` cannot be read: {error.strerror}") from None


def read_record(folder: Path) -> Iterator[tuple[str, Line | None]]:
    """Every line of one record with its place; None for what is no line."""
    for path in find_segments(folder):
        for number, raw in enumerate(read_lines(path), 1):
            yield f"{path.name}:{number}", parse_line(raw)
