"""Tells systemd that we are ready, or ending (sd_notify), where it asked for that."""

from __future__ import annotations

import contextlib
import os
import socket

_WAIT_S = 1.0


def notify(state: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        sending.settimeout(_WAIT_S)  # nobody may have read what others sent
        sending.sendto(state.encode(), address)
