"""The configuration as values: one frozen dataclass for each section of the file, with the defaults of `pdp serve`.

What stands here is what can be said; `read.py` turns a document into it, `unsafe.py` says which combinations are refused.
Durations are microseconds, written `30s`; sizes are bytes.
"""

# ruff: noqa: RUF009  # each default is a field that carries its sentence
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NewType

from pdp.model.gates import Bearer, Xfcc

DurationUs = NewType("DurationUs", int)
SECOND_US = 1_000_000

DECISIONS_PORT, ADMIN_PORT = 7070, 7071


def seconds(number: float) -> DurationUs:
    return DurationUs(int(number * SECOND_US))


def _setting(what: str, default: Any, *, reloads: bool = False) -> Any:
    """`reloads`: a process that runs takes a change of it (`change.py`)."""
    return field(default=default, metadata={"what": what, "reloads": reloads})


def _nothing(what: str, *, reloads: bool = False) -> Any:
    return field(default_factory=lambda: MappingProxyType({}), metadata={"what": what, "reloads": reloads})


class Service(StrEnum):
    """What a listener serves, and what a caller may have a role for. Health is served on every listener, to everyone."""

    DECISION = "decision"
    GRANTS = "grants"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Listener:
    """One port or one Unix socket. A port takes callers of one trust domain (L-1)."""

    address: str = _setting("`HOST:PORT`, `[IPV6]:PORT`, or `unix:/PATH`", f"127.0.0.1:{DECISIONS_PORT}")
    trust_domain: str | None = _setting("whose certificates open a connection; needed with TLS", None)
    uid: int | None = _setting("of a Unix socket: the one user who may connect; the server's own if not given", None)
    services: tuple[Service, ...] = _setting("what is served here", tuple(Service))


@dataclass(frozen=True, slots=True)
class Admin:
    address: str = _setting("where metrics and health are served over HTTP; empty for nowhere", f"127.0.0.1:{ADMIN_PORT}")


@dataclass(frozen=True, slots=True)
class Tls:
    """Our own certificate: from files, which are read again when they change, or from the Workload API."""

    certificate: Path | None = _setting("our X509-SVID in PEM, leaf first", None)
    key: Path | None = _setting("its private key in PEM, readable by its owner alone", None)
    workload_api: str | None = _setting("the socket of the SPIFFE Workload API, `unix:///PATH`", None)
    recheck: DurationUs = _setting(
        "how often files are looked at, and open connections verified again", seconds(5), reloads=True
    )


@dataclass(frozen=True, slots=True)
class Domain:
    """Where the bundle of one trust domain comes from: exactly one of a file, an endpoint, the Workload API."""

    file: Path | None = _setting("a bundle in PEM or JSON", None)
    endpoint: str | None = _setting("the https address of a bundle endpoint", None)
    server_id: str | None = _setting("the SPIFFE ID of the endpoint's server; without it, its host name counts", None)
    ca_file: Path | None = _setting("CAs for an endpoint known by its name, in place of the system's", None)
    workload_api: bool = _setting("the Workload API of section `tls`", False)


@dataclass(frozen=True, slots=True)
class UsersOf:
    """Where a gate's metadata hold a user that another of its filters has verified."""

    path: tuple[str, ...] = _setting("names that lead to the user's id, such as `jwt_payload`, `sub`", ())
    type: str = _setting("the type of the user in the vocabulary", "User")
    namespace: str = _setting("the filter that wrote them", "envoy.filters.http.jwt_authn")


@dataclass(frozen=True, slots=True)
class Pep:
    """What a gate may assert, and for whom. Nothing else that it says is believed."""

    domains: tuple[str, ...] = _setting("trust domains whose workloads it may speak for", ())
    destinations: tuple[str, ...] = _setting("SPIFFE IDs of the services that it stands before", ())
    users: tuple[str, ...] = _setting("types of users that it may name by its own word; `*` for all", ())
    users_from: UsersOf | None = _setting("where it has them from, for Envoy", None)
    vouches: bool = _setting("its word is taken for the path above a leaf, where only the leaf came", False)
    bearer: Bearer = _setting("what a token in `authorization` stands for", Bearer.IGNORE)
    location: bool = _setting("it may say where a request came from", False)
    scheme: str = _setting("how URLs of the back end begin, for proofs", "https")
    headers: Mapping[str, str] = _nothing("headers that it sets for the back end, each with what it tells")
    xfcc: Xfcc = _setting("whether it replaces x-forwarded-client-cert, so that the chain there is read", Xfcc.IGNORE)
    explain: bool = _setting("it may see why, with values of the policy", False)
    environment: str | None = _setting("the environment that it belongs to", None)


@dataclass(frozen=True, slots=True)
class Policies:
    path: Path | None = _setting("a folder with policies and data, or a file", None)
    watch: bool = _setting("reload whenever a file changes", True)
    run_tests: bool = _setting(
        "put no set into force whose own tests fail; the files of tests are never part of what is served", False
    )
    empty: bool = _setting("a set without a rule, by which everything is denied, may be put into force", False)


