"""The parts of one process, put together from a configuration: what handlers are made of."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from language import PolicyErrors, render
from pdp.errors import PdpError
from pdp.identity import NEVER
from pdp.record import Recorder
from pdp.sdk.clock import Clock
from pdp.sdk.engine import Engine
from pdp.sdk.watch import Watch
from pdp.server.callers import Callers
from pdp.server.config import Config, Origin
from pdp.server.counters import Counters
from pdp.server.development import trust_development
from pdp.server.handlers import Deadline
from pdp.server.peer import Peer
from pdp.server.readiness import Readiness
from pdp.server.state import NoState, State
from pdp.server.telemetry import set_level
from pdp.server.trust_sources import TrustSources
from pdp.service.rest import whole
from pdp.store.trust import Trust

if TYPE_CHECKING:
    from pdp.server.reloading import Reloading

_log = logging.getLogger("pdp.record")
_reload_log = logging.getLogger("pdp.reload")

NOT_RELOADED = "not reloaded; what was in force stays so: %s"

DENIALS = timedelta(minutes=1)
RECORD_CLOSE_S = 5.0  # for what waits to be written, and as long again for the disk to answer
_US_A_STEP = 2  # of the plain evaluator, about: 0.7 to 1.1 where nothing else runs, up to 2.6 where each rule is in error

#: (method, request, peer, deadline) -> answer
Forward = Callable[[str, bytes, Peer, Deadline], bytes]
#: (caller, bytes, work) -> its result
InTurn = Callable[[str, int, Callable[[], Any]], Awaitable[Any]]
#: Another configuration -> what puts it into force and cannot fail any more; PdpError where that cannot be.
Prepare = Callable[[Config], Callable[[], None]]


async def _at_once(caller: str, size: int, work: Callable[[], Any]) -> Any:
    return whole(work)


@dataclass(slots=True)
class Parts:
    """`publish` tells all processes of a change of state, and returns when it is effective (`state.py`). Whoever makes the
    handlers may set `state`, so that other processes can follow it, before the server starts.

    `config` is replaced whole while the server runs (`reloading.py`): who keeps something that was made of it makes that
    again when it is another one, or is told by `prepares`."""

    config: Config
    worker: int
    clock: Callable[[], int]
    trust: Trust
    sources: TrustSources
    engine: Engine
    readiness: Readiness
    counters: Counters
    callers: Callers = field(init=False)
    recorder: Recorder | None = None
    state: State = field(default_factory=NoState)
    published_keys: Callable[[], bytes] | None = None  # the keys that sign handles, as JWKS
    publish: Callable[[bytes], None] = field(default=lambda _: None)
    #: The others, which configuration and policy set are in force; it returns when each has taken them, or denies.
    tell: Callable[[], None] = field(default=lambda: None)
    note: Callable[[bytes], None] = field(default=lambda _: None)  # to the writer, or from it to all; may be lost
    noted: Callable[[bytes], None] = field(default=lambda _: None)  # quick, and on the loop
    reads: Callable[[], None] = field(default=lambda: None)  # keys, again
    key_problems: Callable[[], list[str]] = field(default=list)  # what of them could not be read
    in_turn: InTurn = field(default=_at_once)  # what one question of a stream takes, where callers take turns
    forward: Forward | None = None  # in a process that follows: a call, answered by the one that writes
    policy_since: int = 0  # when the policies in force were put there
    policy_reloads: int = 0  # those that somebody asked for; the watch counts its own
    policy_failing: bool = False  # when somebody asked last
    started: int = 0
    record_figures: Callable[[], tuple[int, str, int]] | None = None  # last entry, its hash, entries lost
    unrecorded: int = 0  # entries that the record could not write when it was closed
    watch: Watch | None = None
    origin: Origin | None = None  # what the configuration was made from, where it can be made again
    reloading: Reloading | None = None  # in the process that writes, once it serves
    _closers: list[Callable[[], object]] = field(default_factory=list)
    _prepares: list[Prepare] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.callers = Callers(lambda: self.config, lambda: self.trust.current, self.clock)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes state."""
        return self.worker == 0

    def watched(self, error: Exception | None) -> None:
        if error is None:
            self.policy_since = self.clock()
            self.tell()

    def prepares(self, prepare: Prepare) -> None:
        """Asked before another configuration is put into force; what it gives is called when all have been asked."""
        self._prepares.append(prepare)

    def prepare(self, config: Config) -> Callable[[], None]:
        """All of another configuration that may fail. What it gives puts it into force: trust first, which nobody can use
        before the entries that name it, and `config` last."""
        takes = [prepare(config) for prepare in self._prepares]

        def take() -> None:
            for each in takes:
                each()
            self.config = config

        return take

    def reload(self) -> bool:
        """Reads everything again, in every process where this is the one that writes: the configuration, policies, data,
        trust and keys. Raises what keeps them from being put into force; then all is as it was."""
        if self.reloading is not None:
            return self.reloading.reload(self.read_again)
        changed = self.read_again()
        self.tell()
        return changed

    def reload_aside(self) -> None:
        """The same for whoever cannot wait, such as the loop: what fails is logged."""

        def run() -> None:
            try:
                self.reload()
            except PolicyErrors as errors:
                _reload_log.error(NOT_RELOADED, "\n".join(render(each) for each in errors.diagnostics if each.is_error))
            except PdpError as error:
                _reload_log.error(NOT_RELOADED, error)
            except Exception:  # noqa: BLE001  # a thread has nobody else to tell
                _reload_log.exception(NOT_RELOADED, "unexpected")

        threading.Thread(target=run, name="pdp-reload", daemon=True).start()

    def problems(self) -> list[str]:
        """Sources of trust and files of keys that cannot be read, or that take everything away: what was known before stays
        for a while, and the rest of a reload is not kept from being taken."""
        return [*(f"trust[{name}]: {why}" for name, why in self.sources.problems().items()), *self.key_problems()]

    def read_again(self, wanted: str | None = None) -> bool:
        """Policies, data, trust and keys, in this process; of policies and data, nothing but the set that is `wanted`, where
        one is."""
        self.sources.ask()
        self.reads()
        if wanted is not None and wanted == self.engine.loaded:
            self.policy_failing = False
            return False
        self.policy_failing = True
        changed = self.engine.reload(wanted)
        self.policy_failing = False
        if changed:
            self.policy_since = self.clock()
            self.policy_reloads += 1
            _reload_log.info("policies and data were reloaded")
        return changed

    def close(self) -> None:
        if self.reloading is not None:
            self.reloading.close()
        for close in reversed(self._closers):
            close()

    def closed_record(self, left: int) -> None:
        self.unrecorded = left
        if left:
            _log.error("the decision record ended with %s entries that could not be written", left)

    def closes(self, close: Callable[[], object]) -> None:
        """Called when the process ends, the last one first."""
        self._closers.append(close)


