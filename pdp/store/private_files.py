"""Files that are their owner's alone: written whole or not at all, and refused when others could read or change them."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pdp.errors import PdpError
from pdp.store.regular_file import open_regular

FILE_BYTES_MAX = 64 * 1024


def private_folder(folder: Path, *, hidden: bool = False) -> None:
    """Makes the folder if it is not there, and those above it, for its owner only. One that others may write to is
    refused; so is one that they may look into, if it is `hidden`."""
    try:
        missing = [each for each in folder.parents if not each.exists()]
        for each in (*reversed(missing), folder):  # `mkdir` gives its mode to no parents
            each.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise PdpError("invalid_file", f"`{folder}` cannot be used: {error.strerror}") from None
    if found.st_uid != os.geteuid() or found.st_mode & (0o077 if hidden else 0o022):
        what = "look into it" if hidden and not found.st_mode & 0o022 else "write to it"
        raise PdpError("invalid_file", f"`{folder}`: others may {what}; it must be its owner's alone")


def read_private(path: Path, bytes_max: int = FILE_BYTES_MAX) -> bytes:
    """The content of a file that nobody else may read or write. What is asked about is what is read: the open file."""
    try:
        with open_regular(path) as file:
            found = os.fstat(file.fileno())
            if found.st_mode & 0o077:
                raise PdpError("invalid_file", f"`{path}`: others may read it; `chmod 600` it, and think about a new key")
            if found.st_uid != os.geteuid():
                raise PdpError("invalid_file", f"`{path}` belongs to somebody else")
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise PdpError("invalid_file", f"`{path}` cannot be read: {error.strerror}") from None
    if len(content) > bytes_max:
        raise PdpError("invalid_file", f"`{path}` is larger than {bytes_max} bytes")
    return content


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """In the place of any file before it, on disk when this returns. A reader sees the old file or the new one."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(handle)
            os.replace(new, path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise PdpError("invalid_file", f"`{path}` cannot be written: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    """The name of a file is in its folder, which has to reach the disk too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
