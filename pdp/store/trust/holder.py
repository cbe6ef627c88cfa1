"""The current snapshot of trust, and how a source puts a new one into its place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from pdp.errors import PdpError
from pdp.identity import Refused, TrustBundle, TrustStore, poll_after_us

_RETRY_US = 5_000_000


class Source(Protocol):
    """Something that can be asked for the bundles of the domains that it is configured for."""

    @property
    def name(self) -> str: ...

    def read(self, trust: TrustStore, now: int) -> tuple[TrustBundle, ...]: ...


class Trust:
    """Holds one `TrustStore`. Readers take `current` once and keep it; writers go one after the other."""

    def __init__(self, store: TrustStore | None = None) -> None:
        self._current = TrustStore() if store is None else store
        self._writing = threading.Lock()

    @property
    def current(self) -> TrustStore:
        return self._current

    def put(self, bundles: Iterable[TrustBundle], *, force: bool = False) -> None:
        """All of them or, when one is refused, none."""

        def change(store: TrustStore) -> TrustStore:
            for bundle in bundles:
                store = store.with_bundle(bundle, force=force)
            return store

        self._swap(change)

    def replace_source(self, source: str, bundles: Iterable[TrustBundle]) -> None:
        """The whole state of a source: what it no longer names is withdrawn (B-9)."""
        told = tuple(bundles)

        def change(store: TrustStore) -> TrustStore:
            for domain, bundle in store.bundles.items():
                if bundle.source == source and domain not in {b.trust_domain for b in told}:
                    store = store.without(domain)
            for bundle in told:
                store = store.with_bundle(bundle)
            return store

        self._swap(change)

    def exchange(self, withdraw: Iterable[str], bundles: Iterable[TrustBundle]) -> None:
        """An operator's other configuration, in one step: nothing of the domains withdrawn is trusted, and the bundles stand
        where they do, whatever source the domains had before."""
        gone, told = tuple(withdraw), tuple(bundles)

        def change(store: TrustStore) -> TrustStore:
            for domain in (*gone, *(bundle.trust_domain for bundle in told)):
                store = store.without(domain)
            for bundle in told:
                store = store.with_bundle(bundle)
            return store

        self._swap(change)

    def bound_source(self, source: str, fresh_until_us: int) -> None:
        """The source fell silent: what it said may be relied on until then, and no longer than before."""

        def change(store: TrustStore) -> TrustStore:
            for domain, bundle in store.bundles.items():
                if bundle.source == source:
                    store = store.fresh_until(domain, min(bundle.fresh_until_us, fresh_until_us))
            return store

        self._swap(change)

    def _swap(self, change: Callable[[TrustStore], TrustStore]) -> None:
        with self._writing:
            before = self._current
            after = change(before)
            if after.epoch > before.epoch:  # one change, one step, however many bundles it was (B-10)
                after = TrustStore(after.bundles, before.epoch + 1)
            self._current = after


@dataclass(frozen=True, slots=True)
class Refreshed:
    """How asking a source ended: when to ask it again, and what was wrong."""

    again_us: int
    code: str | None = None
    message: str = ""


def refresh(source: Source, trust: Trust, now: int) -> Refreshed:
    """Asks a source and takes what it says. Where that is refused, the bundles before it stay until they are stale."""
    try:
        bundles = source.read(trust.current, now)
        trust.put(bundles)
    except (Refused, PdpError) as problem:
        return Refreshed(now + _RETRY_US, problem.code, str(problem))
    except Exception as problem:  # noqa: BLE001  # a fault of ours: the other sources are asked all the same
        return Refreshed(now + _RETRY_US, "internal", repr(problem))
    return Refreshed(now + min((poll_after_us(b) for b in bundles), default=_RETRY_US))
