"""What a cache would say about a request, for people: hit or miss, the fields of the key, what bounds the life."""

from __future__ import annotations

from dataclasses import dataclass

from language import FOREVER, Read, Refusal, format_instant, shorten
from pdp.engine.cache import KEY_WEIGHT_MAX, weight
from pdp.engine.decide import bind, understand
from pdp.engine.snapshot import Snapshot
from pdp.model.request import Request, credential_of


@dataclass(frozen=True, slots=True)
class KeyField:
    """A part of a key: what is read, and the value or version by which it is known."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class CacheReport:
    state: str  # hit, miss, off, or refused: then no cache is asked
    why: str
    fields: tuple[KeyField, ...] = ()
    decided_at_us: int | None = None
    until_us: int | None = None  # of the entry; the caller's own end not counted
    bounded_by: str | None = None

    @property
    def hit(self) -> bool:
        return self.state == "hit"

    def __str__(self) -> str:
        lines = [f"{self.state}: {self.why}", *[f"  {f.name} = {f.value}" for f in self.fields]]
        return "\n".join(lines)


def report_cache(snapshot: Snapshot, request: Request, now: int) -> CacheReport:
    """Looks without touching: no entry is made and none is marked as asked again."""
    try:
        question = understand(snapshot, request.data(), credential_of(request.workload))
        bound = bind(snapshot, question, now)
    except Refusal as refusal:
        return CacheReport("refused", f"denied before policy: {refusal.code}")
    names = ("action", "resource type", *[_name(read) for read in bound.leaf.reads])
    fields = tuple(KeyField(n, _shown(part)) for n, part in zip(names, bound.key, strict=True))
    cache = snapshot.policy.cache
    if cache is None:
        return CacheReport("off", "this engine remembers nothing", fields)
    if weight(bound.key) > KEY_WEIGHT_MAX:
        return CacheReport("miss", "the request tells too much to be remembered", fields)
    entry = cache.peek(bound.key)
    if entry is None:
        return CacheReport("miss", "nothing is remembered under this key", fields)
    settled = snapshot.policy.settle(entry.result, question.ends, question.ended_by)
    bounds = (entry.decided_at, entry.until, settled.bounded_by)
    if now < entry.decided_at:
        return CacheReport(
            "miss", f"what is remembered was decided later, at {format_instant(entry.decided_at)}", fields, *bounds
        )
    if now >= entry.until:
        return CacheReport("miss", f"what is remembered held until {format_instant(entry.until)}", fields, *bounds)
    until = "until what it was made from changes" if entry.until == FOREVER else f"until {format_instant(entry.until)}"
    return CacheReport("hit", f"holds {until}", fields, *bounds)


def _name(read: Read) -> str:
    if read.root == "records":
        return f"any {read.part}"
    return f"rows of {read.part}" if read.root == "rows" else str(read)


def _shown(part: object) -> str:
    match part:
        case None:
            return "absent"
        case ():
            return "not there"
        case bool():
            return str(part).lower()
        case frozenset():
            return "{" + ", ".join(sorted(map(_shown, part))) + "}"
        case tuple():
            return "(" + ", ".join(map(_shown, part)) + ")"
        case _:
            return shorten(str(part))
