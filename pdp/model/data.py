"""Entities and rows as programs tell them to `engine.directory`."""

from __future__ import annotations

from language import EntityData as Entity
from language import RowData as Row

__all__ = ["Entity", "Row"]
