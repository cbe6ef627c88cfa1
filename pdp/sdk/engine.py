"""`pdp.Engine`: the decision point inside the asking process.

In process the host program vouches for workload, user and task. A check made inside a process that an attacker controls
contains nothing: use it to gate what the process does for others, and put containment at the resource.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from language import Bundle, Compiler, Directory
from pdp.engine.engine import Decider, Explanation, Snapshot
from pdp.model.decision import Decision
from pdp.model.request import EntityLike, Request, Task, Workload, moment
from pdp.store.files import find_files, load_data, read_sources


class Engine:
    """Policies and data, ready to be asked. Safe to share between threads and tasks."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._decider = Decider(secrets.token_hex(6))

    @classmethod
    def load(cls, path: str | Path) -> Engine:
        """The policies of a folder or file, with the data beside them. Raises `PolicyErrors`, or `PdpError`."""
        found = find_files(Path(path), with_tests=False)
        bundle = Compiler().compile(read_sources(found.policies))
        directory = Directory(bundle.vocabulary)
        load_data(directory, found.data)
        return cls(Snapshot(bundle, directory))

    @property
    def bundle(self) -> Bundle:
        return self._snapshot.bundle

    @property
    def directory(self) -> Directory:
        return self._snapshot.directory

    @property
    def generation(self) -> str:
        return self._snapshot.generation

    def check(
        self,
        request: Request | None = None,
        *,
        action: str | None = None,
        resource: EntityLike | None = None,
        workload: str | Workload | None = None,
        user: EntityLike | None = None,
        task: Task | None = None,
        context: Mapping[str, Any] | None = None,
        gate: Mapping[str, Any] | None = None,
        location: Mapping[str, Any] | None = None,
        proof: Sequence[str] = (),
        now: Any = None,
    ) -> Decision:
        """Decides a prebuilt `Request`, or one told in keywords. `now` is for tests and replays."""
        if request is None:
            request = Request(
                action,  # type: ignore[arg-type]  # a missing action is told by `data`, like every other bad value
                resource,  # type: ignore[arg-type]  # likewise
                workload,
                user,
                task,
                {} if context is None else context,
                gate,
                {} if location is None else location,
                proof,
            )
        return self._decider.decide(self._snapshot, request.data(), _now(now))

    def check_many(self, requests: Iterable[Request], *, now: Any = None) -> list[Decision]:
        """Decides several requests by one snapshot and at one moment."""
        snapshot, at = self._snapshot, _now(now)
        return [self._decider.decide(snapshot, r.data(), at) for r in requests]

    def explain(self, request: Request, *, now: Any = None) -> Explanation:
        """The decision with every rule that was considered, and what each was missing."""
        return self._decider.explain(self._snapshot, request.data(), _now(now))


def _now(now: Any) -> int:
    return time.time_ns() // 1000 if now is None else moment(now, "now")
