"""Issuer keys: which signs, which verifies, through every moment of a rotation; and on disk, for the owner's eyes only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pdp.errors import PdpError
from pdp.grants.issuer_keys import HANDLE_LIFE_US_MAX, LEAD_US, OVERLAP_US, IssuerKeys, KeyState, first_keys, issuer_key
from pdp.store import issuer_keys as store
from pdp.store.issuer_keys import FILE, open_issuer_keys, read_issuer_keys, rotate, withdraw

SECOND = 1_000_000
NOW = 1_767_258_000 * SECOND


def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def states(keys: IssuerKeys, now: int) -> list[str]:
    return [keys.state(k, now).value for k in keys.keys]


def published(keys: IssuerKeys, now: int) -> list[str]:
    return [k["kid"] for k in json.loads(keys.published(now))["keys"]]


def test_a_rotation_from_end_to_end() -> None:
    one = first_keys(key(), NOW)
    two = one.rotated(key(), NOW + SECOND)
    old, new = two.keys
    begins = NOW + SECOND + LEAD_US
    assert new.signs_from_us == begins
    for at, expected, signs in [
        (NOW + SECOND, ["signing", "next"], old),
        (begins - 1, ["signing", "next"], old),
        (begins, ["retired", "signing"], new),
        (begins + OVERLAP_US - 1, ["retired", "signing"], new),
        (begins + OVERLAP_US, ["gone", "signing"], new),
    ]:
        assert states(two, at) == expected
        assert two.signing(at) is signs
        assert published(two, at) == [k.id for k, s in zip(two.keys, expected, strict=True) if s != "gone"]
        for k, s in zip(two.keys, expected, strict=True):
            assert two.verifying(k.id, at) is (None if s == "gone" else k.public)
    assert two.verifying("other", NOW) is None
    assert OVERLAP_US >= HANDLE_LIFE_US_MAX
    assert next(k.id for k in two.rotated(key(), begins + OVERLAP_US).keys) == new.id  # what is gone is forgotten


def test_the_document_has_nothing_private() -> None:
    document = json.loads(first_keys(key(), NOW).published(NOW))
    assert [set(k) for k in document["keys"]] == [{"kty", "crv", "x", "y", "use", "alg", "kid"}]


def test_one_rotation_at_a_time() -> None:
    two = first_keys(key(), NOW).rotated(key(), NOW)
    with pytest.raises(PdpError) as caught:
        two.rotated(key(), NOW)
    assert caught.value.code == "issuer_keys_rotating"


def test_a_withdrawn_key_verifies_nothing_and_another_signs_at_once() -> None:
    two = first_keys(key(), NOW).rotated(key(), NOW)
    old, new = two.keys
    now = NOW + SECOND
    left = two.without(old.id, key, now)
    assert states(left, now) == ["withdrawn", "signing", "next"]
    assert left.verifying(old.id, now) is None
    assert left.signing(now).id not in (old.id, new.id)
    assert old.id not in published(left, now)
    never = two.without(new.id, key, now)  # it had signed nothing
    assert states(never, NOW + 2 * LEAD_US) == ["signing"]
    later = NOW + LEAD_US
    retired = two.without(old.id, key, later)
    assert states(retired, later) == ["withdrawn", "signing"]
    assert states(retired.rotated(key(), later + OVERLAP_US + SECOND), later + OVERLAP_US + SECOND) == ["signing", "next"]


def test_before_the_first_key_nothing_signs() -> None:
    with pytest.raises(PdpError) as caught:
        first_keys(key(), NOW).signing(NOW - 1)
    assert caught.value.code == "issuer_keys_unusable"


@pytest.mark.parametrize(
    "make",
    [
        lambda: IssuerKeys(()),
        lambda: IssuerKeys(first_keys(key(), NOW).keys, overlap_us=HANDLE_LIFE_US_MAX - 1),
        lambda: IssuerKeys((issuer_key(key(), NOW, NOW), issuer_key(key(), NOW, NOW))),
        lambda: (lambda k: IssuerKeys((issuer_key(k, NOW, NOW), issuer_key(k, NOW, NOW + 1))))(key()),
        lambda: issuer_key(ec.generate_private_key(ec.SECP384R1()), NOW, NOW),
        lambda: issuer_key(key(), NOW, NOW - 1),
        lambda: first_keys(key(), NOW).without("other", key, NOW),
    ],
)
def test_what_is_no_set_of_keys(make: Any) -> None:
    with pytest.raises(PdpError) as caught:
        make()
    assert caught.value.code == "invalid_argument"


# ---- on disk


def test_opened_twice_is_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    one = open_issuer_keys(folder, NOW)
    assert [k.id for k in open_issuer_keys(folder, NOW + SECOND).keys] == [k.id for k in one.keys]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(p.stat().st_mode & 0o077 == 0 for p in folder.iterdir())


def test_rotation_and_withdrawal_stay(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    old = open_issuer_keys(folder, NOW).keys[0]
    rotated = rotate(folder, NOW)
    assert [k.id for k in read_issuer_keys(folder).keys] == [k.id for k in rotated.keys]
    withdraw(folder, old.id, NOW + 1)
    found = read_issuer_keys(folder)
    assert found.state(found.keys[0], NOW + 1) is KeyState.WITHDRAWN
    assert found.signing(NOW + 1).id != old.id


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o704, 0o722, 0o755])
def test_a_looser_folder_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "keys"
    open_issuer_keys(folder, NOW)
    folder.chmod(mode)
    for call in (lambda: open_issuer_keys(folder, NOW), lambda: read_issuer_keys(folder), lambda: rotate(folder, NOW)):
        with pytest.raises(PdpError) as caught:
            call()
        assert caught.value.code == "invalid_file"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_looser_file_is_refused(tmp_path: Path, mode: int) -> None:
    open_issuer_keys(tmp_path / "keys", NOW)
    (tmp_path / "keys" / FILE).chmod(mode)
    with pytest.raises(PdpError) as caught:
        open_issuer_keys(tmp_path / "keys", NOW)
    assert caught.value.code == "invalid_file"


def edited(folder: Path, **members: Any) -> str:
    found = json.loads((folder / FILE).read_bytes())
    found["keys"][0].update(members)
    return json.dumps(found)


BROKEN: dict[str, Any] = {
    "empty": lambda f: "",
    "half": lambda f: (f / FILE).read_text()[:-20],
    "no keys": lambda f: '{"version":1,"keys":[]}',
    "other version": lambda f: (f / FILE).read_text().replace('"version": 1', '"version": 2'),
    "id of another": lambda f: edited(f, id="x"),
    "no key": lambda f: edited(f, pem="-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
    "not text": lambda f: edited(f, pem=1).replace('"pem": 1', '"pem": "é"'),
    "time as text": lambda f: edited(f, published_us="0"),
    "member of the future": lambda f: edited(f, more=1),
    "too large": lambda f: " " * 70_000,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "keys"
    open_issuer_keys(folder, NOW)
    secret = json.loads((folder / FILE).read_bytes())["keys"][0]["pem"].split("\n")[1]
    (folder / FILE).write_text(BROKEN[name](folder), "utf-8")
    before = (folder / FILE).read_bytes()
    with pytest.raises(PdpError) as caught:
        rotate(folder, NOW)
    assert caught.value.code == "invalid_file"
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None
    assert (folder / FILE).read_bytes() == before


def test_a_crash_while_writing_leaves_the_keys_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "keys"
    before = open_issuer_keys(folder, NOW)

    def crash(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", crash)
        with pytest.raises(PdpError):
            rotate(folder, NOW)
    assert [k.id for k in read_issuer_keys(folder).keys] == [k.id for k in before.keys]
    assert sorted(p.name for p in folder.iterdir()) == [FILE, store.LOCK]


def test_processes_that_open_at_once_agree(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from pdp.store.issuer_keys import open_issuer_keys; "
        f"print(open_issuer_keys(pathlib.Path(sys.argv[1]), {NOW}).keys[0].id)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "keys")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {p.communicate(timeout=60)[0] for p in running}
    assert len(found) == 1
    assert found.pop().strip()


def test_no_repr_shows_a_key(tmp_path: Path) -> None:
    keys = open_issuer_keys(tmp_path / "keys", NOW)
    number = keys.keys[0].private.private_numbers().private_value
    for shown in (repr(keys), repr(keys.keys[0]), str(vars(keys))):
        assert str(number) not in shown
        assert f"{number:x}" not in shown
