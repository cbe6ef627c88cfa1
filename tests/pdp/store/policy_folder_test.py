"""Policy sets on disk: every file that is there counts, and what programs changed meanwhile stays."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import pdp
from pdp.store import policy_folder
from pdp.store.files import find_files, folders_behind, is_still

HEAD = (
    "language 1\npackage a\nentity User { level: Int }\nentity Case\n"
    "relation helper(User, Case) expiring\naction read on Case\n"
)
ALLOW = HEAD + "allow all { for User do read on Case }\n"
DENY = "language 1\npackage d\ndeny no { do read on Case }\n"
ROW = {"relation": "helper", "of": [["User", "ada"], ["Case", "7"]]}


def user(name: str, level: int = 1) -> dict[str, Any]:
    return {"type": "User", "id": name, "attributes": {"level": level}}


def folder(base: Path, *records: Any, policy: str = ALLOW) -> Path:
    (base / "data").mkdir(exist_ok=True)
    (base / "a.policy").write_text(policy)
    (base / "data" / "d.json").write_text(json.dumps(records))
    return base


def allowed(engine: pdp.Engine) -> bool:
    return engine.check(action="read", resource=("Case", "7"), user=("User", "ada")).allowed


def refused(path: Path, words: str) -> None:
    with pytest.raises(pdp.PdpError, match=words) as caught:
        pdp.Engine.load(path)
    assert caught.value.code in ("invalid_file", "invalid_data")


# ---- which files


def test_rules_behind_a_link_to_a_folder_count(tmp_path: Path) -> None:
    """As a volume of Kubernetes is laid out: `..data` is a link to a state, and the names are links into it."""
    state = tmp_path / "set" / "..v1"
    (state / "team").mkdir(parents=True)
    (state / "a.policy").write_text(ALLOW)
    (state / "team" / "d.policy").write_text(DENY)
    (tmp_path / "set" / "..data").symlink_to("..v1")
    for name in ("a.policy", "team"):
        (tmp_path / "set" / name).symlink_to(f"..data/{name}")
    assert not allowed(pdp.Engine.load(tmp_path / "set"))
    assert {f.resolve() for f in folders_behind(tmp_path / "set")} == {tmp_path / "set", state, state / "team"}


def test_a_link_that_leads_back_or_nowhere_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "team").symlink_to(path)
    refused(path, "a link to a folder that it is in")
    (path / "team").unlink()
    (path / "team").symlink_to(path / "missing")
    refused(path, "a link to what is not there")


@pytest.mark.parametrize("name", ["d.Policy", "d.POLICY", "d.policy ", "team/d.pOlicy", "d_Test.Policy"])
def test_a_file_with_nearly_the_name_of_a_policy_is_refused(tmp_path: Path, name: str) -> None:
    """Finding D13: `deny.Policy` was skipped in silence beside good files, and its deny with it."""
    path = folder(tmp_path)
    (path / "team").mkdir()
    (path / name).write_text(DENY)
    refused(path, "is not read: its name must end in `.policy`, in these very letters")


@pytest.mark.parametrize("name", ["data/more.JSON", "data/more.Yaml", "Data/more.json", "data/more/d.json", "DATA/d.JSON"])
def test_data_with_nearly_the_name_of_data_are_refused(tmp_path: Path, name: str) -> None:
    """A brother of D13: rows and entities that a deny needs were skipped in silence."""
    path = folder(tmp_path)
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text("[]")
    whys = {"data/more/d.json": "data are read from the folder `data` itself, not from folders below it"}
    whys["Data/more.json"] = "the folder of data has the name `data`, in these very letters"
    refused(path, f"is not read: {whys.get(name, '(its name must end in|the folder of data has the name)')}")
    if name.startswith("data/"):
        refused(path / "a.policy", "is not read")


def test_a_link_with_another_name_to_a_policy_or_to_data_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path)
    other = tmp_path.parent / f"{tmp_path.name}-other"
    other.mkdir()
    (other / "d.policy").write_text(DENY)
    (other / "d.json").write_text("[]")
    for link, target in ((path / "deny", other / "d.policy"), (path / "data" / "rows", other / "d.json")):
        link.symlink_to(target)
        refused(path, "is not read: its name must end in")
        link.unlink()
    (path / "deny.policy").symlink_to(other / "d.policy")
    assert not allowed(pdp.Engine.load(path))


@pytest.mark.parametrize("name", ["d.policy", "data/more.json"])
def test_what_is_named_as_a_file_and_is_none_is_refused(tmp_path: Path, name: str) -> None:
    """It would have been read for ever: nobody writes into the pipe."""
    path = folder(tmp_path)
    os.mkfifo(path / name)
    refused(path, "is not a file")


def test_other_files_may_lie_beside(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "notes").mkdir()
    for name in ("README.md", "request.json", "a.policy~", ".d.Policy", "notes/x.json", "data/README.md", "data/.x.JSON"):
        (path / name).write_text("nothing to read")
    assert find_files(path, with_tests=True).data == (path / "data" / "d.json",)
    assert find_files(path, with_tests=True).policies == (path / "a.policy",)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, fresh = folder(tmp_path), os.scandir
    (path / "team").mkdir()

    def scandir(at: Any) -> Any:
        if str(at).endswith("team"):
            raise PermissionError(13, "Permission denied", str(at))
        return fresh(at)

    monkeypatch.setattr(os, "scandir", scandir)
    refused(path, "team` cannot be read: Permission denied")


def test_a_folder_that_was_swapped_is_another(tmp_path: Path) -> None:
    path = folder(tmp_path)
    before = folders_behind(path)
    assert is_still(before)
    (path / "data").rename(path / "old")
    assert not is_still(before)
    (path / "data").mkdir()
    assert not is_still(before)


@pytest.mark.parametrize("twice", [[ROW, ROW], [ROW, {**ROW, "until": "2026-06-01T00:00:00Z"}]])
def test_a_row_stands_once(tmp_path: Path, twice: list[Any]) -> None:
    refused(folder(tmp_path, *twice), r"d\.json:1: this row of helper stands already at")
    folder(tmp_path, twice[0])
    (tmp_path / "data" / "e.json").write_text(json.dumps(twice[1:]))
    refused(tmp_path, r"e\.json:1: this row of helper stands already at .*d\.json")


# ---- reload


def test_what_programs_changed_stays_where_the_files_say_as_before(tmp_path: Path) -> None:
    path = folder(tmp_path, user("ada"), user("bob"), user("eve"), ROW)
    engine = pdp.Engine.load(path)
    engine.directory.upsert(user("ada", 7), user("new"))
    engine.directory.remove(("User", "bob"))
    engine.directory.remove(ROW)
    folder(path, user("ada"), user("bob"), user("eve", 3), ROW)
    assert engine.reload()
    levels = {e.id: e.attributes["level"] for e in engine._data.entities()}
    assert (levels, list(engine._data.told_rows())) == ({"ada": 7, "new": 1, "eve": 3}, [])
    folder(path, user("ada", 8))  # says otherwise, and says no more of eve
    assert engine.reload()
    assert {e.id: e.attributes["level"] for e in engine._data.entities()} == {"ada": 8, "new": 1}


def test_the_same_with_another_vocabulary(tmp_path: Path) -> None:
    path = folder(tmp_path, user("ada"), user("bob"), user("eve"))
    engine = pdp.Engine.load(path)
    engine.directory.upsert(user("ada", 7))
    engine.directory.remove(("User", "bob"))
    folder(path, user("ada"), user("bob"), user("eve", 3), policy=ALLOW + "entity More\n")
    assert engine.reload()
    assert {e.id: e.attributes["level"] for e in engine._data.entities()} == {"ada": 7, "eve": 3}


def test_policies_and_data_of_one_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else is written while it is read: what comes into force is what stood there together."""
    old = HEAD + "allow grown { for User do read on Case when user.level > 5 }\n"
    new = HEAD + "allow young { for User do read on Case when user.level < 5 }\n"
    path = folder(tmp_path, user("ada", 1), policy=old)
    engine = pdp.Engine.load(path)
    read, written = policy_folder.read_sources, []

    def read_and_write(paths: Any) -> Any:
        found = read(paths)
        if not written:
            written.append(folder(path, user("ada", 1), policy=old))  # back again, after its policies were read
        return found

    folder(path, user("ada", 9), policy=new)
    monkeypatch.setattr(policy_folder, "read_sources", read_and_write)
    assert not engine.reload()
    assert (written, allowed(engine)) == ([path], False)


def test_what_changes_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read, count = folder(tmp_path), policy_folder.read_content, iter(range(100))

    def read_and_write(file: Path) -> bytes:
        found = read(file)
        file.write_text(json.dumps([user(f"u{next(count)}")]))
        return found

    monkeypatch.setattr(policy_folder, "read_content", read_and_write)
    refused(path, "changes while it is read")


def test_the_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    found = find_files(folder(tmp_path), with_tests=False)
    before = found.digest()
    (tmp_path / "a.policy").write_text(HEAD)
    assert found.digest() != before


def test_data_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    one = pdp.Engine.load(folder(tmp_path))
    other = pdp.Engine.load(folder(tmp_path, policy=ALLOW.replace("level: Int", "level: String")))
    with pytest.raises(pdp.PdpError, match="another vocabulary"):
        pdp.Engine(one.bundle, other._data)
