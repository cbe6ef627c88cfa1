"""Opens and ends tasks in a store that a server follows, from another process of the same machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pdp
from pdp.grants.grant import Bindings, Grant
from pdp.grants.handle import Names, make_handle
from pdp.record import Step
from pdp.server.grants import new_id
from pdp.service.book import Book
from pdp.service.caller import Caller, Moment, Rules
from pdp.service.giving import Opening
from pdp.service.tasks import Tasks
from pdp.store.grants.sqlite import SqliteStore
from pdp.store.issuer_keys import open_issuer_keys


class Unrecorded:
    def decided(self, *_: object, **__: object) -> bool:
        return True

    def stepped(self, step: Step) -> bool:
        return True


class TaskDesk:
    """`names` and `environment` are those of the server."""

    def __init__(self, policies: Path, store: Path, keys: Path, names: Names, environment: str) -> None:
        self._engine = pdp.Engine.load(policies)
        self._store = SqliteStore(store)
        self._keys, self._names = keys, names
        self._tasks = Tasks(Book(self._store, lambda _: None), Unrecorded(), Rules(names.audience, environment))

    def open(
        self,
        opener: str,
        kind: str,
        holder: str,
        certificate: str,
        facts: dict[str, Any] | None = None,
        lasting_s: int = 600,
        **places: Any,
    ) -> Grant:
        """Tied to a certificate of the holder, and to the places that are named."""
        binding = Bindings(certificate, **places)
        ask = Opening(kind, holder, facts or {}, None, binding, lasting_s * 1_000_000)
        return self._tasks.open(self._moment(), Caller(opener), ask)

    def handle(self, grant: Grant) -> str:
        now = self._moment().now
        return make_handle(grant, self._names, open_issuer_keys(self._keys, now), now)

    def end(self, opener: str, grant: Grant) -> None:
        self._tasks.end(self._moment(), Caller(opener), grant.id, "done")

    def close(self) -> None:
        self._store.close()

    def _moment(self) -> Moment:
        return Moment(time.time_ns() // 1000, self._engine.snapshot, new_id)
