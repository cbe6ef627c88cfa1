"""A small installation whose decisions are recorded: policies that read everything a rule can, data, keys, a record."""

# ruff: noqa: E501  # policies are read a rule a line
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import pdp
from language import Bundle, Directory, EntityData, Inputs, Refusal, RowData, Source, assemble, compile_policies
from pdp.model.request import moment
from pdp.record import Decided, Entry, Kind, Masking, Notice
from pdp.record.canonical import canonical
from pdp.record.checkpoint import key_id, make_checkpoint, public_bytes
from pdp.record.encode import encode
from pdp.record.line import START, Head, make_line

POLICY = """language 1
entity   Team
entity   User in Team { level: Int, boss: User?, nick: String? }
entity   Doc in Team { owner: User, tenant: String, nets: Set<Cidr>, tags: Map<String, String>, due: Time }
entity   Parcel claimed { weight: Int, note: String }
workload in Team
relation reader(User, Doc) expiring
action   read, write, list on Doc { columns: Set<String>? claimed, token: String? claimed }
action   weigh on Parcel
task night {
  carries  tenant: String, ticket: String?
  opened by spiffe://d/ci
  who      spiffe://d/agents/*
  may      list on Doc
  lasts    at most 1h
}
allow own { for User do read, write on Doc when resource.owner == user }
allow readers { for User do read on Doc when reader(user, resource) }
allow bosses { for User do write on Doc when resource.owner has boss and resource.owner.boss == user and resource.owner.level < 9 }
allow teams { for User in Team "a" do list on Doc in Team "a" }
allow agents { who spiffe://d/agents/* do list on Doc during night proof key when resource.tenant == task.tenant until task.started + 30m }
allow light { for User do weigh on Parcel when resource.weight < 5 trusting resource.weight }
deny late { do write on Doc when now >= resource.due because "it is too late" }
"""
POLICY_ROWS = [
    EntityData("Team", "a", {}, ()),
    EntityData("User", "ada", {"level": 3}, (("Team", "a"),)),
    EntityData("User", "bob", {"level": 1, "boss": ["User", "ada"], "nick": "b"}, ()),
    EntityData("User", "max", {"level": 2**63 - 1, "boss": ["User", "gone"]}, ()),
    EntityData(
        "Doc",
        "d",
        {
            "owner": ["User", "ada"],
            "tenant": "acme",
            "nets": ["10.0.0.0/8"],
            "tags": {"k": "v"},
            "due": "2030-01-01T00:00:00Z",
        },
        (("Team", "a"),),
    ),
    EntityData(
        "Doc", "e", {"owner": ["User", "bob"], "tenant": "other", "nets": [], "tags": {}, "due": "2020-01-01T00:00:00Z"}, ()
    ),
    EntityData(
        "Doc", "f", {"owner": ["User", "bob"], "tenant": "acme", "nets": [], "tags": {}, "due": "2030-01-01T00:00:00Z"}, ()
    ),
]
NOW = moment("2026-01-01T09:00:00Z", "now")
AGENT = "spiffe://d/agents/owl"
TASK = pdp.Task(
    "night", "t-1", {"tenant": "acme"}, "2026-01-01T08:50:00Z", "2026-01-01T09:40:00Z", ["key"], "spiffe://d/ci", AGENT
)
REQUESTS = [
    pdp.Request("read", ("Doc", "d"), user=("User", "ada")),
    pdp.Request("read", ("Doc", "d"), user=("User", "bob")),
    pdp.Request("read", ("Doc", "e"), user=("User", "max"), context={"columns": ["a", "b"], "token": "x"}),
    pdp.Request("write", ("Doc", "f"), user=("User", "ada")),
    pdp.Request("write", ("Doc", "e"), user=("User", "bob")),
    pdp.Request("write", ("Doc", "nowhere"), user=("User", "bob")),
    pdp.Request("list", ("Doc", "d"), user=("User", "ada")),
    pdp.Request("list", ("Doc", "d"), workload=AGENT, task=TASK),
    pdp.Request("list", ("Doc", "e"), workload=pdp.Workload(AGENT, {"kind": "job"}), task=TASK, location={"ip": "10.1.2.3"}),
    pdp.Request("list", ("Doc", "d"), workload="spiffe://d/agents/other", task=TASK),
    pdp.Request("weigh", pdp.Resource("Parcel", "p", {"weight": 3, "note": "n"}), user=("User", "ada")),
    pdp.Request("weigh", pdp.Resource("Parcel", "p", {"weight": 7, "note": "n"}), user=("User", "ada")),
    pdp.Request("read", ("Doc", "d")),
    pdp.Request("shred", ("Doc", "d"), user=("User", "ada")),
    pdp.Request("read", ("Nothing", "d"), user=("User", "ada")),
]
MASKING = Masking(bytes(range(32)))
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
KEYS = {key_id(public_bytes(KEY)): public_bytes(KEY)}


def bundle(policy: str = POLICY) -> Bundle:
    return compile_policies([Source("app.policy", policy)])


class World:
    """An engine with its data, and decisions ready to be recorded."""

    def __init__(self, policy: str = POLICY) -> None:
        self.bundle = bundle(policy)
        self.directory = Directory(self.bundle.vocabulary)
        self.directory.upsert(POLICY_ROWS)
        self.directory.put_rows([RowData("reader", (("User", "bob"), ("Doc", "d")), NOW + 60_000_000)])
        self.engine = pdp.Engine(self.bundle, self.directory)

    def inputs(self, request: pdp.Request, now: int = NOW) -> Inputs | None:
        try:
            return assemble(self.directory.world, request.data(), now, lambda a, t: self.bundle.leaves[a, t].footprint)
        except Refusal:
            return None

    def decided(self, request: pdp.Request, now: int = NOW, **more: Any) -> Decided:
        decision = self.engine.check(request, now=now)
        return Decided(request, decision, now, 1234, self.bundle, self.inputs(request, now), **more)


# ---- a record in memory


def record_lines(
    entries: Iterable[Entry], *, every: int = 4, limit: int = 4, number: int = 1, head: Head = START
) -> list[bytes]:
    """One file of a record, as the writer would make it."""
    made: list[bytes] = []

    def add(kind: Kind, text: str) -> None:
        nonlocal head
        line, head = make_line(head, kind, text)
        made.append(line)

    previous = {"seq": head.seq, "hash": head.hash} if head.seq >= 0 else None
    header = {"record": "r", "number": number, "format": 1, "at_us": NOW, "previous": previous, "checkpoint_entries": limit,
              "key": next(iter(KEYS)), "public": public_bytes(KEY).hex()}  # fmt: skip
    add(Kind.SEGMENT, canonical(header))
    add(Kind.CHECKPOINT, canonical(make_checkpoint("r", head, NOW, KEY)))
    for index, entry in enumerate(entries, 1):
        add(entry.kind, encode(entry, MASKING))
        if index % every == 0:
            add(Kind.CHECKPOINT, canonical(make_checkpoint("r", head, NOW, KEY)))
    return made


def notices(count: int, start: int = 0) -> list[Entry]:
    return [Notice(Kind.DROP, NOW + i, {"count": i}) for i in range(start, start + count)]


def sources(folder: Path) -> Path:
    """The policies on disk, for the command."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "app.policy").write_text(POLICY)
    return folder
