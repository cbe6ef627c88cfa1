"""Whether a file is as it was when it was looked at before: a look costs little where reading and parsing cost much."""

from __future__ import annotations

from pathlib import Path


def state_of(path: Path) -> object:
    """What is another one when a file was changed or replaced, or can be looked at no more. Links are followed."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    except ValueError:  # a NUL in the path
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
