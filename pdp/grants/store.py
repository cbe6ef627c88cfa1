"""What a store of grants promises. Here are its words; `pdp/store/grants/` has stores, and one suite that all must pass.

A store is a map of records, a set of what is spent, and one number that only grows. Each commit takes the next number,
writes it into everything that it wrote, and tells it to readers of the feed in that order.

INVARIANTS that other code relies on:
- A commit is all or nothing, and what was acknowledged survives whatever happens to the process.
- A write names the revision that it read. Another one there, and the whole commit fails: `Conflict`.
- An ended grant and a spent id are never written again, and no use is taken of one: `Absorbed`. A late record of one
  resurrects nothing.
- A key is consumed at most as often as its limit says, whoever asks at the same time: `Spent`.
- A store that is not the one that was last written (a restored backup, a lost tail) has a new incarnation, in which every
  grant of the old one has ended, `superseded`, before anything else is read.
- What cannot be read is not there: `Unavailable`, and whoever asked denies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pdp.grants.grant import Grant, Mark, Tombstone

Record = Grant | Mark | Tombstone


@dataclass(frozen=True, slots=True)
class Put:
    """Writes a grant or a mark. `expected` is the revision that it replaces; 0 says that there is none yet.

    The store fills in `revision`; the one in the record is not looked at.
    """

    record: Grant | Mark
    expected: int


@dataclass(frozen=True, slots=True)
class Bury:
    """Spends an id for ever, whether or not there is a record: a revocation that came before its grant (catalogue 133).

    A grant that is there must have ended; its record may then be forgotten, the id never.
    """

    id: str
    at: int


@dataclass(frozen=True, slots=True)
class Consume:
    """Takes one of `limit` uses of a key. They are of a grant, and are forgotten when it ends: then no more are taken.

    No clock has a say in it, since one that jumps would give back what was taken.
    """

    key: str
    grant: str
    limit: int = 1


@dataclass(frozen=True, slots=True)
class Expect:
    """Writes nothing; the commit fails with `Conflict` unless a record has the revision that was read (0: it is not there).

    So that nothing is given to a workload while somebody freezes it, or below a grant while somebody ends it. An ended grant
    that has this revision is as good as any other here: who asks has read its state.
    """

    key: str | tuple[str, str]  # the id of a grant, or noun and name of a mark
    revision: int


@dataclass(frozen=True, slots=True)
class Unwritten:
    """Writes nothing; the commit fails with `Conflict` when any record was written after a revision. Uses are no records.

    For what takes away everything of a noun: what stands on it now is known only to who has read all of it.
    """

    since: int


Change = Put | Bury | Consume | Expect | Unwritten


@dataclass(frozen=True, slots=True)
class Committed:
    """What was written, as it stands in the store now, with the revision of the commit in it."""

    revision: int
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What the feed has after a revision, each record once, as it is at `revision`.

    `whole` says that this is everything there is: the reader was too far behind, or read another incarnation, and forgets
    what it had.
    """

    incarnation: str
    revision: int
    records: tuple[Record, ...]
    whole: bool = False


class StoreRefusal(Exception):
    """A commit that changed nothing."""

    code = "store_refusal"


class Conflict(StoreRefusal):
    """Somebody wrote in between. Read again, and decide again."""

    code = "conflict"


class Absorbed(StoreRefusal):
    """The grant has ended, or its id is spent."""

    code = "absorbed"


class Spent(StoreRefusal):
    """All uses of a key are consumed."""

    code = "spent"


class Unavailable(StoreRefusal):
    """The store cannot be read or written now."""

    code = "unavailable"


class GrantStore(Protocol):
    """Safe for several threads. No method waits for longer than the store's own bound."""

    @property
    def incarnation(self) -> str:
        """Names this life of the store; 128 random bits, new whenever it is not the one last written."""

    def commit(self, changes: Sequence[Change]) -> Committed:
        """All of the changes or, with an exception, none. No record may stand in them twice."""

    def grant(self, grant_id: str) -> Grant | None:
        """The record as it was last acknowledged. None also where it is forgotten, or was never written."""

    def mark(self, noun: str, name: str) -> Mark | None:
        """The mark, lifted ones too."""

    def changes(self, since: int, incarnation: str) -> Changes:
        """Everything written after a revision of an incarnation, as a reader who missed nothing would hold it now."""

    def confirmed(self) -> None:
        """Returns when the store can be read and is the one that it was; `Unavailable` otherwise.

        Whoever holds a copy may rely on it for its freshness bound after the moment *before* it called this.
        """
