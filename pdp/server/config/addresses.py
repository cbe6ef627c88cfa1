"""Where to listen, read: a host and a port, or a Unix socket. Names are not looked up: an address is what it says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

_TCP = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+|localhost)):([0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tcp:
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return self.host == "localhost" or ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Unix:
    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


def parse_address(text: str) -> Tcp | Unix | None:
    """The address, or nothing when the text is none."""
    if text.startswith("unix:"):
        path = "/" + text.removeprefix("unix:").lstrip("/")
        is_path = text.startswith("unix:/") and path != "/" and "\0" not in path and len(path.encode()) <= 100
        return Unix(Path(path)) if is_path else None
    match = _TCP.fullmatch(text)
    if match is None or int(match[3]) > 65_535:
        return None
    host = match[1] or match[2]
    try:
        if host != "localhost":
            ip_address(host)
    except ValueError:
        return None
    return Tcp(host, int(match[3]))