def make_parts(config: Config, worker: int = 0, origin: Origin | None = None) -> Parts:
    """Reads policies and trust, and opens the record. PolicyErrors, or PdpError, where that cannot be. Without an `origin`
    the configuration stays what it is."""
    if config.policies.path is None:
        raise PdpError("unsafe_configuration", "policies.path: without policies every answer is a denial")
    clock = Clock()
    trust = Trust()
    engine = Engine.load(
        config.policies.path,
        denials=DENIALS,
        run_tests=config.policies.run_tests,
        demand_rules=not config.policies.empty,
        clock=clock.now,
    )
    engine.limit_steps(_steps(config))
    sources = TrustSources(config, trust, clock.now)
    readiness, counters = Readiness(), Counters()
    parts = Parts(config, worker, clock.now, trust, sources, engine, readiness, counters, origin=origin)
    parts.prepares(sources.prepare)
    parts.prepares(lambda wanted: lambda: set_level(wanted.telemetry))
    parts.prepares(lambda wanted: lambda: engine.limit_steps(_steps(wanted)))
    parts.policy_since = parts.started = clock.now()
    sources.start()
    parts.closes(sources.close)
    if config.development.enabled:
        trust_development(config, trust, clock.now())
    if config.policies.watch and parts.writes:  # the others take what this one tells
        parts.watch = engine.watch(parts.watched)
        parts.closes(parts.watch.close)
    if config.record.directory is not None:
        parts.recorder = _record(parts, config.record.directory)
    readiness.require("policy", lambda: None if engine.generation else "no policy set is in force")
    readiness.require("trust", sources.lacking)
    readiness.require("clock", lambda: _lacking_clock(clock))
    _gauges(parts, clock)
    return parts