class Restored(StrEnum):
    """What is done with a store that is not the one last written."""

    END = "end"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Store:
    path: Path | None = _setting("the SQLite file of tasks and grants; without it there are none", None)
    witness: Path | None = _setting("tells a restored copy, best on another disk; a file beside `path` if not given", None)
    keys: Path | None = _setting("the folder of the keys that sign handles; `keys` beside the file if not given", None)
    restored: Restored = _setting(
        "a store that is not the one last written: `end` every grant in it and go on, or `refuse` to start", Restored.END
    )
    freshness: DurationUs = _setting("after so long without the store, whatever stands on a grant is denied", seconds(5))
    keep_ended: DurationUs = _setting("so long are tasks shown that are over; then the record alone has them", seconds(3600))
    suspend_after: int = _setting("so many failed bindings of a grant suspend it; 0 for never", 0)
    suspend_within: DurationUs = _setting("within this time", seconds(60))


class PersonRole(StrEnum):
    USER = "user"
    APPROVER = "approver"


@dataclass(frozen=True, slots=True)
class People:
    """An issuer whose tokens say who a person is."""

    audience: str = _setting("our own name at this issuer", "")
    keys: Path | None = _setting("its keys, as a JWKS file", None)
    type: str = _setting("the type of its people in the vocabulary", "User")
    roles: tuple[PersonRole, ...] = _setting("what its people may be here", (PersonRole.USER,))
    subject: str = _setting("the claim that names the person", "sub")
    algorithms: tuple[str, ...] = _setting("signatures that are accepted", ("ES256", "RS256", "PS256"))


class RecordFull(StrEnum):
    DROP = "drop"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Record:
    directory: Path | None = _setting("the folder of the decision record; without it nothing is recorded", None)
    keys: Path | None = _setting("the folder of its keys, apart from the record", None)
    full: RecordFull = _setting("when a decision cannot be recorded: `deny` it, or `drop` the entry", RecordFull.DENY)


@dataclass(frozen=True, slots=True)
class Limits:
    message_bytes: int = _setting("the largest request", 256 * 1024)
    concurrent: int = _setting(
        "calls in work at one time in a process, of one caller half of them; more are denied as overloaded",
        1024,
        reloads=True,
    )
    waiting: int = _setting(
        "of those, calls that wait for a thread, such as steps of grants, and apart from them calls that wait for their "
        "turn; of one caller, half of them",
        64,
        reloads=True,
    )
    held_bytes: int = _setting(
        "bytes of requests in work and of answers not taken yet in a process; of one caller, half of them",
        64 << 20,
        reloads=True,
    )
    streams: int = _setting("streams open at one time in a process; of one caller, half of them", 1024, reloads=True)
    calls_per_connection: int = _setting("calls open at one time on a connection", 100)
    connections: int = _setting("connections open at one time on a listener of a process; more are closed at once", 16_384)
    metadata_bytes: int = _setting("the largest metadata of a call", 16 * 1024)
    deadline: DurationUs = _setting("the longest that a call may take, whatever its caller allows", seconds(1), reloads=True)
    step_deadline: DurationUs = _setting("the same for calls that wait, such as steps of grants", seconds(5), reloads=True)
    drain: DurationUs = _setting("how long calls in work may go on after SIGTERM", seconds(10))
    idle: DurationUs = _setting("connections on which nothing happens are closed after this", seconds(300))
    connection_age: DurationUs = _setting("connections are asked to begin anew after this", seconds(3600))


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Telemetry:
    log_format: LogFormat = _setting("one line of text, or one JSON object, for each thing logged", LogFormat.JSON)
    log_level: LogLevel = _setting("what is less than this is not logged", LogLevel.INFO, reloads=True)
    traces: bool = _setting("spans by OpenTelemetry, as its own environment variables say", False)
    metrics: bool = _setting("the same figures as on the admin port also by OpenTelemetry", False)


@dataclass(frozen=True, slots=True)
class Development:
    enabled: bool = _setting("a trust domain and keys made for this run, and callers without a certificate", False)
    trust_domain: str = _setting("its name", "dev.test")
    ca: Path | None = _setting("a folder that `pdp dev ca` made, or that is made; one for this run if not given", None)
    reflection: bool = _setting("gRPC reflection of `pdp.v1` and health; it needs the extra `reflection`", False)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole of it. `Config()` is what `pdp serve` runs without a configuration, once development is switched on."""

    name: str | None = _setting("our own SPIFFE ID; `spiffe://DOMAIN/pdp` of the first listener if not given", None)
    environment: str | None = _setting(
        "stamped on every grant that is given here, and asked for at each check", None, reloads=True
    )
    listen: tuple[Listener, ...] = _setting("where calls are taken", (Listener(),))
    admin: Admin = _setting("metrics and health over HTTP", Admin())
    workers: int = _setting("processes that share the port", 1)
    tls: Tls = _setting("our own certificate", Tls())
    trust: Mapping[str, Domain] = _nothing("by trust domain: where its bundle comes from", reloads=True)
    peps: Mapping[str, Pep] = _nothing(
        "by SPIFFE ID, or `uid:NUMBER` on a Unix socket: what a gate may assert", reloads=True
    )
    roles: Mapping[Service, tuple[str, ...]] = _nothing(
        "by service: who may call it, as SPIFFE patterns or `uid:NUMBER`", reloads=True
    )
    policies: Policies = _setting("what decides", Policies())
    store: Store = _setting("tasks and grants", Store())
    people: Mapping[str, People] = _nothing("by issuer: whose tokens name users and approvers", reloads=True)
    record: Record = _setting("the decision record", Record())
    limits: Limits = _setting("what is refused for being too much", Limits())
    telemetry: Telemetry = _setting("logs, traces and metrics", Telemetry())
    development: Development = _setting("for one's own machine only", Development())
