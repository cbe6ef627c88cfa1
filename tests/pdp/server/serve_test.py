"""`pdp serve` as a real process: what it says, serves, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pdp.server.world import WAIT_S, call, channel, policies

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
COMMAND = [sys.executable, "-c", "from pdp.cli.main import main; main()"]


class Served:
    def __init__(self, process: subprocess.Popen[str], told: list[str]) -> None:
        self.process, self.told = process, "\n".join(told)
        match = re.search(r"serving on (\S+?)(?: in \d+ processes)?(?:, metrics and health on http://(\S+))?$", told[-1])
        assert match, told
        self.address, self.admin = match[1].rstrip(","), match[2]

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        asked = urllib.request.Request(f"http://{self.admin}{path}", headers=headers)
        try:
            with urllib.request.urlopen(asked, timeout=WAIT_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@contextmanager
def served(folder: Path, *arguments: str, **environment: str) -> Iterator[Served]:
    policies(folder)
    command = [*COMMAND, "serve", "--policies", "policies", "--listen", "127.0.0.1:0", *arguments]
    variables = {**ENVIRONMENT, "PDP_ADMIN_ADDRESS": "127.0.0.1:0", **environment}
    with subprocess.Popen(command, cwd=folder, env=variables, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told: list[str] = []
        try:
            for line in process.stderr:
                told.append(line.rstrip())
                if "serving on" in line:
                    break
            assert process.poll() is None, told
            yield Served(process, told)
        finally:
            process.kill()


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_says_what_it_is_and_ends(tmp_path: Path, workers: int) -> None:
    with served(tmp_path, "--workers", str(workers)) as server:
        assert "DEVELOPMENT MODE: nothing here is authenticated" in server.told
        with channel(server.address) as opened:
            assert call(opened, "/grpc.health.v1.Health/Check") == b"\x08\x01"
        assert server.get("/readyz") == (200, '{"ready": true, "lacking": {}}\n')
        assert server.get("/healthz")[0] == 200
        _, text = server.get("/metrics")
        assert 'pdp_call_seconds_count{method="/grpc.health.v1.Health/Check",code="ok"} 1' in text
        assert 'pdp_policy_rules{worker="0"} 1' in text
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(2 * WAIT_S) == 0


def test_metrics_are_for_nobody_but_those_who_name_us(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        assert server.get("/metrics", Host="evil.test")[0] == 400
        assert server.get("/other")[0] == 404
        host, _, port = server.admin.rpartition(":")
        for raw, status in ((b"POST /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", b"405"), (b"x\r\n\r\n", b"400")):
            with socket.create_connection((host, int(port))) as asked:
                asked.sendall(raw)
                assert asked.recv(100).split()[1] == status
        with socket.create_connection((host, int(port))) as asked:
            asked.sendall(b"GET /" + b"x" * 20_000)
            assert asked.recv(100).split()[1] == b"400"


def test_policies_are_replaced_while_it_serves(tmp_path: Path) -> None:
    """What is not fit changes nothing, and is a figure."""
    with served(tmp_path) as server:
        path = tmp_path / "policies" / "app.policy"
        good = path.read_text()
        path.write_text("garbage")
        _until(server, 'pdp_policy_reload_failing{worker="0"} 1')
        assert server.get("/readyz")[0] == 200
        path.write_text(good + "\nallow more { who anyone do read on Document }\n")
        _until(server, 'pdp_policy_rules{worker="0"} 2')
        _until(server, 'pdp_policy_reload_failing{worker="0"} 0')


def _until(server: Served, line: str) -> None:
    from tests.pdp.server.world import wait_until

    assert wait_until(lambda: line in server.get("/metrics")[1], line)


def test_logs_are_lines_of_json(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        (tmp_path / "policies" / "app.policy").write_text('garbage "\n')
        assert server.process.stderr is not None
        entry = json.loads(server.process.stderr.readline())
        assert (entry["level"], entry["logger"], entry["worker"]) == ("error", "pdp.reload", 0)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--listen", "0.0.0.0:7070"], 2, "development_exposed"),
        (["--listen", "nowhere"], 2, "bad_address"),
        (["--workers", "0"], 2, "bad_workers"),
        (["--policies", "none"], 2, "none"),
        (["--config", "none.yaml"], 2, "none.yaml"),
    ],
)
def test_what_cannot_be_served_is_said(tmp_path: Path, arguments: list[str], status: int, says: str) -> None:
    policies(tmp_path)
    command = [*COMMAND, "serve", "--policies", "policies", *arguments]
    ended = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=4 * WAIT_S, check=False
    )
    assert ended.returncode == status, ended.stderr
    assert says in ended.stderr


def test_policies_that_do_not_compile_are_not_served(tmp_path: Path) -> None:
    (policies(tmp_path) / "app.policy").write_text("language 1\nallow {")
    for workers in ("1", "2"):
        command = [*COMMAND, "serve", "--policies", "policies", "--listen", "127.0.0.1:0", "--workers", workers]
        variables = {**ENVIRONMENT, "PDP_ADMIN_ADDRESS": "127.0.0.1:0"}
        ended = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, timeout=4 * WAIT_S, check=False)
        assert ended.returncode == 3, ended.stderr


def test_the_effective_configuration_is_printed(tmp_path: Path) -> None:
    policies(tmp_path)
    command = [*COMMAND, "serve", "--policies", "policies", "--print-config"]
    variables = {**ENVIRONMENT, "PDP_LIMITS_DRAIN": "3s"}
    printed = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True).stdout
    document = json.loads(printed)
    assert document["limits"]["drain"] == "3s"
    assert document["development"]["enabled"] is True
    assert document["policies"]["path"] == str(tmp_path / "policies")
