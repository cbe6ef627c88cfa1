"""The configuration: what is read, and every combination that is refused, each one thing away from what is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pdp.errors import PdpError
from pdp.server.config import (
    UNSAFE,
    BadConfig,
    Config,
    find_unsafe,
    load_config,
    read_config,
    show_config,
    uids_without_socket,
)
from pdp.server.config.sections import LogLevel, Service

BASE = Path("/etc/pdp")
GATE = "spiffe://prod.acme/ns/edge/envoy"

#: Safe, and with something in every section: each row below changes one thing in it.
GOOD: dict[str, Any] = {
    "listen": [
        {"address": "0.0.0.0:7070", "trust_domain": "prod.acme", "services": ["decision"]},
        {"address": "unix:/run/pdp/pdp.sock", "uid": 1000, "services": ["decision", "grants", "admin"]},
    ],
    "admin": {"address": "127.0.0.1:7071"},
    "workers": 2,
    "tls": {"workload_api": "unix:///run/spire/agent.sock"},
    "trust": {"prod.acme": {"workload_api": True}, "partner.test": {"file": "partner.json"}},
    "peps": {GATE: {"domains": ["prod.acme"], "xfcc": "sanitize_set", "destinations": ["spiffe://prod.acme/ns/api"]}},
    "roles": {"grants": ["spiffe://prod.acme/ci/**"], "admin": ["uid:1000"]},
    "policies": {"path": "policies"},
    "store": {"path": "grants.sqlite", "freshness": "5s"},
    "record": {"directory": "record", "keys": "keys", "full": "deny"},
    "limits": {"deadline": "500ms"},
    "telemetry": {"log_level": "warning"},
    "development": {"enabled": False},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good document with one thing set, or with `None` taken away."""
    document = json.loads(json.dumps(GOOD))
    *way, last = path.split("/")
    place = document
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    if value is None:
        del place[int(last) if last.isdigit() else last]
    else:
        place[int(last) if last.isdigit() else last] = value
    return document


def test_the_good_one_is_read_and_safe() -> None:
    config = read_config(GOOD, BASE)
    assert list(find_unsafe(config)) == []
    assert config.limits.deadline == 500_000
    assert config.policies.path == BASE / "policies"
    assert config.listen[1].services == tuple(Service)
    assert config.telemetry.log_level is LogLevel.WARNING


@pytest.mark.parametrize(
    ("path", "value", "code", "place", "hint"),
    [
        ("limit", {}, "unknown_setting", "limit", "did you mean `limits`?"),
        ("limits/dedline", "1s", "unknown_setting", "limits.dedline", "did you mean `deadline`?"),
        ("listen/0/adress", "x", "unknown_setting", "listen[0].adress", "did you mean `address`?"),
        ("peps/" + GATE.replace("/", "\0"), {"domain": []}, "unknown_setting", None, "did you mean `domains`?"),
        ("workers", "2", "wrong_type", "workers", None),
        ("limits/message_bytes", 1 << 30, "wrong_value", "limits.message_bytes", None),
        ("limits/idle", "25d", "wrong_value", "limits.idle", None),
        ("workers", True, "wrong_type", "workers", None),
        ("workers", -1, "wrong_value", "workers", None),
        ("limits/deadline", 5, "wrong_type", "limits.deadline", None),
        ("limits/deadline", "5 parsecs", "wrong_value", "limits.deadline", None),
        ("limits/deadline", "0s", "wrong_value", "limits.deadline", None),
        ("listen", {}, "wrong_type", "listen", None),
        ("listen/0", "0.0.0.0:7070", "wrong_type", "listen[0]", None),
        ("listen/0/services", ["decisions"], "wrong_value", "listen[0].services[0]", "did you mean `decision`?"),
        ("policies/watch", "yes", "wrong_type", "policies.watch", None),
        ("policies/path", "", "wrong_type", "policies.path", None),
        ("record/full", "alow", "wrong_value", "record.full", None),
        ("roles/granst", [], "wrong_value", "roles", "did you mean `grants`?"),
        ("trust", [], "wrong_type", "trust", None),
    ],
)
def test_what_is_not_known_is_refused(path: str, value: Any, code: str, place: str | None, hint: str | None) -> None:
    document = changed(path, value)
    if "\0" in path:
        document["peps"] = {GATE: value}
        place = f"peps[{GATE}].domain"
    with pytest.raises(BadConfig) as refused:
        read_config(document, BASE)
    assert refused.value.code == "invalid_configuration"
    assert [(p.code, p.place, p.hint) for p in refused.value.problems] == [(code, place, hint)]


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(BadConfig) as refused:
        read_config({"workers": "x", "limts": {}, "admin": {"address": 1}}, BASE)
    assert {p.place for p in refused.value.problems} == {"workers", "limts", "admin.address"}


