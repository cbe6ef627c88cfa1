"""Watching the files of a policy set, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from language import PolicyErrors, render
from pdp.errors import PdpError

_log = logging.getLogger("pdp.reload")


class Watch:
    """Reloads at every change of a file. `last_error` says why what stands on disk is not in force; None when it is."""

    def __init__(self, path: Path, reload: Callable[[], bool], on_reload: Callable[[Exception | None], None] | None) -> None:
        from watchfiles import watch  # only for those who watch

        self.last_error: Exception | None = None
        self.reloads = 0
        self._reload = reload
        self._on_reload = on_reload
        self._stop = threading.Event()
        folder = path if path.is_dir() else path.parent
        # The first round tells nothing and only says that the watch is on: a change right after is not missed.
        changes = watch(folder, stop_event=self._stop, debounce=200, step=50, rust_timeout=200, yield_on_timeout=True)
        next(changes)
        self._thread = threading.Thread(target=self._run, args=(changes,), name="pdp-reload", daemon=True)
        self._thread.start()

    def _run(self, changes: object) -> None:
        for found in changes:  # type: ignore[attr-defined]  # a generator of sets of changes
            if found:
                self._try()

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
