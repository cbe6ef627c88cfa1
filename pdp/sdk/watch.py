"""Watching the files of a policy set, in a thread of its own."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from language import PolicyErrors, render
from pdp.errors import PdpError
from pdp.sdk.forks import make_anew_in_children
from pdp.store.files import folders_behind, is_still

_log = logging.getLogger("pdp.reload")


_LOOK_MS = 200


class Watch:
    """Reloads at every change of a file. `last_error` says why what stands on disk is not in force; None when it is.

    The system tells of changes in a folder, and not that another folder has come to stand in its place, as when a whole set
    is swapped by renaming it or a link to it. So what stands there is looked at as well, and watched anew when it changed.
    """

    def __init__(self, path: Path, reload: Callable[[], bool], on_reload: Callable[[Exception | None], None] | None) -> None:
        import watchfiles  # noqa: F401  # only for those who watch; who has it not is told here, and not in the thread

        self.last_error: Exception | None = None
        self.reloads = 0
        self._path = path
        self._reload = reload
        self._on_reload = on_reload
        self._begin()
        self._on.wait()  # a change that comes after is not missed
        make_anew_in_children(self)

    def _begin(self) -> None:
        self._stop, self._on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stop, self._on), name="pdp-reload", daemon=True)
        self._thread.start()

    def begin_in_child(self) -> None:
        """The thread stayed in the parent."""
        if not self._stop.is_set():
            self._begin()

    def _run(self, stop: threading.Event, on: threading.Event) -> None:
        told = False  # that there is nothing to watch, or that it cannot be watched
        while not stop.is_set():
            folders = folders_behind(self._path)
            try:
                if folders:
                    self._watch(folders, stop, on)
                    told = False
                    continue
                if not told:
                    self._try()
                    told = True
            except FileNotFoundError:  # a folder went away meanwhile
                pass
            except Exception as error:  # noqa: BLE001  # no more watches are to be had, say: the thread must not end
                if not told:
                    self._failed(error, f"its files cannot be watched, so that changes are not seen: {error}")
                    told = True
            on.set()
            stop.wait(_LOOK_MS / 1000)

    def _watch(self, folders: Mapping[Path, tuple[int, int]], stop: threading.Event, on: threading.Event) -> None:
        """Until it is stopped, or other folders are to be watched."""
        with ExitStack() as held:
            for folder in folders:  # while it is held no other folder gets its number, so one made anew is another
                held.callback(os.close, os.open(folder, os.O_PATH | os.O_CLOEXEC))
            self._follow(folders, stop, on)

    def _follow(self, folders: Mapping[Path, tuple[int, int]], stop: threading.Event, on: threading.Event) -> None:
        from watchfiles import watch

        began = False
        # Every name counts: the set may lie in a folder such as `.venv`, and a link may be named in any way.
        for found in watch(
            *folders, watch_filter=None, recursive=False, stop_event=stop, debounce=_LOOK_MS, step=50,
            rust_timeout=_LOOK_MS, yield_on_timeout=True, raise_interrupt=False,
        ):  # fmt: skip
            if found or not began:  # something may have changed before the watch was on
                self._try()
            began = True
            on.set()
            if (found and folders_behind(self._path) != folders) or not is_still(folders):
                return

    def _try(self) -> None:
        try:
            changed = self._reload()
        except (PolicyErrors, PdpError) as error:
            self._failed(error, _text(error))
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, the old set serves and the watch goes on
            self._failed(error, f"unexpected: {error!r}")
            return
        self.last_error = None
        if changed:
            self.reloads += 1
            _log.info("policies and data were reloaded")
            self._tell(None)

    def _failed(self, error: Exception, text: str) -> None:
        self.last_error = error
        _log.error("not reloaded; what was in force stays so: %s", text)
        self._tell(error)

    def _tell(self, error: Exception | None) -> None:
        if self._on_reload is not None:
            try:
                self._on_reload(error)
            except Exception:  # noqa: BLE001  # the watch goes on
                _log.exception("`on_reload` raised")

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _text(error: PolicyErrors | PdpError) -> str:
    if isinstance(error, PolicyErrors):
        return "\n".join(render(d) for d in error.diagnostics if d.is_error)
    return str(error)
