"""The programs of a deployment, as processes: `pdp serve`, and Envoy with the shipped configuration; and verbs of `pdp`."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import typer
import yaml
from typer.testing import CliRunner

from pdp.cli.dev import dev
from pdp.cli.grant import grant
from pdp.cli.incident import freeze, revoke, thaw
from pdp.cli.task import task
from tools.envoy import envoy

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "deploy" / "envoy"
START_S = 30.0

Document = dict[str, Any]


class Program:
    """A process whose output is kept in a file, and that is ended by its own id."""

    def __init__(
        self, name: str, folder: Path, command: list[str], imports: Sequence[Path] = (), user: int | None = None
    ) -> None:
        """`imports` are folders in which Python looks before it looks in ours. `user` is as whom it runs, if not as us."""
        self.name = name
        self.output = folder / f"{name}.log"
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*imports, ROOT)))}
        with self.output.open("wb") as log:
            more = as_user(user)
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment, **more)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, found: Callable[[], Any]) -> Any:
        """What `found` gives once that is true. The process must live until then."""
        ends = time.monotonic() + START_S
        while not (value := found()):
            assert self._process.poll() is None, f"{self.name} ended:\n{self.output.read_text()}"
            assert time.monotonic() < ends, f"{self.name} is not there after {START_S} s:\n{self.output.read_text()}"
            threading.Event().wait(0.01)
        return value

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


def as_user(user: int | None) -> dict[str, Any]:
    """How `subprocess` is told as whom a program runs; None is as us."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


# ---- pdp


def pdp(*arguments: str) -> str:
    """A verb of the command line, in this process: a new one for each takes a second. It must end well."""
    app = typer.Typer()
    for name, verbs in {"dev": dev, "task": task, "grant": grant}.items():
        app.add_typer(verbs, name=name)
    for verb in (freeze, thaw, revoke):
        app.command()(verb)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


class Server(Program):
    """`pdp serve` with a configuration. `port` is where decisions are asked for."""

    def __init__(self, folder: Path, config: Document, name: str = "pdp", imports: Sequence[Path] = ()) -> None:
        file = folder / f"{name}.json"
        file.write_text(json.dumps(config))
        run = "from pdp.cli.main import main; main()"
        super().__init__(name, folder, [sys.executable, "-c", run, "serve", "--config", str(file)], imports)
        said = self.wait_for(lambda: re.search(r"serving on 127\.0\.0\.1:(\d+)", self.output.read_text()))
        self.port = int(said[1])


# ---- Envoy


def shipped(name: str, values: Mapping[str, str | int]) -> Document:
    """A configuration of `deploy/envoy/`, filled in."""
    found: Document = yaml.safe_load(Template((SHIPPED / name).read_text()).substitute(values))
    return found


def filter_of(document: Document, name: str) -> Document:
    """The settings of a filter, to be changed: of the connection, or of HTTP."""
    for listener in document["static_resources"]["listeners"]:
        for chain in listener["filter_chains"]:
            for one in chain["filters"]:
                for inner in (one, *one["typed_config"].get("http_filters", ())):
                    if inner["name"] == name:
                        return inner["typed_config"]  # type: ignore[no-any-return]
    raise AssertionError(name)


class Envoy(Program):
    """Envoy with a configuration. `port` is that of its listener."""

    def __init__(self, folder: Path, document: Document, name: str = "envoy") -> None:
        file, admin = folder / f"{name}.yaml", folder / f"{name}.admin"
        admin.unlink(missing_ok=True)
        file.write_text(json.dumps({**document, "admin": _ADMIN}))
        quiet = ["--log-level", "warning", "--disable-hot-restart", "--concurrency", "1"]
        super().__init__(name, folder, [str(envoy()), "-c", str(file), "--admin-address-path", str(admin), *quiet])
        self._admin = self.wait_for(lambda: admin.exists() and admin.read_text())
        self.wait_for(lambda: self.ask_admin("/ready") == "LIVE")
        listeners = json.loads(self.ask_admin("/listeners?format=json"))["listener_statuses"]
        self.port = int(listeners[0]["local_address"]["socket_address"]["port_value"])

    def ask_admin(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://{self._admin}{path}", timeout=5) as answer:
                return str(answer.read().decode().strip())
        except OSError:
            return ""

    def counter(self, name: str) -> int:
        text = self.ask_admin(f"/stats?filter={name}")
        return sum(int(line.rpartition(": ")[2]) for line in text.splitlines() if line.rpartition(": ")[2].isdigit())


_ADMIN = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
