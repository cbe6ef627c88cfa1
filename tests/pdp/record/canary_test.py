"""Secrets put wherever a caller can put them, written to a disk, and looked for in every byte of it."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from pdp.record import Circumstances, Decided, Step
from pdp.store.record_files import RecordFiles, RecordSettings
from pdp.store.record_keys import open_keys
from tests.pdp.record.entries_test import TOKENS, everywhere

SECRETS = frozenset({"context.columns", "task.ticket", "Parcel.note", "User.id", "gate.environment"})


@pytest.mark.parametrize("name", TOKENS)
def test_no_secret_reaches_the_disk(tmp_path: Path, name: str) -> None:
    secret, canary = TOKENS[name]
    keys = open_keys(tmp_path / "keys")
    with RecordFiles(tmp_path / "log", keys, RecordSettings(secrets=SECRETS, checkpoint_entries=3)) as record:
        for entry in everywhere(secret):
            if isinstance(entry, Decided):
                assert record.decided(entry.request, entry.decision, entry.at_us, 1, around=entry.around)
            elif isinstance(entry, Step):
                assert record.stepped(entry)
    written = b"".join(p.read_bytes() for p in (tmp_path / "log").iterdir())
    assert written.count(b"$masked") > 20
    for form in (canary.encode(), base64.b64encode(canary.encode())[:-4], canary.encode("utf-16-le"), canary[::-1].encode()):
        assert form not in written
    shown = subprocess.run(
        [sys.executable, "-c", "from pdp.cli.main import main; main()", "log", "show", str(tmp_path / "log")],
        capture_output=True, check=True,
    )  # fmt: skip
    assert canary.encode() not in shown.stdout + shown.stderr
    assert b"<masked " in shown.stdout


def test_no_key_of_ours_is_in_the_record(tmp_path: Path) -> None:
    keys = open_keys(tmp_path / "keys")
    with RecordFiles(tmp_path / "log", keys) as record:
        for entry in everywhere("x" * 20):
            if isinstance(entry, Decided):
                record.decided(entry.request, entry.decision, entry.at_us, 1, around=Circumstances("t"))
    written = b"".join(p.read_bytes() for p in (tmp_path / "log").iterdir())
    assert keys.masking.hex().encode() not in written
    assert keys.signing.private_bytes_raw().hex().encode() not in written
