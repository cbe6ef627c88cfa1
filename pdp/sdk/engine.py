"""`pdp.Engine`: the decision point inside the asking process.

In process the host program vouches for workload, user and task. A check made inside a process that an attacker controls
contains nothing: use it to gate what the process does for others, and put containment at the resource.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import perf_counter_ns
from types import MappingProxyType
from typing import Any, overload

from language import CHECK_STEPS, FOREVER, Bundle, RequestData, World, describe
from language import Directory as Data
from pdp.engine.cache import ENTRIES_MAX, DecisionCache
from pdp.engine.cache_report import CacheReport, report_cache
from pdp.engine.decide import Decider, Explanation
from pdp.engine.revocations import Revocations, demand_name
from pdp.engine.snapshot import Policy, Snapshot
from pdp.errors import PdpError
from pdp.model.decision import Decision
from pdp.model.request import (
    NOTHING,
    Credential,
    EntityLike,
    Request,
    Task,
    Workload,
    credential_of,
    moment,
    request_data,
)
from pdp.record import Kind, Recorder, Step
from pdp.sdk.clock import Clock, demanded
from pdp.sdk.directory import Directory
from pdp.sdk.forks import make_anew_in_children
from pdp.sdk.watch import Watch
from pdp.service.recorded import Recording, decide_recorded
from pdp.store.policy_folder import PolicyFolder

_new = object.__new__


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine remembers. `cache_entries=0` remembers nothing; `denials` is how long a denial may be remembered."""

    cache_entries: int = ENTRIES_MAX
    denials: timedelta | None = timedelta(minutes=1)
    run_tests: bool = False  # before a policy set is put into force
    demand_rules: bool = False  # or it is not put there: a file that is being written is empty at first
    clock: Callable[[], int] | None = None  # microseconds since the epoch; what one's own clock says is believed
    recorder: Recorder | None = None  # is offered every decision; one that it does not take becomes a denial

    def __post_init__(self) -> None:
        if type(self.cache_entries) is not int or self.cache_entries < 0:
            raise PdpError("invalid_argument", "cache_entries: a number of entries, 0 to remember nothing")
        if self.denials is not None and (type(self.denials) is not timedelta or self.denials < timedelta(0)):
            raise PdpError("invalid_argument", "denials: a timedelta that is not negative, or None")
        if self.clock is not None and not callable(self.clock):
            raise PdpError("invalid_argument", "clock: a function that gives microseconds since the epoch")

    @property
    def denials_us(self) -> int:
        return FOREVER if self.denials is None else min(FOREVER, self.denials // timedelta(microseconds=1))


class Engine:
    """Policies and data, ready to be asked. Safe to share between threads, and between tasks of asyncio: a check neither
    waits nor does I/O. In a process that is forked it goes on, with ids and locks of its own."""

    def __init__(self, bundle: Bundle, data: Data | None = None, options: EngineOptions | None = None) -> None:
        self._options = options or EngineOptions()
        self._instance = secrets.token_hex(6)
        self._steps = CHECK_STEPS
        self._decider = Decider()
        self._numbers = self._decider.numbers
        recorder = self._options.recorder
        self._recording = None if recorder is None else Recording(recorder, perf_counter_ns)
        self._clock = Clock().now if self._options.clock is None else demanded(self._options.clock)
        if data is not None and data.vocabulary != bundle.vocabulary:
            raise PdpError("invalid_argument", "the data are of another vocabulary than the policies")
        self._make_locks()
        self._data = data if data is not None else Data(bundle.vocabulary)
        self._snapshot = Snapshot(self._policy(bundle), self._data.world)
        self._folder: PolicyFolder | None = None
        self._directory = Directory(self._change_data, lambda: self._snapshot.world)
        make_anew_in_children(self)

    def _make_locks(self) -> None:
        self._changing = threading.RLock()  # of the snapshot; a check never waits for it
        self._reloading = threading.RLock()  # one at a time, so that none puts what is older over what is newer

    def begin_in_child(self) -> None:
        """Other threads are not there to let go of a lock, and the parent goes on to number decisions."""
        self._make_locks()
        self._instance = secrets.token_hex(6)
        now = self._snapshot
        if now.policy.cache is not None:
            now.policy.cache.guard = threading.Lock()
        self._snapshot = Snapshot(
            Policy(now.policy.bundle, self._instance, now.policy.cache, self._steps), now.world, now.revoked
        )

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        cache_entries: int = ENTRIES_MAX,
        denials: timedelta | None = timedelta(minutes=1),
        run_tests: bool = False,
        clock: Callable[[], int] | None = None,
        recorder: Recorder | None = None,
        demand_rules: bool = False,
    ) -> Engine:
        """The policies of a folder or file, with the data beside them. Raises `PolicyErrors`, or `PdpError`.

        `cache_entries=0` remembers nothing; `denials` is the longest that a denial is remembered; `run_tests` puts no set
        into force whose own tests fail, and `demand_rules` none without a rule; `clock` gives microseconds since the epoch,
        and is believed; `recorder` is offered every decision, and one that it does not take becomes a denial,
        `not_recorded`.
        """
        options = EngineOptions(cache_entries, denials, run_tests, demand_rules, clock, recorder)
        folder = PolicyFolder(_path(path), run_tests=run_tests, demand_rules=demand_rules)
        read = folder.read()
        data = folder.apply(read, None)
        engine = cls(read.bundle, data, options)
        engine._folder = folder
        return engine

    # ---- what it has

    @property
    def bundle(self) -> Bundle:
        return self._snapshot.policy.bundle

    @property
    def directory(self) -> Directory:
        """Its entities and relations, to change while it decides."""
        return self._directory

    @property
    def generation(self) -> str:
        """Names the policy set in force, by its content."""
        return self._snapshot.policy.generation

    @property
    def snapshot(self) -> Snapshot:
        """What a decision reads at this moment, for those who build a decision point of their own on an engine."""
        return self._snapshot

    @property
    def decider(self) -> Decider:
        return self._decider

    @property
    def revoked(self) -> Mapping[tuple[str, str], str]:
        """What is revoked, by noun and name, and why. To look at: `revoke` and `lift` change it."""
        return MappingProxyType(self._snapshot.revoked.reasons)

    # ---- asking

    @overload
    def check(self, request: Request, *, now: Any = None) -> Decision: ...

    @overload
    def check(
        self,
        *,
        action: str,
        resource: EntityLike,
        workload: str | Workload | None = None,
        user: EntityLike | None = None,
        task: Task | None = None,
        context: Mapping[str, Any] | None = None,
        gate: Mapping[str, Any] | None = None,
        location: Mapping[str, Any] | None = None,
        proof: Sequence[str] | frozenset[str] = (),
        now: Any = None,
    ) -> Decision: ...

    def check(self, request: Request | None = None, *, now: Any = None, **told: Any) -> Decision:
        """Decides a prebuilt `Request`, or one told in keywords. `now` is for tests and replays."""
        # Keywords that nobody gave cost as much as a lookup each, so the known answer comes before they have names.
        at = self._clock() if now is None else moment(now, "now")
        if request is None:
            if self._recording is not None:
                return decide_recorded(self._recording, self._decider, self._snapshot, _request(**told), at)
            asked, credential = _told(**told)
            return self._decider.decide_once(self._snapshot, asked, credential, at)
        if told:
            _refuse_both(told)
        try:
            memo = request.memo
        except AttributeError:
            raise _no_request(request) from None
        if self._recording is not None:
            return decide_recorded(self._recording, self._decider, self._snapshot, _demand_request(request), at)
        if memo.mark is self._snapshot.mark and memo.opens <= at < memo.closes:
            decision = _new(Decision)  # `Decision(...)` would be a call more
            decision.settled = memo.settled
            decision._number = next(self._numbers)
            return decision
        return self._decider.decide(self._snapshot, _demand_request(request), at)

    def check_many(self, requests: Iterable[Request], *, now: Any = None) -> list[Decision]:
        """Decides several requests by one snapshot and at one moment."""
        if isinstance(requests, Request) or not isinstance(requests, Iterable):
            raise PdpError("invalid_argument", f"expected several requests, found {type(requests).__name__}")
        requests = [_demand_request(r) for r in requests]  # whoever makes them may take time, and may revoke
        snapshot, at = self._snapshot, self._at(now)
        if self._recording is not None:
            return [decide_recorded(self._recording, self._decider, snapshot, r, at) for r in requests]
        return [self._decider.decide(snapshot, r, at) for r in requests]

    def explain(self, request: Request, *, now: Any = None) -> Explanation:
        """The decision with every rule that was considered, and what each was missing."""
        return self._decider.explain(self._snapshot, _demand_request(request), self._at(now))

    def explain_cache(self, request: Request, *, now: Any = None) -> CacheReport:
        """Whether the answer is remembered, under which key, and what bounds its life. Changes nothing."""
        return report_cache(self._snapshot, _demand_request(request), self._at(now))

    def _at(self, now: Any) -> int:
        return self._clock() if now is None else moment(now, "now")

    # ---- changing

    def revoke(self, noun: str, name: str, *, reason: str = "") -> None:
        """Refuses, from the very next check, whatever stands on a task, credential, workload, trust domain, gate or opener.
        A task and a credential are revoked for ever."""
        demand_name(noun, name)
        self.change_revocations(lambda revoked: revoked.revoke(noun, name, reason))
        self._record_incident("revoke", noun, name, reason)

    def lift(self, noun: str, name: str) -> None:
        """Takes back the revocation of a workload, trust domain, gate or opener."""
        self._snapshot.revoked.lift(noun, name)  # refuses what cannot be lifted, before it is written down
        self._record_incident("lift", noun, name, None)
        self.change_revocations(lambda revoked: revoked.lift(noun, name))

    def _record_incident(self, what: str, noun: str, name: str, reason: str | None) -> None:
        """The one place for why: answers go to whom the incident is about, and do not say it."""
        if self._recording is None:
            return
        step = Step(Kind.INCIDENT, what, self._clock(), id=name, reason=reason, details={"noun": noun})
        if not self._recording.recorder.stepped(step):
            raise PdpError("not_recorded", f"the record takes no more, so nobody can read of this {what}")

    def change_revocations(self, change: Callable[[Revocations], Revocations]) -> None:
        """Several at once, in one step."""
        with self._changing:
            now = self._snapshot
            self._snapshot = Snapshot(now.policy, now.world, change(now.revoked))

    @property
    def loaded(self) -> str:
        """Names the files in force, policies and data, by their content; empty where there are none."""
        return "" if self._folder is None else self._folder.in_force

    def reload(self, wanted: str | None = None) -> bool:
        """Reads policies and data again and puts them into force together, or raises and leaves what is in force. Returns
        whether anything changed. Checks go on meanwhile. Nothing but the set that is `wanted` (`loaded`), where one is."""
        folder = self._folder
        if folder is None:
            raise PdpError("invalid_argument", "this engine was not loaded from files")
        with self._reloading:
            read = folder.read()
            if wanted is not None and read.name != wanted:
                raise PdpError("other_policies", f"what stands in `{folder.path}` is not the set that is wanted")
            with self._changing:
                return self._put_into_force(read.bundle, folder.apply(read, self._data))

    def watch(self, on_reload: Callable[[Exception | None], None] | None = None) -> Watch:
        """Reloads whenever a file of the policy set changes, in a thread, until the watch is closed. What is not fit is
        logged, told to `on_reload`, and leaves in force what was."""
        if self._folder is None:
            raise PdpError("invalid_argument", "this engine was not loaded from files")
        return Watch(self._folder.path, self.reload, on_reload)

    def limit_steps(self, steps: int) -> None:
        """How many steps a check may take that the plain evaluator settles, because something in it has no value."""
        with self._changing:
            self._steps = self._snapshot.policy.steps = steps

    def _change_data(self, change: Callable[[Data], None]) -> World:
        with self._changing:
            try:
                change(self._data)
            finally:  # whoever is interrupted has changed all or nothing, and what was changed is in force
                now = self._snapshot
                if self._data.world is not now.world:
                    self._snapshot = Snapshot(now.policy, self._data.world, now.revoked)
            return self._data.world

    def _put_into_force(self, bundle: Bundle, data: Data) -> bool:
        """The swap: one assignment. Whatever could fail has been done."""
        with self._changing:
            before, self._data = self._snapshot, data
            policy = before.policy if bundle is before.policy.bundle else self._policy(bundle)
            if policy is before.policy and data.world is before.world:
                return False
            self._snapshot = Snapshot(policy, data.world, before.revoked)
            return True

    def _policy(self, bundle: Bundle) -> Policy:
        options = self._options
        cache = DecisionCache(options.cache_entries, options.denials_us, threading.Lock()) if options.cache_entries else None
        return Policy(bundle, self._instance, cache, self._steps)


