"""The record of every decision and of every step of a grant's life: what an entry is, and how a chain of them is checked.

Pure: values in, lines out. Files, threads and the queue are in `pdp.store`; `checkpoint` and `verify`, which need the
`cryptography` package, are imported by those who use them.
"""

from __future__ import annotations

from pdp.record.entry import BINDING_REASONS, Circumstances, Decided, Entry, Kind, Notice, Step
from pdp.record.masking import Masking
from pdp.record.recorder import Recorder
from pdp.record.reuse import ReuseCounts, SuspendAfter, is_due

__all__ = [
    "BINDING_REASONS",
    "Circumstances",
    "Decided",
    "Entry",
    "Kind",
    "Masking",
    "Notice",
    "Recorder",
    "ReuseCounts",
    "Step",
    "SuspendAfter",
    "is_due",
]
