"""Folders that are made are their owner's alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdp.errors import PdpError
from pdp.store.private_files import private_folder


def test_a_folder_is_made_with_those_above_it_for_its_owner_only(tmp_path: Path) -> None:
    """The folder of a record, above `worker-0`, was one that others may enter: the doctor said so of what we had made."""
    tmp_path.chmod(0o755)
    for _ in range(2):
        private_folder(tmp_path / "record" / "worker-0", hidden=True)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path, tmp_path / "record", tmp_path / "record" / "worker-0")]
    assert modes == [0o755, 0o700, 0o700]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(PdpError) as refusal:
            private_folder(path)
        assert refusal.value.code == "invalid_file"
