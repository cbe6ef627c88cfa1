"""Files that were configured, read without ever waiting: a thread that waits for one reads nothing else any more.

To open a FIFO waits for somebody who writes, a terminal for somebody who types, and a device may have no end. What is no
regular file is refused like one that cannot be read. Links are followed.
"""

from __future__ import annotations

import os
import stat
from errno import EINVAL, ENXIO
from pathlib import Path
from typing import BinaryIO

_FLAGS = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_regular(path: Path, *, change: bool = False) -> BinaryIO:
    """OSError where it cannot be opened, or is no regular file. What is asked about is what is open. What is to be changed
    must not be a link either: it could lead to a file of another kind."""
    try:
        handle = os.open(path, _FLAGS | (os.O_RDWR | os.O_NOFOLLOW if change else os.O_RDONLY))
    except OSError as error:
        if error.errno == ENXIO:  # a socket, or a device that is not there
            raise _no_file(path) from None
        raise
    try:
        refuse_other(os.fstat(handle), path)
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb+" if change else "rb")


def read_regular(path: Path, bytes_max: int = -1) -> bytes:
    """The content, or the first `bytes_max` bytes of it. OSError as above."""
    with open_regular(path) as file:
        return file.read(bytes_max)


def refuse_other(found: os.stat_result, path: Path) -> None:
    """OSError for what is no regular file."""
    if not stat.S_ISREG(found.st_mode):
        raise _no_file(path)


def _no_file(path: Path) -> OSError:
    return OSError(EINVAL, "it is no regular file", str(path))
