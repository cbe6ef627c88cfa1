"""The three applications of Cedar's OOPSLA 2024 evaluation, made anew from one seeded model for us and for Cedar.

`N` entities of a type, connected with probability 0.05. The rules are the published ones; the published generator of
gdrive grants views to ids that do not exist (`View::"User 3"` for `View::"User user_3"`), so that no grant ever applies.
`gdrive` keeps that, to be comparable; `gdrive-fixed` has the ids right.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from language import EntityData

CONNECTION = 0.05
REQUESTS = 500
POLICIES = Path(__file__).parent / "policies"

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to an entity, in an attribute."""

    type: str
    id: str


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity as the model has it, before it is written for one engine or the other."""

    type: str
    id: str
    attributes: dict[str, Any]
    parents: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    action: str
    user: str
    resource: Key


@dataclass(frozen=True, slots=True)
class Store:
    """One draw of an application: its entities, and requests about them."""

    entities: tuple[Entity, ...]
    asks: tuple[Ask, ...]


@dataclass(frozen=True, slots=True)
class App:
    name: str
    policies: str  # the name of the policy files
    generate: Callable[[random.Random, int], list[Entity]]
    actions: tuple[tuple[str, str], ...]  # with the resource type of each
    groups: tuple[tuple[str, str], ...] = ()  # actions in action groups, for Cedar
    published: dict[int, float] | None = None  # allow rates that others report, by entities of a type

    @property
    def policy_text(self) -> str:
        return (POLICIES / f"{self.policies}.policy").read_text()

    @property
    def cedar_text(self) -> str:
        return (POLICIES / f"{self.policies}.cedar").read_text()

    def store(self, size: int, seed: int) -> Store:
        """The same store for the same seed; requests are drawn uniformly over actions, users and fitting resources."""
        rng = random.Random(f"{self.name} {size} {seed}")
        entities = self.generate(rng, size)
        by_type: dict[str, list[str]] = {}
        for entity in entities:
            by_type.setdefault(entity.type, []).append(entity.id)
        asks = []
        for _ in range(REQUESTS):
            action, type_name = rng.choice(self.actions)
            asks.append(Ask(action, rng.choice(by_type["User"]), (type_name, rng.choice(by_type[type_name]))))
        return Store(tuple(entities), tuple(asks))


# ---- the generators


def _some(rng: random.Random, type_name: str, names: str, count: int) -> list[Key]:
    """Each of the first `count` entities of a type with the probability of a connection."""
    return [(type_name, f"{names}{i}") for i in range(count) if rng.random() < CONNECTION]


def _refs(keys: list[Key]) -> list[Ref]:
    return [Ref(*key) for key in keys]


def gdrive(rng: random.Random, size: int, viewer: str = "", viewers: str = "") -> list[Entity]:
    """`viewer` and `viewers` are what stands before the number in the id of a grant: nothing, as published."""
    entities: list[Entity] = []
    members: list[list[int]] = [[] for _ in range(size)]
    for i in range(size):
        groups = _some(rng, "Group", "group_", size)
        for _, group in groups:
            members[int(group.removeprefix("group_"))].append(i)
        documents = _refs(_some(rng, "Document", "doc_", size))
        folders = _refs(_some(rng, "Folder", "folder_", size))
        views = Ref("View", f"User user_{i}")
        attributes = {"views": views, "owned_documents": documents, "owned_folders": folders}
        entities.append(Entity("User", f"user_{i}", attributes, tuple(groups)))
        entities.append(Entity("View", views.id, {}))
    for i in range(size):
        entities.append(Entity("Group", f"group_{i}", {}))
        entities.append(Entity("View", f"Group group_{i}", {}, tuple(("View", f"User user_{m}") for m in members[i])))

    def granted() -> list[Key]:
        return _some(rng, "View", f"User {viewer}", size) + _some(rng, "View", f"Group {viewers}", size)

    for i in range(size):
        parents = _some(rng, "Folder", "folder_", size) + granted()
        entities.append(Entity("Document", f"doc_{i}", {"public": rng.random() < 0.5}, tuple(parents)))
    for i in range(size):  # in folders of lower numbers only, so that there is no cycle
        entities.append(Entity("Folder", f"folder_{i}", {}, tuple(_some(rng, "Folder", "folder_", i) + granted())))
    return entities


def gdrive_fixed(rng: random.Random, size: int) -> list[Entity]:
    return gdrive(rng, size, "user_", "group_")


_REPO_ROLES = ("readers", "triagers", "writers", "maintainers", "admins")
_ORG_ROLES = ("readers", "writers", "admins")


def github(rng: random.Random, size: int) -> list[Entity]:
    def permitted(type_name: str, name: str, roles: tuple[str, ...]) -> list[Key]:
        return [(type_name, f"{name}{j}_{rng.choice(roles)}") for j in range(size) if rng.random() < CONNECTION]

    entities: list[Entity] = []
    for i in range(size):
        roles = {role: Ref("OrgPermission", f"org_{i}_{role}") for role in _ORG_ROLES}
        entities.append(Entity("Organization", f"org_{i}", roles, tuple(permitted("OrgPermission", "org_", _ORG_ROLES))))
        entities += [Entity(r.type, r.id, {}) for r in roles.values()]
    for i in range(size):
        roles = {role: Ref("RepoPermission", f"repo_{i}_{role}") for role in _REPO_ROLES}
        owner = Ref("Organization", f"org_{rng.randrange(size)}")
        entities.append(Entity("Repository", f"repo_{i}", {"owner": owner, **roles}))
        entities += [Entity(r.type, r.id, {}) for r in roles.values()]
    for i in range(size):
        parents = _some(rng, "Team", "team_", i) + permitted("RepoPermission", "repo_", _REPO_ROLES)
        entities.append(Entity("Team", f"team_{i}", {}, tuple(parents)))
    for i in range(size):
        parents = permitted("RepoPermission", "repo_", _REPO_ROLES) + _some(rng, "Team", "team_", size)
        parents += _some(rng, "Organization", "org_", size) + permitted("OrgPermission", "org_", _ORG_ROLES)
        entities.append(Entity("User", f"user_{i}", {}, tuple(parents)))
    return entities


def tinytodo(rng: random.Random, size: int) -> list[Entity]:
    app = ("Application", "TinyTodo")
    entities = [Entity(*app, {})]
    for i in range(size):
        entities.append(Entity("User", f"user_{i}", {}, (*_some(rng, "Team", "team_", size), app)))
    for i in range(size):
        entities.append(Entity("Team", f"team_{i}", {}, (*_some(rng, "Team", "team_", i), app)))
    for i in range(size):
        attributes = {
            "name": f"list_{i}",
            "owner": Ref("User", f"user_{rng.randrange(size)}"),
            "readers": Ref("Team", f"team_{rng.randrange(size)}"),
            "editors": Ref("Team", f"team_{rng.randrange(size)}"),
            "tasks": [_task(rng) for _ in range(rng.randint(0, 50))],
        }
        entities.append(Entity("List", f"list_{i}", attributes, (app,)))
    return entities


def _task(rng: random.Random) -> dict[str, Any]:
    number = rng.randint(1, 1_000_000)
    return {"name": f"task_{number}", "id": rng.randint(1, 1_000_000), "state": rng.choice(("Checked", "Unchecked"))}


_ON_LISTS = ("GetList", "UpdateList", "DeleteList", "CreateTask", "UpdateTask", "DeleteTask", "EditShares")
_LADDER = ("read", "triage", "write", "maintain", "admin")
_GDRIVE = (("createDocument", "Folder"), *((a, "Document") for a in ("changeOwner", "share", "write", "read")))

APPS = (
    App("gdrive", "gdrive", gdrive, _GDRIVE, published={5: 0.15, 50: 0.29}),
    App("gdrive-fixed", "gdrive", gdrive_fixed, _GDRIVE),
    App(
        "github",
        "github",
        github,
        tuple((a, "Repository") for a in _LADDER),
        tuple(pairwise(_LADDER)),
        {5: 0.075, 50: 0.29},
    ),
    App(
        "tinytodo",
        "tinytodo",
        tinytodo,
        (*((a, "Application") for a in ("CreateList", "GetLists")), *((a, "List") for a in _ON_LISTS)),
        published={5: 0.40, 50: 0.335},
    ),
)


# ---- the same store, written for each engine


def our_entities(store: Store) -> list[EntityData]:
    return [
        EntityData(e.type, e.id, {name: _ours(v) for name, v in e.attributes.items()}, e.parents) for e in store.entities
    ]


def _ours(value: Any) -> Any:
    if isinstance(value, Ref):
        return (value.type, value.id)
    return [_ours(v) for v in value] if isinstance(value, list) else value


def cedar_entities(app: App, store: Store) -> str:
    entities = [
        {
            "uid": {"type": e.type, "id": e.id},
            "attrs": {name: _cedars(v) for name, v in e.attributes.items()},
            "parents": [{"type": t, "id": i} for t, i in e.parents],
        }
        for e in store.entities
    ]
    above = dict(app.groups)
    for action, _ in app.actions:
        parents = [{"type": "Action", "id": above[action]}] if action in above else []
        entities.append({"uid": {"type": "Action", "id": action}, "attrs": {}, "parents": parents})
    return json.dumps(entities)


def _cedars(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"__entity": {"type": value.type, "id": value.id}}
    return [_cedars(v) for v in value] if isinstance(value, list) else value


def cedar_request(ask: Ask) -> dict[str, Any]:
    return {
        "principal": {"type": "User", "id": ask.user},
        "action": {"type": "Action", "id": ask.action},
        "resource": {"type": ask.resource[0], "id": ask.resource[1]},
    }
