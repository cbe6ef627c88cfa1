"""What has to be made anew in a process that was forked: locks that another thread may have held, threads, and names."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import ref


class Forked(Protocol):
    def begin_in_child(self) -> None: ...


_living: list[ref[Forked]] = []


def make_anew_in_children(thing: Forked) -> None:
    """Its `begin_in_child` is called in every process forked from now on, before anything else runs there; first that of
    what was made first."""
    _living.append(ref(thing, _living.remove))


def _begin() -> None:
    for each in tuple(_living):
        if (thing := each()) is not None:
            thing.begin_in_child()


os.register_at_fork(after_in_child=_begin)