UNSAFE_ROWS: list[tuple[str, Any, set[str]]] = [
    ("listen/0/address", "example.test:7070", {"bad_address"}),
    ("listen/0/address", "0.0.0.0:70700", {"bad_address"}),
    ("listen/1/address", "unix:run/pdp.sock", {"bad_address", "uid_without_socket"}),
    ("listen", [], {"bad_address", "uid_without_socket"}),
    ("admin/address", "0.0.0.0:7070", {"address_twice", "admin_exposed"}),
    ("admin/address", "0.0.0.0:7071", {"admin_exposed"}),
    ("admin/address", "10.0.0.1:7071", {"admin_exposed"}),
    ("admin/address", "unix:/run/admin.sock", {"bad_address"}),
    ("tls", {}, {"exposed_without_tls", "source_unclear"}),
    ("tls", {"certificate": "svid.pem"}, {"tls_incomplete", "source_unclear"}),
    ("tls/certificate", "svid.pem", {"tls_incomplete"}),
    ("development/enabled", True, {"development_exposed", "development_with_tls"}),
    ("development/reflection", True, {"reflection_outside_development"}),
    ("listen/0/trust_domain", None, {"domain_missing"}),
    ("listen/0/trust_domain", "other.test", {"domain_missing"}),
    ("listen/1/trust_domain", "prod.acme", {"domain_of_no_use"}),
    ("listen/0/uid", 0, {"uid_without_socket"}),
    ("listen/1/uid", 0, {"uid_of_no_socket"}),
    ("listen/1/uid", None, set()),
    ("roles/decision", ["uid:0"], {"uid_of_no_socket"}),
    ("peps/uid:0", {}, {"uid_of_no_socket"}),
    ("trust/partner.test/workload_api", True, {"source_unclear"}),
    ("trust/partner.test", {}, {"source_unclear"}),
    ("trust/partner.test/server_id", GATE, {"source_unclear"}),
    ("trust/Partner", {"file": "x"}, {"bad_name"}),
    ("peps/envoy", {}, {"bad_name"}),
    ("roles/decision", ["spiffe://prod.acme"], {"bad_name"}),
    ("roles/grants", ["spiffe://prod.acme/**"], {"role_for_a_whole_domain"}),
    ("roles/admin", ["spiffe://prod.acme/*"], {"role_for_a_whole_domain"}),
    ("listen/1", None, {"uid_without_socket"}),
    ("trust/prod.acme", {"file": "bundle.json"}, set()),
    ("peps/uid:1000", {"domains": ["evil.test"]}, {"gate_domain_untrusted"}),
    ("peps/uid:1000", {"users_from": {"path": ["sub"], "type": "User"}}, {"users_unclear"}),
    ("peps/uid:1000", {"users": ["User"], "users_from": {"path": ["sub"], "type": "User"}}, set()),
    ("peps/uid:1000", {"headers": {"x-task": "task"}, "bearer": "user"}, set()),
    ("peps/uid:1000", {"xfcc": "sanitize_set"}, {"xfcc_without_destination"}),
    ("peps/uid:1000", {"scheme": "ftp"}, {"gate_unfit"}),
    ("peps/uid:1000", {"headers": {"X-Task": "task"}}, {"gate_unfit"}),
    ("peps/uid:1000", {"headers": {"x-task": "secret"}}, {"gate_unfit"}),
    ("name", "spiffe://prod.acme/a b", {"bad_name"}),
    ("name", "spiffe://prod.acme/ns/pdp", set()),
    ("policies/path", None, {"no_policies"}),
    ("people", {"https://issuer.test": {"audience": "pdp"}}, {"people_incomplete"}),
    ("record/keys", None, {"record_without_keys"}),
    ("record/keys", "record/keys", {"record_without_keys"}),
    ("store/witness", "grants.sqlite", {"witness_is_store"}),
    ("store/witness", "x/../grants.sqlite", {"witness_is_store"}),
    ("store/witness", "/other/grants.sqlite", set()),
    ("workers", 0, {"bad_workers"}),
    ("workers", 65, {"bad_workers"}),
    ("limits/concurrent", 0, {"limit_of_nothing"}),
    ("listen/0", {"address": "127.0.0.1:7070", "trust_domain": "prod.acme"}, set()),
]


