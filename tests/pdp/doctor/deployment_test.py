"""The doctor about a deployment: a good one has no finding, and each row spoils one thing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pdp.doctor.deployment import check_clock, check_deployment
from pdp.doctor.finding import RULES
from pdp.identity.dev.tokens import public_jwk
from pdp.store.dev_domain import new_key, private_pem
from tests.pdp.server.world import DOMAIN, GATE, SERVER, Identities, _pem, now_us, policies


@pytest.fixture
def good(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    identities = Identities(tmp_path)
    identities.write(SERVER, "own")
    policies(tmp_path)
    for name in ("record", "keys", "store", "witness"):
        (tmp_path / name).mkdir(mode=0o700)
    jwk = public_jwk(ec.generate_private_key(ec.SECP256R1()), kid="k1", alg="ES256", use="sig")
    (tmp_path / "people.json").write_text(json.dumps({"keys": [jwk]}))
    document = {
        "listen": [{"address": "127.0.0.1:7070", "trust_domain": DOMAIN}, {"address": f"unix:{tmp_path}/store/pdp.sock"}],
        "tls": {"certificate": "own/svid.pem", "key": "own/svid.key"},
        "trust": {DOMAIN: {"file": f"{DOMAIN}.json"}},
        "peps": {GATE: {"domains": [DOMAIN]}},
        "people": {"https://login.test": {"audience": "pdp", "keys": "people.json"}},
        "policies": {"path": "policies"},
        "record": {"directory": "record", "keys": "keys"},
        "store": {"path": "store/grants.sqlite", "witness": "witness/grants"},
    }
    path = tmp_path / "pdp.json"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    readable = (tmp_path / "people.json", tmp_path / "policies" / "app.policy", tmp_path / f"{DOMAIN}.json")
    for each in (tmp_path / "policies", *readable):
        each.chmod(0o755 if each.is_dir() else 0o644)
    return path


def found(file: Path, days: float = 0) -> list[str]:
    moment = now_us() + int(days * 86_400e6)
    return [f.code for f in check_deployment(file, {}, now_us=moment) if f.place != "clock"]


def test_a_good_one_has_no_finding(good: Path) -> None:
    assert found(good) == []


def edit(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def spoil(file: Path) -> None:
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))

    return spoil


def take_name(file: Path) -> None:
    """As SPIRE issues it, unless the registration entry says otherwise (finding S13)."""
    identities, own = Identities(file.parent / "again"), file.parent / "own"
    (file.parent / f"{DOMAIN}.json").write_bytes(identities.bundle.read_bytes())
    key = new_key()
    chain = identities.domain.certificates(SERVER, key.public_key(), now_us(), 3_600_000_000)
    (own / "svid.pem").write_bytes(b"".join(map(_pem, chain)))
    (own / "svid.key").write_bytes(private_pem(key))


ROWS: list[tuple[str, Callable[[Path], object]]] = [
    ("config_refused", edit(lambda d: d.update(worker=1))),
    ("config_refused", lambda f: f.write_text("{")),
    ("config_writable", lambda f: f.chmod(0o666)),
    ("policy_refused", lambda f: (f.parent / "policies" / "app.policy").write_text("language 1\nallow {")),
    ("policy_writable", lambda f: (f.parent / "policies" / "app.policy").chmod(0o666)),
    ("policy_writable", lambda f: (f.parent / "policies").chmod(0o777)),
    ("key_readable", lambda f: (f.parent / "own" / "svid.key").chmod(0o644)),
    ("certificate_refused", lambda f: (f.parent / "own" / "svid.key").unlink()),
    ("certificate_refused", lambda f: (f.parent / "own" / "svid.pem").write_text("x")),
    ("certificate_without_name", take_name),
    ("certificate_unseen", edit(lambda d: d.update(tls={"workload_api": "unix:///run/agent.sock"}))),
    ("trust_writable", lambda f: (f.parent / f"{DOMAIN}.json").chmod(0o646)),
    ("people_writable", lambda f: (f.parent / "people.json").chmod(0o666)),
    ("people_unreadable", lambda f: (f.parent / "people.json").write_text("{}")),
    ("people_unreadable", lambda f: (f.parent / "people.json").unlink()),
    ("folder_open", lambda f: (f.parent / "keys").chmod(0o750)),
    ("folder_open", lambda f: (f.parent / "store" / "keys").mkdir(mode=0o755)),
    ("folder_open", edit(lambda d: d["store"].update(keys="policies"))),  # type: ignore[index]
    ("record_keys_read_only", lambda f: (f.parent / "keys").chmod(0o500)),
    ("folder_unusable", lambda f: (f.parent / "witness").rmdir()),
    # As a folder that we may not search, which there is none of for root: asking about it fails.
    ("folder_unusable", edit(lambda d: d["record"].update(directory="x" * 300))),  # type: ignore[index]
    ("record_missing", edit(lambda d: d.pop("record"))),
    ("store_missing", edit(lambda d: d.pop("store"))),
    ("witness_beside", edit(lambda d: d["store"].pop("witness"))),  # type: ignore[index]
    ("witness_beside", edit(lambda d: d["store"].update(witness="grants.witness"))),  # type: ignore[attr-defined]
    ("witness_beside", edit(lambda d: d["store"].update(witness="store/witness"))),  # type: ignore[index]
    ("no_gates", edit(lambda d: d.pop("peps"))),
]


@pytest.mark.parametrize(("code", "spoil"), ROWS)
def test_one_thing_wrong_is_one_finding(good: Path, code: str, spoil: Callable[[Path], object]) -> None:
    spoil(good)
    assert found(good) == [code]


def test_a_name_is_asked_for_only_where_somebody_can_call(good: Path) -> None:
    """Finding S13: on a Unix socket nobody looks at a certificate."""
    take_name(good)
    edit(lambda d: d.update(listen=[{"address": f"unix:{good.parent}/store/pdp.sock"}]))(good)
    assert found(good) == []


def test_ends_that_are_near(good: Path) -> None:
    assert found(good, days=0.95 / 24) == ["certificate_ends_soon"]
    assert found(good, days=364) == ["trust_ends_soon", "certificate_refused"]


def test_an_empty_bundle_and_one_that_is_gone(good: Path) -> None:
    bundle = good.parent / f"{DOMAIN}.json"
    bundle.write_text('{"keys": []}')
    assert found(good) == ["trust_empty", "certificate_refused"]
    bundle.unlink()
    assert found(good) == ["trust_unreadable", "certificate_refused"]


def test_development_and_the_clock(good: Path) -> None:
    assert "development_on" in [f.code for f in check_deployment(None, {}, good.parent / "policies")]
    assert [f.code for f in check_clock(0)] == ["clock_wrong"]
    assert {f.code for f in check_clock(now_us())} <= {"clock_unsynchronised"}


def test_every_code_about_a_deployment_is_found() -> None:
    told = {code for code, _ in ROWS} | {"certificate_ends_soon", "trust_ends_soon", "trust_empty", "trust_unreadable"}
    told |= {"development_on", "clock_wrong", "clock_unsynchronised"}
    assert told == {code for code in RULES if not code.startswith("envoy_")}
