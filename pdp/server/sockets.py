"""Unix sockets that only one user can connect to.

grpcio does not show who is at the other end of a Unix socket (SO_PEERCRED), so that is decided where the system decides it:
to connect one must be able to search the folder of the socket. The folder belongs to the one user and is closed to all
others (0700), and so is the socket (0600). Root can go everywhere, as always. For a user other than our own this
needs the right to give files away (CAP_CHOWN); where it is missing the listener is refused.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from pdp.errors import PdpError


def prepare_socket(path: Path, uid: int) -> None:
    """Makes the folder of a socket that is about to be bound, and takes away a socket that nobody listens on any more."""
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), uid):
            raise PdpError("invalid_file", f"`{folder}` is not ours: whoever owns it could put another socket there")
        if found.st_mode & 0o077:
            raise PdpError("invalid_file", f"`{folder}`: others may enter it; the folder of a socket is 0700")
        if path.exists() or path.is_symlink():
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise PdpError("invalid_file", f"`{path}` is there, and is no socket")
            if _is_listening(path):
                raise PdpError("invalid_file", f"`{path}`: another process listens there")
            path.unlink()
    except OSError as error:
        raise PdpError("invalid_file", f"`{path}` cannot be used: {error.strerror}") from None


def hand_over(path: Path, uid: int) -> None:
    """Gives a bound socket, and its folder, to the user who may connect; the folder last, since then it is closed to us
    if we are not root."""
    try:
        path.chmod(0o600)
        if uid != os.geteuid():
            os.chown(path, uid, -1)
            os.chown(path.parent, uid, -1)
    except OSError as error:
        raise PdpError("invalid_file", f"`{path}` cannot be given to uid {uid}: {error.strerror}") from None


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # it is there, and busy
        return True