def _told(
    *,
    action: str | None = None,
    resource: EntityLike | None = None,
    workload: str | Workload | None = None,
    user: EntityLike | None = None,
    task: Task | None = None,
    context: Mapping[str, Any] | None = None,
    gate: Mapping[str, Any] | None = None,
    location: Mapping[str, Any] | None = None,
    proof: Sequence[str] | frozenset[str] = (),
) -> tuple[RequestData, Credential | None]:
    context, location = NOTHING if context is None else context, NOTHING if location is None else location
    asked = request_data(action, resource, workload, user, task, context, gate, location, proof)
    return asked, credential_of(workload)


def _request(
    *, action: Any = None, resource: Any = None, context: Any = None, location: Any = None, **others: Any
) -> Request:
    """What was told in keywords, as one who has to keep it does."""
    if unknown := others.keys() - (_told.__kwdefaults__ or {}).keys():
        raise TypeError(f"check() got an unexpected keyword argument {min(unknown)!r}")
    context, location = NOTHING if context is None else context, NOTHING if location is None else location
    return Request(action, resource, context=context, location=location, **others)


def _refuse_both(told: Mapping[str, Any]) -> None:
    """A program may hand on keywords that hold nothing."""
    if unknown := told.keys() - (_told.__kwdefaults__ or {}).keys():
        raise TypeError(f"check() got an unexpected keyword argument {min(unknown)!r}")
    if any(told.values()):
        raise PdpError("invalid_argument", "a request is prebuilt or told in keywords, not both")


def _path(path: object) -> Path:
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise PdpError("invalid_argument", f"expected the path of a folder or file, found {describe(path)}")
    return Path(path)


def _demand_request(request: object) -> Request:
    if not isinstance(request, Request):
        raise _no_request(request)
    return request


def _no_request(found: object) -> PdpError:
    return PdpError("invalid_argument", f"expected a pdp.Request, found {type(found).__name__}")
