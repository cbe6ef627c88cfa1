"""`pdp dev ca` and `pdp dev svid`, as a user meets them: files, modes, warnings, and SVIDs that verify or must not."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509

from pdp.identity import Origin, Refused, TrustStore, read_jwks, read_pem, split_pem, verify_jwt_svid, verify_x509_svid
from pdp.identity.dev.certificates import MARK

ROOT = Path(__file__).resolve().parents[3]
ID = "spiffe://dev.test/billing/api"


def pdp(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from pdp.cli.main import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dev") / "ca"
    made = pdp("dev", "ca", folder, "--trust-domain", "dev.test")
    assert made.returncode == 0, made.stderr
    assert "development only" in made.stderr
    return folder


def now() -> int:
    return time.time_ns() // 1000


def trusting(bundle: Path) -> TrustStore:
    read = read_jwks if bundle.suffix == ".json" else read_pem
    return TrustStore().with_bundle(read("dev.test", bundle.read_bytes(), Origin("test", now())))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_for_their_owner_alone(ca: Path) -> None:
    assert mode(ca) == 0o700
    for path in ca.iterdir():
        assert mode(path) == (0o600 if path.suffix == ".key" else 0o644), path
    assert "DEVELOPMENT ONLY" in (ca / "DEVELOPMENT-ONLY.txt").read_text()
    for name in ("root.pem", "intermediate.pem"):
        assert MARK in x509.load_pem_x509_certificate((ca / name).read_bytes()).subject.rfc4514_string()


def test_an_x509_svid(ca: Path, tmp_path: Path) -> None:
    made = pdp("dev", "svid", ID, "--ca", ca, "--out", tmp_path / "s", "--ttl", "10m", "--format", "json")
    told = json.loads(made.stdout)
    assert (told["id"], told["development_only"], len(told["files"])) == (ID, True, 3)
    assert mode(tmp_path / "s" / "svid.key") == 0o600
    chain = split_pem((tmp_path / "s" / "svid.pem").read_bytes())
    for bundle in (tmp_path / "s" / "bundle.pem", ca / "bundle.json"):
        found = verify_x509_svid(chain, trusting(bundle), now())
        assert str(found.id) == ID
        assert found.not_after_us - now() <= 600_000_000


def test_a_jwt_svid(ca: Path, tmp_path: Path) -> None:
    made = pdp("dev", "svid", ID, "--ca", ca, "--out", tmp_path / "s", "--jwt", "--audience", "pdp")
    assert made.returncode == 0, made.stderr
    token = (tmp_path / "s" / "svid.jwt").read_text()
    assert token not in made.stdout + made.stderr
    assert mode(tmp_path / "s" / "svid.jwt") == 0o600
    assert str(verify_jwt_svid(token, "pdp", trusting(tmp_path / "s" / "bundle.json"), now()).id) == ID


@pytest.mark.parametrize("name", ["two-ids", "weak-key", "issuer-not-ca", "truncated", "expired"])
def test_a_malformed_x509_svid(name: str, ca: Path, tmp_path: Path) -> None:
    made = pdp("dev", "svid", ID, "--ca", ca, "--out", tmp_path, "--malformed", name, "--format", "json")
    code = json.loads(made.stdout)["refused_as"]
    with pytest.raises(Refused) as caught:
        verify_x509_svid(split_pem((tmp_path / "svid.pem").read_bytes()), trusting(ca / "bundle.json"), now())
    assert caught.value.code == code


def test_a_malformed_jwt_svid(ca: Path, tmp_path: Path) -> None:
    pdp("dev", "svid", ID, "--ca", ca, "--out", tmp_path, "--jwt", "--audience", "pdp", "--malformed", "alg-hs256")
    with pytest.raises(Refused) as caught:
        verify_jwt_svid((tmp_path / "svid.jwt").read_text(), "pdp", trusting(ca / "bundle.json"), now())
    assert caught.value.code == "algorithm_not_allowed"


def test_an_svid_is_replaced_and_a_domain_never(ca: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert pdp("dev", "svid", ID, "--ca", ca, "--out", tmp_path).returncode == 0
    again = pdp("dev", "ca", ca, "--trust-domain", "dev.test")
    assert (again.returncode, "not empty" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ca", "{new}", "--trust-domain", "A/b"], "--trust-domain"),
        (["ca", "{new}", "--trust-domain", "a.test", "--ttl", "x"], "--ttl"),
        (["svid", "spiffe://dev.test", "--ca", "{ca}", "--out", "{new}"], "id_no_path"),
        (["svid", "spiffe://other.test/x", "--ca", "{ca}", "--out", "{new}"], "dev.test"),
        (["svid", ID, "--ca", "{new}", "--out", "{new}"], "invalid_file"),
        (["svid", ID, "--ca", "{ca}", "--out", "{new}", "--jwt"], "--audience"),
        (["svid", ID, "--ca", "{ca}", "--out", "{new}", "--malformed", "nothing"], "--malformed list"),
        (["svid", ID, "--ca", "{ca}", "--out", "{new}", "--ttl", "0s"], "--ttl"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str, ca: Path, tmp_path: Path) -> None:
    ran = pdp("dev", *[a.format(new=tmp_path / "new", ca=ca) for a in arguments])
    assert (ran.returncode, says in ran.stderr) == (2, True), ran.stderr
    assert not (tmp_path / "new").exists()


def test_the_environment_has_every_option(tmp_path: Path, ca: Path) -> None:
    assert pdp("dev", "ca", tmp_path / "c", PDP_DEV_CA_TRUST_DOMAIN="e.test").returncode == 0
    listed = pdp("dev", "svid", ID, PDP_DEV_SVID_CA=str(ca), PDP_DEV_SVID_OUT="x", PDP_DEV_SVID_MALFORMED="list")
    assert "two-ids" in listed.stdout


def test_a_server_can_have_a_dns_name(ca: Path, tmp_path: Path) -> None:
    made = pdp("dev", "svid", ID, "--ca", ca, "--out", tmp_path, "--dns", "pdp.internal")
    assert made.returncode == 0, made.stderr
    leaf, _ = x509.load_pem_x509_certificates((tmp_path / "svid.pem").read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["pdp.internal"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [ID]
