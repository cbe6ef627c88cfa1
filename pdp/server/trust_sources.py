"""Keeps what is trusted as its sources say: files looked at again and again, endpoints polled, the Workload API streamed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from pdp.errors import PdpError
from pdp.identity import Refused, TrustBundle, parse_workload_id, stale_after_us
from pdp.server.config import Config, Domain
from pdp.store.file_state import state_of
from pdp.store.trust import EndpointSource, FileSource, Refreshed, Source, SpiffeServer, Trust, WebServer, refresh

_FIRST_ANSWER_S = 10.0
_LOOK_US = 1_000_000  # how often files are looked at
_REVOKED = "bundle_revoked: its bundle has no key that is of use, so that nothing of the domain is trusted"

_log = logging.getLogger("pdp.trust")


def source_of(name: str, domain: Domain) -> Source | None:
    """The source of one domain; None for the Workload API, which is a source of several."""
    if domain.file is not None:
        return FileSource(domain.file, name)
    if domain.endpoint is not None:
        server = WebServer(domain.ca_file) if domain.server_id is None else SpiffeServer(parse_workload_id(domain.server_id))
        return EndpointSource(name, domain.endpoint, server)
    return None


class TrustSources:
    """The sources of a configuration, asked in one thread."""

    def __init__(self, config: Config, trust: Trust, clock: Callable[[], int]) -> None:
        self._trust, self._clock = trust, clock
        self._domains: Mapping[str, Domain] = config.trust
        self._callers = {each.trust_domain for each in config.listen}
        self._sources = {n: s for n, domain in config.trust.items() if (s := source_of(n, domain)) is not None}
        self._asking = threading.Lock()  # also held while there come to be other sources
        self._due_us: dict[str, int] = {}
        self._states: dict[str, object] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="pdp-trust", daemon=True)
        self._unread: dict[str, Refreshed] = {}
        self._revoked: set[str] = set()  # of which it was logged
        self.workload_api: Any = None
        if config.tls.workload_api is not None:
            from pdp.store.trust.workload_api import Event, WorkloadApi

            def told(event: Event) -> None:
                _log.warning("the Workload API: %s %s %s", event.stream, event.code, event.message)

            socket, wanted = config.tls.workload_api, _of_workload_api(config.trust)
            self.workload_api = WorkloadApi(socket, trust, clock=clock, report=told, domains=wanted)

    def start(self) -> None:
        """Asks every source once, then goes on in a thread. What cannot be read now may come later."""
        self.ask()
        self._thread.start()
        if self.workload_api is not None:
            self.workload_api.start()
            self.workload_api.wait_ready(_FIRST_ANSWER_S)

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.workload_api is not None:
            self.workload_api.close()

    def lacking(self) -> str | None:
        """Which configured domains have no bundle that may be used now. One that revokes everything is an answer about its
        domain; where our own callers are of it, we can answer nobody."""
        store, now = self._trust.current, self._clock()
        missing = []
        for name in self._domains:
            bundle = store.bundles.get(name)
            if bundle is None or now > bundle.fresh_until_us or (bundle.is_empty and name in self._callers):
                missing.append(name)
        return f"no fresh bundle of {', '.join(missing)}" if missing else None

    def problems(self) -> Mapping[str, str]:
        """By domain: that its source cannot be read now, so that what was trusted stays until it is stale; or that its
        bundle has no key, so that nothing of it is trusted."""
        found = {name: told.message for name, told in tuple(self._unread.items())}
        if self.workload_api is not None and not self.workload_api.wait_ready(0):
            found["workload-api"] = "has said nothing yet"
        return {**found, **dict.fromkeys(self._emptied(), _REVOKED)}

    def _emptied(self) -> set[str]:
        bundles = self._trust.current.bundles
        return {name for name in self._domains if name in bundles and bundles[name].is_empty}

    def ask(self) -> None:
        """Asks the sources that are due."""
        for name, source in tuple(self._sources.items()):
            with self._asking:
                if self._sources.get(name) is source:  # it may have been taken away meanwhile
                    self._ask(name, source)
        emptied = self._emptied()
        for name in sorted(emptied - self._revoked):
            _log.error("trust[%s]: %s", name, _REVOKED)
        self._revoked = emptied

    def prepare(self, config: Config) -> Callable[[], None]:
        """Reads what is new or has another source; PdpError where that cannot be. What it gives puts that into the place of
        what is trusted now, with nothing of the domains that are gone."""
        now, before, wanted = self._clock(), self._domains, config.trust
        other = {name: domain for name, domain in wanted.items() if before.get(name) != domain}
        sources = {name: s for name, domain in other.items() if (s := source_of(name, domain)) is not None}
        bundles = [bundle for name, source in sources.items() for bundle in self._read(name, source, now)]
        for name in _of_workload_api(other):
            if self.workload_api is None or not self.workload_api.knows(name):
                raise PdpError("trust_unavailable", f"trust[{name}]: the Workload API has told nothing of it")

        def take() -> None:
            gone = [name for name in before if name not in wanted or name in other]
            with self._asking:
                self._sources = {**{n: s for n, s in self._sources.items() if n not in gone}, **sources}
                self._domains = wanted
                for name in (*gone, *sources):
                    self._states.pop(name, None)
                    self._due_us.pop(name, None)
                    self._unread.pop(name, None)
                if self.workload_api is not None:  # what it says meanwhile is of no domain that is about to change
                    self.workload_api.want([name for name in _of_workload_api(before) if name not in gone])
                self._trust.exchange(gone, bundles)
                if self.workload_api is not None:
                    self.workload_api.want(_of_workload_api(wanted))

        return take

    def _read(self, name: str, source: Source, now: int) -> tuple[TrustBundle, ...]:
        try:
            return source.read(self._trust.current, now)
        except (Refused, PdpError) as problem:
            raise PdpError("trust_unavailable", f"trust[{name}]: {problem}") from None

    def _ask(self, name: str, source: Source) -> None:
        now = self._clock()
        if isinstance(source, FileSource):
            state = state_of(source.path)
            if self._states.get(name) == state and name not in self._unread:
                return
            self._states[name] = state
        elif now < self._due_us.get(name, 0):
            return
        told = refresh(source, self._trust, now)
        self._due_us[name] = told.again_us
        if told.code is None:
            self._unread.pop(name, None)
            return
        if isinstance(source, FileSource):  # as it should be it never goes stale; gone or spoiled, it is silent
            self._trust.bound_source(source.name, now + stale_after_us(None))
        before = self._unread.get(name)
        self._unread[name] = told
        if before is None or before.code != told.code:
            _log.error("a trust bundle was not read; what was trusted stays until it is stale: %s", told.message)

    def _follow(self) -> None:
        while not self._closing.wait(_LOOK_US / 1e6):
            try:
                self.ask()
            except PdpError as error:  # the clock
                _log.error("trust bundles were not looked at: %s", error)
            except Exception:  # noqa: BLE001  # what is trusted goes stale if this goes on; the thread must not end
                _log.exception("trust bundles were not looked at")


def _of_workload_api(domains: Mapping[str, Domain]) -> list[str]:
    return [name for name, domain in domains.items() if domain.workload_api]
