"""The store in memory is a store."""

from __future__ import annotations

from pathlib import Path

from pdp.store.grants.memory import MemoryStore
from tests.pdp.store.grants_conformance import GrantsConformance


class TestMemory(GrantsConformance):
    def make(self, folder: Path) -> MemoryStore:
        return MemoryStore()