def _told(value: Any) -> str:
    return str(sorted(value) if isinstance(value, set) else value)[:40]


@pytest.mark.parametrize(("path", "value", "codes"), UNSAFE_ROWS, ids=_told)
def test_unsafe_combinations_are_refused(path: str, value: Any, codes: set[str]) -> None:
    assert {p.code for p in find_unsafe(read_config(changed(path, value), BASE))} == codes


@pytest.mark.parametrize(("own", "found"), [(0, ["uid:1000"]), (1000, []), (None, [])])
def test_a_socket_without_a_user_is_of_the_server_s_own(own: int | None, found: list[str]) -> None:
    config = read_config(changed("listen/1/uid", None), BASE)
    assert [name for _, name in uids_without_socket(config, own)] == found


def test_loopback_without_tls_is_for_development_only() -> None:
    document = {"policies": {"path": "p"}, "listen": [{"address": "127.0.0.1:7070"}]}
    assert {p.code for p in find_unsafe(read_config(document, BASE))} == {"callers_unknown"}
    document["development"] = {"enabled": True}
    assert list(find_unsafe(read_config(document, BASE))) == []


def test_every_unsafe_code_is_found_by_a_row() -> None:
    assert set().union(*(codes for _, _, codes in UNSAFE_ROWS)) | {"callers_unknown"} == set(UNSAFE)


# ---- the file, the environment, the command line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pdp.yaml"
    path.write_text("policies: {path: p}\ndevelopment: {enabled: true}\nlimits:\n  deadline: 2s\n")
    return path


def test_without_configuration_it_is_loopback_with_development_identities(tmp_path: Path) -> None:
    config = load_config(None, {}, policies=tmp_path)
    assert config.development.enabled
    assert [each.address for each in config.listen] == ["127.0.0.1:7070"]


def test_a_file_without_identities_does_not_fall_back_to_development(tmp_path: Path) -> None:
    (tmp_path / "pdp.json").write_text('{"policies": {"path": "p"}}')
    with pytest.raises(BadConfig, match="callers_unknown"):
        load_config(tmp_path / "pdp.json", {})


def test_the_environment_counts_more_than_the_file(file: Path) -> None:
    environment = {"PDP_LIMITS_DEADLINE": "3s", "PDP_WORKERS": "4", "PDP_LISTEN": "127.0.0.1:1,[::1]:2", "PDP_SERVE_X": "1"}
    config = load_config(file, environment)
    assert (config.limits.deadline, config.workers) == (3_000_000, 4)
    assert [each.address for each in config.listen] == ["127.0.0.1:1", "[::1]:2"]
    assert load_config(file, environment, workers=5, listen="127.0.0.1:9").workers == 5


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("PDP_LIMITS_DEDLINE", "1s", "unknown_setting"),
        ("PDP_DEVELOPMENT_ENABLED", "yes", "wrong_type"),
        ("PDP_WORKERS", "many", "wrong_type"),
        ("PDP_PEPS", "{}", "unknown_setting"),
    ],
)
def test_a_wrong_variable_is_refused(file: Path, name: str, value: str, code: str) -> None:
    with pytest.raises(BadConfig) as refused:
        load_config(file, {name: value})
    assert [p.code for p in refused.value.problems] == [code]


@pytest.mark.parametrize(
    "text", ["a: 1\na: 2", "a: &x 1\nb: *x", "- 1", "a: !!python/object:x 1", "", "listen: yes", "\x00"]
)
def test_a_document_that_two_readers_could_read_differently_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pdp.yaml"
    path.write_text(text)
    with pytest.raises(PdpError) as refused:
        load_config(path, {})
    assert refused.value.code in ("invalid_file", "invalid_configuration")


def test_what_is_printed_is_read_back_as_the_same() -> None:
    config = read_config(GOOD, BASE)
    assert read_config(_without_nulls(json.loads(show_config(config))), BASE) == config
    assert read_config(json.loads(show_config(config)), BASE) == config
    assert read_config(json.loads(show_config(Config())), BASE) == Config()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value
