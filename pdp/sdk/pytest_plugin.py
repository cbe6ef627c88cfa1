"""The pytest plugin `bulkhead`: policy tests are collected, and fixtures help to test programs that ask for decisions.

Every run of pytest that finds this distribution installed imports this module, with or without policies. So at the top it
imports pytest and nothing of ours, and it acts only on files of policy tests and for whoever asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from os.path import abspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pdp.model.decision import Decision
    from pdp.sdk.engine import Engine
    from pdp.testing.clock import FakeClock
    from pdp.testing.collect import PolicyFile, PolicySets
    from pdp.testing.tasks import TaskOpener

TEST_SUFFIX = "_test.policy"  # as `language` has it, which is not imported here
DEFAULT_FOLDER = "policies"  # where `pdp init` puts a set

_told_key = pytest.StashKey[Path | None]()
_sets_key = pytest.StashKey["PolicySets"]()
_engine_key = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bulkhead", "policies")
    group.addoption(
        "--pdp-policies",
        metavar="DIR",
        help="The policy set: what is compiled with the policy tests in it, and what `pdp_engine` decides by.",
    )
    parser.addini("pdp_policies", "The same as --pdp-policies; relative to the ini file.")
    parser.addini("pdp_trust_domain", "The trust domain of the fixture `workload`; example.org if not given.")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_told_key] = _told_folder(config)


# ---- policy tests


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> PolicyFile | None:
    if not file_path.name.endswith(TEST_SUFFIX):
        return None
    from pdp.testing.collect import PolicyFile

    found: PolicyFile = PolicyFile.from_parent(parent, path=file_path)
    found.sets = _sets(parent.config)
    return found


def _sets(config: pytest.Config) -> PolicySets:
    if _sets_key not in config.stash:
        from pdp.testing.collect import PolicySets

        config.stash[_sets_key] = PolicySets(config.stash[_told_key], config.rootpath, config.invocation_params.dir)
    return config.stash[_sets_key]


def _told_folder(config: pytest.Config) -> Path | None:
    """The configured policy set: an option is relative to where pytest was started, an ini value to its file."""
    told: str | None = config.getoption("--pdp-policies")
    start = config.invocation_params.dir
    if not told:
        told = config.getini("pdp_policies")
        start = config.inipath.parent if config.inipath is not None else config.rootpath
    if not told:
        return None
    folder = Path(abspath(start / told))  # not resolved: pytest does not follow links in the paths that it collects
    if not folder.exists():
        raise pytest.UsageError(f"pdp_policies: there is no `{folder}`")
    return folder


# ---- fixtures


@pytest.fixture
def pdp_engine(pytestconfig: pytest.Config) -> Iterator[Engine]:
    """The engine of the configured policy set and the data beside it. Override it to decide by others.

    Compiled once for the session; after a test that changed policies or data the next one gets a fresh engine.
    """
    from pdp.sdk.engine import Engine

    kept = pytestconfig.stash.setdefault(_engine_key, {})
    if "engine" not in kept:
        kept["engine"] = Engine.load(_engine_folder(pytestconfig))
        kept["state"] = _state(kept["engine"])
    yield kept["engine"]
    if _state(kept["engine"]) != kept["state"]:
        kept.clear()


def _state(engine: Engine) -> object:
    return engine.generation, engine.directory.version, dict(engine.revoked)


def _engine_folder(config: pytest.Config) -> Path:
    told = config.stash[_told_key]
    default = config.rootpath / DEFAULT_FOLDER
    if told is None and not default.is_dir():
        message = f"which policies? There is no `{DEFAULT_FOLDER}` here: say `pdp_policies = DIR` or --pdp-policies DIR"
        raise pytest.UsageError(message)
    return told if told is not None else default


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that stands at 2026-01-01T00:00:00Z until it is moved. Called, it says microseconds since the epoch."""
    from pdp.testing.clock import FakeClock

    return FakeClock()


@pytest.fixture
def workload(pytestconfig: pytest.Config) -> Callable[[str], str]:
    """`workload("billing/api")` is its SPIFFE ID in the trust domain of `pdp_trust_domain`."""
    from pdp.testing.identities import TRUST_DOMAIN, workload

    return partial(workload, trust_domain=pytestconfig.getini("pdp_trust_domain") or TRUST_DOMAIN)


@pytest.fixture
def open_task(fake_clock: FakeClock) -> TaskOpener:
    """`open_task("invoicing", tenant="acme", lasting="15m", proof=["key"])` is a task that starts now, by the fake clock."""
    from pdp.testing.tasks import TaskOpener

    return TaskOpener(fake_clock)


@pytest.fixture
def assert_allowed(pdp_engine: Engine, fake_clock: FakeClock) -> Callable[..., Decision]:
    """Asserts that `pdp_engine` allows a request at the moment of `fake_clock`, and explains if it does not."""
    from pdp.testing.asserts import assert_allowed

    return _at_clock(assert_allowed, pdp_engine, fake_clock)


@pytest.fixture
def assert_denied(pdp_engine: Engine, fake_clock: FakeClock) -> Callable[..., Decision]:
    """Asserts that `pdp_engine` denies a request at the moment of `fake_clock`, and explains if it does not."""
    from pdp.testing.asserts import assert_denied

    return _at_clock(assert_denied, pdp_engine, fake_clock)


def _at_clock(assertion: Callable[..., Decision], engine: Engine, clock: FakeClock) -> Callable[..., Decision]:
    def at_clock(*request: Any, **asked: Any) -> Decision:
        __tracebackhide__ = True
        return assertion(engine, *request, **{"now": clock(), **asked})

    return at_clock
