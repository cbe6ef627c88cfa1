"""`engine.watch()`: which changes on disk come into force. Each waits for the reload itself, and for no time."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import pdp

ALLOW = "language 1\npackage a\nentity User\nentity Case\naction read on Case\nallow all { for User do read on Case }\n"
DENY = "language 1\npackage d\ndeny no { do read on Case }\n"
WITHIN = 20  # seconds; only a fault takes that long


def made(path: Path, *, deny: bool = False) -> Path:
    path.mkdir(parents=True)
    (path / "a.policy").write_text(ALLOW)
    if deny:
        (path / "d.policy").write_text(DENY)
    return path


def allowed(engine: pdp.Engine) -> bool:
    return engine.check(action="read", resource=("Case", "7"), user=("User", "ada")).allowed


def denies_after(engine: pdp.Engine, act: Callable[[], object]) -> bool:
    told = threading.Event()
    with engine.watch(lambda error: told.set() if error is None else None):
        assert allowed(engine)
        act()
        return told.wait(WITHIN) and not allowed(engine)


@pytest.mark.parametrize("below", [".venv/set", "node_modules/set", "set"])
def test_a_file_that_is_written_wherever_the_set_lies(tmp_path: Path, below: str) -> None:
    path = made(tmp_path / below)
    assert denies_after(pdp.Engine.load(path), lambda: (path / "d.policy").write_text(DENY))


def test_a_folder_that_is_swapped_by_renaming(tmp_path: Path) -> None:
    path, new = made(tmp_path / "set"), made(tmp_path / "new", deny=True)

    def swap() -> None:
        path.rename(tmp_path / "old")
        new.rename(path)

    assert denies_after(pdp.Engine.load(path), swap)


def test_a_folder_that_goes_and_comes_back(tmp_path: Path) -> None:
    path = made(tmp_path / "set")
    engine, gone, back = pdp.Engine.load(path), threading.Event(), threading.Event()
    with engine.watch(lambda error: (back if error is None else gone).set()) as watch:
        shutil.rmtree(path)
        assert gone.wait(WITHIN)
        assert isinstance(watch.last_error, pdp.PdpError)
        assert allowed(engine)  # what was in force stays so
        made(path, deny=True)
        assert back.wait(WITHIN)
        assert (watch.last_error, allowed(engine)) == (None, False)


def test_a_file_behind_a_link(tmp_path: Path) -> None:
    path, far = made(tmp_path / "set"), made(tmp_path / "far")
    (far / "x.policy").write_text("language 1\npackage x\n")
    (path / "x.policy").symlink_to(far / "x.policy")
    assert denies_after(pdp.Engine.load(path), lambda: (far / "x.policy").write_text(DENY))


def test_in_a_forked_process(tmp_path: Path) -> None:
    path = made(tmp_path / "set")
    told, go_on = os.pipe(), os.pipe()
    engine, seen = pdp.Engine.load(path), threading.Event()
    with engine.watch(lambda error: seen.set()):
        child = os.fork()
        if child == 0:
            try:
                os.write(told[1], b"r")
                os.read(go_on[0], 1)
                os.write(told[1], b"n" if seen.wait(WITHIN) and not allowed(engine) else b"y")
            finally:
                os._exit(0)
        assert os.read(told[0], 1) == b"r"
        (path / "d.policy").write_text(DENY)
        os.write(go_on[1], b"g")
        assert os.read(told[0], 1) == b"n"
        os.waitpid(child, 0)


def test_files_that_cannot_be_watched_are_told_and_watched_once_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A brother of finding S8: the system had no more watches, and nobody was told that changes are not seen."""
    import watchfiles

    def none_left(*_: object, **__: object) -> None:
        raise RuntimeError("OS file watch limit reached")

    path = made(tmp_path / "set")
    engine, failed, back = pdp.Engine.load(path), threading.Event(), threading.Event()
    with monkeypatch.context() as broken:
        broken.setattr(watchfiles, "watch", none_left)
        watch = engine.watch(lambda error: (back if error is None else failed).set())
        assert failed.wait(WITHIN)
        assert "watch limit" in str(watch.last_error)
        (path / "d.policy").write_text(DENY)
    with watch:
        assert back.wait(WITHIN)
        assert watch.last_error is None
        assert not allowed(engine)