def _steps(config: Config) -> int:
    """Of one check, which holds up all others: a twentieth of the deadline, by about what a step takes."""
    return max(1, config.limits.deadline // (20 * _US_A_STEP))


def _record(parts: Parts, folder: Path) -> Recorder:
    """A record has one writer, so each process has its own below the folder, also where there is one process."""
    from pdp.store.record_files import Full, RecordFiles, RecordSettings
    from pdp.store.record_keys import open_keys

    keys = parts.config.record.keys
    assert keys is not None  # the configuration was checked
    settings = RecordSettings(full=Full(parts.config.record.full.value))
    record = RecordFiles(folder / f"worker-{parts.worker}", open_keys(keys), settings, now_us=parts.clock)
    for told in record.found_at_start:
        _log.error("the decision record was not as it was left: %s", told)
    if record.head_failing is not None:
        _log.error("the next start will not see whether the end of the record was cut off: %s", record.head_failing)
    parts.closes(lambda: parts.closed_record(record.close(RECORD_CLOSE_S)))
    if settings.full is Full.DENY:
        parts.readiness.require(
            "record", lambda: record.failing and f"the decision record cannot be written: {record.failing}"
        )
    parts.counters.gauge("record_waiting", "entries of the record that are not on disk yet", lambda: record.waiting)
    parts.counters.gauge("record_waiting_bytes", "what those keep in memory, roughly", lambda: record.waiting_bytes)
    parts.counters.gauge("record_failing", "1 while the disk refuses the record", lambda: float(record.failing is not None))
    parts.counters.gauge(
        "record_head_failing",
        "1 while the last signed entry cannot be kept beside the keys",
        lambda: float(record.head_failing is not None),
    )
    parts.record_figures = lambda: (record.head.seq, record.head.hash, record.lost)
    return record


def _lacking_clock(clock: Clock) -> str | None:
    try:
        clock.now()
    except PdpError as error:
        return error.message
    return None


def _gauges(parts: Parts, clock: Clock) -> None:
    counters, engine, trust = parts.counters, parts.engine, parts.trust

    def reload_failing() -> float:
        return float(parts.policy_failing if parts.watch is None else parts.watch.last_error is not None)

    def reloads() -> float:
        return parts.policy_reloads + (0 if parts.watch is None else parts.watch.reloads)

    def trust_left_s() -> float:
        """Time to fail-closed for trust: the least of all domains; 0 where one is missing, or has no key."""
        bundles, now = trust.current.bundles, clock.now()
        found = (bundles.get(name) for name in parts.config.trust)
        least = min((now if b is None or b.is_empty else b.fresh_until_us for b in found), default=NEVER)
        return float("inf") if least >= NEVER else max(0, least - now) / 1e6

    counters.gauge("policy_reload_failing", "1 when what stands on disk is not in force", reload_failing)
    counters.gauge("policy_reloads", "policy sets put into force since the start", reloads)
    counters.gauge("policy_rules", "rules in force", lambda: len(engine.bundle.program.rules))
    counters.gauge("trust_fresh_seconds", "until the first trust bundle is too old to be used", trust_left_s)
    says = "sources of trust that could not be read, or say that nothing is trusted"
    counters.gauge("trust_sources_failing", says, lambda: len(parts.sources.problems()))
    counters.gauge("clock_behind_seconds", "how far the wall clock is behind where it was", lambda: clock.behind_us / 1e6)
    counters.gauge("calls_in_work", "calls in work", lambda: counters.in_work.all)
    counters.gauge("calls_waiting", "calls that wait for a thread", lambda: counters.waiting.all)
    counters.gauge("calls_computing", "calls that wait for their turn to be worked out", lambda: counters.computing.all)
    counters.gauge("bytes_in_work", "bytes of requests in work, and of answers not sent yet", lambda: counters.bytes.all)
    counters.gauge("streams_open", "streams that are open", lambda: counters.streams)
    counters.gauge("ready", "1 when decisions can be made", lambda: float(parts.readiness.is_serving))
