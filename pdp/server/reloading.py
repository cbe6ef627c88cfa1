"""The configuration, read again while it is in force (SIGHUP, `AdminService.Reload`, or because its file changed).

    load  ->  what needs a restart refused  ->  whatever may fail  ->  [policies]  ->  kept  ->  taken  ->  the others told

What fails before it is taken leaves all as it was, in every process. The process that writes does this, and the others take
what it tells: over the connection of `writer.py`, so that when a reload has returned each has taken it, or denies. One that
is started later begins with what is kept in the folder of this run.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from language import PolicyErrors
from pdp.errors import PdpError
from pdp.sdk.watch import Watch
from pdp.server.config import Config, Origin, read_config, refuse_restart, show_config, with_reloaded
from pdp.server.parts import Parts

KEPT = "config.json"

_log = logging.getLogger("pdp.reload")


class Reloading:
    """In the process that writes. `failing` says why what stands in the file is not in force; None when it is."""

    def __init__(self, parts: Parts, origin: Origin, kept: Path | None) -> None:
        self._parts, self._origin, self._kept = parts, origin, kept
        self._one_at_a_time = threading.Lock()
        self.failing: str | None = None
        self.reloads = 0
        self._watch: Watch | None = None
        if origin.file is not None and parts.config.policies.watch:
            self._watch = Watch(origin.file, self._changed, None)
        gauge = parts.counters.gauge
        gauge(
            "config_reload_failing", "1 when the configuration in its file is not in force", lambda: self.failing is not None
        )
        gauge("config_reloads", "configurations put into force since the start", lambda: self.reloads)

    def reload(self, more: Callable[[], bool] = lambda: False) -> bool:
        """Whether anything changed. `more` is done once the configuration is known to be good: what it raises leaves both as
        they were."""
        with self._one_at_a_time:
            try:
                wanted = self._wanted()
                take = None if wanted is self._parts.config else self._prepare(wanted)
            except Exception as error:
                self.failing = str(error) if isinstance(error, PdpError) else repr(error)
                _log.error("the configuration was not taken; the one before stays in force: %s", self.failing)
                raise
            if take is None:
                self.failing = None
                changed = more()
                self._parts.tell()
                return changed
            self.failing = "policies, which are taken with it, were not"
            more()
            take()
            self.failing = None
            self.reloads += 1
            _log.info("another configuration is in force")
            return True

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()

    def _wanted(self) -> Config:
        """What is to be in force now: the very same where nothing changed."""
        loaded = self._origin.load_again()
        refuse_restart(self._origin.started, loaded)
        return with_reloaded(self._parts.config, loaded)

    def _changed(self) -> bool:
        """The file. Of what fails everything was said by then, and the watch has nothing to add."""
        try:
            self.reload()
        except PdpError:
            return False
        return False

    def _prepare(self, wanted: Config) -> Callable[[], None]:
        """All that may fail. What it gives takes it here, for processes that are started from now on, and for the others."""
        taken, kept = self._parts.prepare(wanted), self._kept
        aside = None if kept is None else _written_aside(kept, wanted)

        def take() -> None:
            if kept is not None and aside is not None:
                aside.replace(kept)
            taken()
            self._parts.tell()

        return take


def _written_aside(kept: Path, config: Config) -> Path:
    aside = kept.with_suffix(".new")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(show_config(config))
    except OSError as error:
        raise PdpError("invalid_file", f"`{aside}` cannot be written: {error.strerror}") from None
    return aside


def kept_config(kept: Path, started: Config) -> Config:
    """What a process begins with."""
    try:
        return read_config(json.loads(kept.read_text("utf-8")), Path("/"))
    except FileNotFoundError:
        return started


# ---- between processes


def told(parts: Parts) -> bytes:
    """What is in force, for the processes that follow: the configuration, and which policies and data."""
    return json.dumps({"config": json.loads(show_config(parts.config)), "policies": parts.engine.loaded}).encode()


def take_told(parts: Parts, raw: bytes) -> None:
    """In a process that follows. What it cannot take it raises, and denies until it can: also while something else stands on
    disk than what is in force, such as the next draft."""
    said = json.loads(raw)
    wanted = with_reloaded(parts.config, read_config(said["config"], Path("/")))
    take = None if wanted is parts.config else parts.prepare(wanted)
    try:
        parts.read_again(said["policies"])
    except PolicyErrors as errors:
        first = next(each for each in errors.diagnostics if each.is_error)
        raise PdpError("other_policies", f"what stands on disk is not the set in force: {first.message}") from None
    if take is not None:
        take()
        _log.info("another configuration is in force")
