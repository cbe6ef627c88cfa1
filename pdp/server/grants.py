"""Tasks and grants in a process of the server: the book where state is written, an index that follows elsewhere.

The process that writes confirms the store again and again, and tells the others; what was not confirmed within its bound is
relied on nowhere.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pdp.errors import PdpError
from pdp.grants.index import Index
from pdp.grants.issuer_keys import IssuerKeys
from pdp.grants.people import Issuer
from pdp.grants.reasons import Refused
from pdp.grants.store import Consume, GrantStore, Record
from pdp.record import Kind, Recorder, Step, SuspendAfter
from pdp.server.changes import Changes
from pdp.server.config import Config
from pdp.server.config.sections import Restored
from pdp.server.handlers import PassOn
from pdp.server.parts import Parts
from pdp.server.shared_grants import SharedGrants, message
from pdp.server.signing_keys import SigningKeys
from pdp.service.book import Book
from pdp.service.caller import Moment, Rules
from pdp.service.plan import Plan
from pdp.service.tasks import EXPIRED_AT_ONCE, FORGOTTEN_AT_ONCE, Tasks

_BETWEEN_S = 0.02  # of the rounds in which very much is tidied up: steps are taken in between
_FORGETS = 60  # in the time for which tasks that are over are kept
_CONFIRMS = 4  # in the time for which a confirmation holds

_WITNESS_BESIDE = (
    "the witness of `%s` lies with it: a copy of both, restored, revives every grant that ended since; "
    "give `store.witness` a place outside of what is copied and restored"
)

_log = logging.getLogger("pdp.grants")


class Unrecorded:
    """Stands where no record is configured."""

    def decided(self, *_: object, **__: object) -> bool:
        return True

    def stepped(self, step: Step) -> bool:
        return True


class GrantBook:
    """What a process has of grants. `tasks` is None in a process that only follows."""

    def __init__(self, parts: Parts, store: GrantStore | None, audience: str) -> None:
        config = parts.config
        self._parts = parts
        self._signing = SigningKeys(config, parts.clock())
        parts.reads, parts.key_problems = self._signing.read_again, self._signing.problems
        parts.prepares(self._signing.prepare)
        parts.prepares(self._prepare)
        self.bound_us = config.store.freshness  # in a follower too: each message says when the store was confirmed
        self.tasks: Tasks | None = None
        book: Book | None = None
        if store is not None:
            recorder: Recorder = parts.recorder if parts.recorder is not None else Unrecorded()
            book = Book(store, parts.engine.change_revocations, threading.RLock(), self._tell)
            rules = Rules(audience, config.environment, freshness_us=config.store.freshness)
            after = config.store.suspend_after
            suspend = SuspendAfter(after, config.store.suspend_within) if after else None
            self.tasks = Tasks(book, recorder, rules, suspend)
        self.changes = Changes()
        current = None if book is None else lambda: book.index
        self._shared = SharedGrants(current, parts.engine.change_revocations, self.changes.tell)
        parts.state = self._shared
        parts.published_keys = lambda: self.keys.published(parts.clock())
        self._closing = threading.Event()
        self._forgets_at = 0.0
        if self.tasks is not None:
            self.tasks.confirm(parts.clock())
        threading.Thread(target=self._keep_up, name="pdp-grants", daemon=True).start()
        parts.closes(self._closing.set)
        parts.readiness.require("store", self._lacking)
        says = "until what stands on grants is denied, for want of a store"
        parts.counters.gauge("store_fresh_seconds", says, lambda: max(0, self._fresh_us()) / 1e6)

    @classmethod
    def open(cls, parts: Parts, audience: str) -> GrantBook | None:
        """By the configuration; None where there is no store."""
        wanted = parts.config.store
        path = wanted.path
        if path is None:
            return None
        if not parts.writes:
            return cls(parts, None, audience)
        from pdp.store.grants.sqlite import SqliteStore
        from pdp.store.grants.witness import lies_with

        refuse = wanted.restored is Restored.REFUSE
        store = SqliteStore(path, wanted.witness, now_us=parts.clock, refuse_restored=refuse)
        if lies_with(path, wanted.witness) and not parts.config.development.enabled:
            _log.warning(_WITNESS_BESIDE, path)
        parts.closes(store.close)
        if store.restored:
            _tell_restored(parts, path)
        return cls(parts, store, audience)

    @property
    def index(self) -> Index:
        return self._shared.index

    @property
    def keys(self) -> IssuerKeys:
        return self._signing.issuer

    @property
    def people(self) -> Mapping[str, Issuer]:
        return self._signing.people

    def consume(self, consumes: Sequence[Consume]) -> None:
        if self.tasks is None:
            raise PassOn
        self.tasks.book.consume(Plan(tuple(consumes)))

    def _prepare(self, config: Config) -> Callable[[], None]:
        def take() -> None:
            if self.tasks is not None:
                self.tasks.rules = replace(self.tasks.rules, environment=config.environment)

        return take

    def moment(self) -> Moment:
        """When and by what a step is taken now."""
        return Moment(self._parts.clock(), self._parts.engine.snapshot, new_id)

    # ---- in the process that writes

    def _tell(self, index: Index, records: Iterable[Record], whole: bool) -> None:
        told = tuple(records)
        self._parts.publish(message(index, told, whole=whole))
        self.changes.tell(told, whole)

    def _confirm(self, tasks: Tasks) -> None:
        now = self._parts.clock()
        tasks.confirm(now)
        self._parts.publish(message(self.index, ()))
        while tasks.expire(self.moment()) >= EXPIRED_AT_ONCE and not self._closing.wait(_BETWEEN_S):
            tasks.confirm(self._parts.clock())
            self._parts.publish(message(self.index, ()))
        if time.monotonic() >= self._forgets_at:  # it looks at every task, so seldom; and a part at a time
            keep_us = self._parts.config.store.keep_ended
            more = tasks.forget(self.moment(), now - keep_us) >= FORGOTTEN_AT_ONCE
            self._forgets_at = time.monotonic() + (0 if more else keep_us / 1e6 / _FORGETS)

    # ---- in every process

    def _keep_up(self) -> None:
        while not self._closing.wait(self.bound_us / _CONFIRMS / 1e6):
            try:
                self._signing.read_again()
                if self.tasks is not None:
                    self._confirm(self.tasks)
            except (Refused, PdpError) as error:
                _log.error("the store of grants was not confirmed: %s", error)
            except Exception:  # noqa: BLE001  # what is known goes stale if this goes on; the thread must not end
                _log.exception("the store of grants was not confirmed")

    def _fresh_us(self) -> int:
        """Time to fail-closed for the store: 0 or less from then on."""
        return self.index.confirmed_at + self.bound_us - self._parts.clock()

    def _lacking(self) -> str | None:
        return None if self._fresh_us() > 0 else "the store of grants was not confirmed within its bound"


def new_id() -> str:
    """Of a task or a grant: 192 random bits. It does not begin with a dash, which a command line takes for an option."""
    while (found := secrets.token_urlsafe(24)).startswith("-"):
        pass
    return found


def _tell_restored(parts: Parts, path: Path) -> None:
    """Freezes and revocations may be missing: whoever handles incidents has to know."""
    from pdp.store.grants.sqlite_life import RESTORED

    _log.error("`%s`: %s; every grant in it has ended, and marks that came after the copy must be set again", path, RESTORED)
    if parts.recorder is not None:
        parts.recorder.stepped(Step(Kind.INCIDENT, "store_restored", parts.clock(), reason=RESTORED))
