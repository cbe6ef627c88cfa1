"""Combinations of settings that are refused: each would run, and would not be what anybody wants.

A row of the table is a code and why; a function below finds it. Nothing here reads a file: what files say is checked when
they are read, and by `pdp doctor`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from os.path import normpath

from language import is_spiffe_id, parse_pattern
from pdp.errors import PdpError
from pdp.identity import is_trust_domain
from pdp.model.gates import Xfcc
from pdp.server.config.addresses import Tcp, Unix, parse_address
from pdp.server.config.gate import gate_of
from pdp.server.config.problems import BadConfig, Problem
from pdp.server.config.sections import Config, Listener, Pep, Service

WORKERS_MAX = 64

#: Every combination that is refused, and why.
UNSAFE = {
    "bad_address": "an address is a number and a port, or a Unix socket; names are not looked up",
    "address_twice": "two listeners cannot share an address, and metrics do not belong on a decision port",
    "exposed_without_tls": "whoever reaches the port could ask, answer and end tasks as anyone",
    "callers_unknown": "without TLS nobody knows who calls; only development may go without, on loopback",
    "development_exposed": "keys of a development domain prove nothing, so they may be shown on loopback only",
    "development_with_tls": "a certificate of yours beside a development domain: one of the two is a mistake",
    "reflection_outside_development": "it tells every caller what could be called",
    "admin_exposed": "metrics and health tell about your policy and traffic, and are served without authentication",
    "tls_incomplete": "a certificate comes with its key, and from one place only",
    "domain_missing": "a port with TLS takes callers of one trust domain, which must be named and have a source of trust",
    "domain_of_no_use": "on a Unix socket the system says who calls, by user and not by certificate",
    "source_unclear": "a bundle comes from exactly one place, and settings of another place would silently do nothing",
    "bad_name": "a caller is a SPIFFE ID or `uid:NUMBER`; a role also takes a SPIFFE pattern; a domain is a plain name",
    "uid_without_socket": "users of this machine are known on a Unix socket only, so the entry would never be used",
    "uid_of_no_socket": "whoever connects to a Unix socket is the `uid` of its listener, root too, and none has this one",
    "gate_domain_untrusted": "a gate may speak for workloads of this domain, and nothing says how to verify them",
    "gate_unfit": "no gate can be made of the entry, so each of its calls would be denied",
    "xfcc_without_destination": "the header is believed where it names the gate's own service, and none is configured",
    "role_for_a_whole_domain": "every workload of the domain, a compromised one too, could administer or open tasks",
    "users_unclear": "a user is taken from a place in the metadata, as a type that the gate may name",
    "no_policies": "without policies every answer is a denial",
    "record_without_keys": "a record without keys cannot be checked, and keys beside the record prove nothing",
    "witness_is_store": "the witness is another file than the store, or every grant ends at each start",
    "people_incomplete": "an issuer of people is known by name, its keys and our name there, or tokens for others would do",
    "limit_of_nothing": "nothing would be served",
    "bad_workers": f"between 1 and {WORKERS_MAX} processes",
}

_UID = re.compile(r"uid:(0|[1-9][0-9]{0,9})", re.ASCII)
_Finds = Callable[[Config], Iterator[Problem]]


def refuse_unsafe(config: Config) -> None:
    """Raises with all that is unsafe, or says nothing."""
    problems = list(find_unsafe(config))
    if problems:
        raise BadConfig("unsafe_configuration", problems)


def find_unsafe(config: Config) -> Iterator[Problem]:
    for find in _ALL:
        yield from find(config)


def is_caller(name: str) -> bool:
    return is_spiffe_id(name) or _UID.fullmatch(name) is not None


def _problem(code: str, place: str, detail: str = "") -> Problem:
    return Problem(code, place, UNSAFE[code] + (f": {detail}" if detail else ""))


def _listeners(config: Config) -> Iterator[tuple[str, Listener, Tcp | Unix]]:
    for number, listener in enumerate(config.listen):
        address = parse_address(listener.address)
        if address is not None:
            yield f"listen[{number}]", listener, address


def _has_tls(config: Config) -> bool:
    return config.tls.certificate is not None or config.tls.workload_api is not None


def _addresses(config: Config) -> Iterator[Problem]:
    places = [(f"listen[{i}].address", each.address) for i, each in enumerate(config.listen)]
    if not places:
        yield _problem("bad_address", "listen", "there is no listener")
    if config.admin.address:
        places.append(("admin.address", config.admin.address))
    seen: set[str] = set()
    for place, text in places:
        address = parse_address(text)
        if address is None or (place == "admin.address" and isinstance(address, Unix)):
            yield _problem("bad_address", place, f"`{text[:60]}`")
        elif str(address) in seen and getattr(address, "port", None) != 0:
            yield _problem("address_twice", place, text)
        seen.add(str(address))


def _exposure(config: Config) -> Iterator[Problem]:
    development = config.development
    for place, _, address in _listeners(config):
        if isinstance(address, Unix):
            continue
        if development.enabled and not address.is_loopback:
            yield _problem("development_exposed", f"{place}.address", str(address))
        elif not _has_tls(config) and not address.is_loopback:
            yield _problem("exposed_without_tls", f"{place}.address", str(address))
        elif not _has_tls(config) and not development.enabled:
            yield _problem("callers_unknown", f"{place}.address", str(address))
    admin = parse_address(config.admin.address)
    if isinstance(admin, Tcp) and not admin.is_loopback:
        yield _problem("admin_exposed", "admin.address", str(admin))
    if development.reflection and not development.enabled:
        yield _problem("reflection_outside_development", "development.reflection")
    if development.enabled and _has_tls(config):
        yield _problem("development_with_tls", "development.enabled")


def _tls(config: Config) -> Iterator[Problem]:
    tls = config.tls
    if (tls.certificate is None) != (tls.key is None):
        yield _problem("tls_incomplete", "tls.key" if tls.key is None else "tls.certificate", "the other is missing")
    if tls.certificate is not None and tls.workload_api is not None:
        yield _problem("tls_incomplete", "tls.workload_api", "files are given, too")
    for place, listener, address in _listeners(config):
        if isinstance(address, Unix):
            if listener.trust_domain is not None:
                yield _problem("domain_of_no_use", f"{place}.trust_domain")
        elif _has_tls(config) and listener.trust_domain not in config.trust:
            yield _problem("domain_missing", f"{place}.trust_domain", listener.trust_domain or "none is named")
        if listener.uid is not None and not isinstance(address, Unix):
            yield _problem("uid_without_socket", f"{place}.uid")


def _trust(config: Config) -> Iterator[Problem]:
    for name, domain in config.trust.items():
        place = f"trust[{name}]"
        if not is_trust_domain(name):
            yield _problem("bad_name", place)
        if [domain.file is not None, domain.endpoint is not None, domain.workload_api].count(True) != 1:
            yield _problem("source_unclear", place, "a `file`, an `endpoint` or `workload_api`")
        for setting in ("server_id", "ca_file"):
            if getattr(domain, setting) is not None and domain.endpoint is None:
                yield _problem("source_unclear", f"{place}.{setting}", "there is no endpoint")
        if domain.server_id is not None and domain.ca_file is not None:
            yield _problem("source_unclear", f"{place}.ca_file", "the server is known by its ID")
        if domain.server_id is not None and not is_spiffe_id(domain.server_id):
            yield _problem("bad_name", f"{place}.server_id")
        if domain.workload_api and config.tls.workload_api is None:
            yield _problem("source_unclear", f"{place}.workload_api", "`tls.workload_api` names no socket")


def _callers(config: Config) -> Iterator[Problem]:
    sockets = any(isinstance(address, Unix) for _, _, address in _listeners(config))
    for name, pep in config.peps.items():
        found = list(_pep(config, name, pep, sockets))
        yield from found or _gate(name, pep)
    for service, names in config.roles.items():
        for name in names:
            yield from _role(f"roles[{service}]", service, name, sockets)
    for place, name in uids_without_socket(config, None):
        yield _problem("uid_of_no_socket", place, name)


def uids_without_socket(config: Config, own: int | None) -> Iterator[tuple[str, str]]:
    """The entries, with their places, of users that nobody can be on the Unix sockets that there are. `own` is who runs the
    server; where that is not known, and a socket would be of that user, nothing is said."""
    uids = {own if listener.uid is None else listener.uid for _, listener, a in _listeners(config) if isinstance(a, Unix)}
    if not uids or None in uids:
        return
    named = [(f"peps[{name}]", name) for name in config.peps]
    named += [(f"roles[{service}]", name) for service, names in config.roles.items() for name in names]
    known = {f"uid:{uid}" for uid in uids}
    yield from ((place, name) for place, name in named if _UID.fullmatch(name) and name not in known)


def _pep(config: Config, name: str, pep: Pep, sockets: bool) -> Iterator[Problem]:
    place = f"peps[{name}]"
    if not is_caller(name):
        yield _problem("bad_name", place)
    elif name.startswith("uid:") and not sockets:
        yield _problem("uid_without_socket", place)
    for domain in pep.domains:
        if domain not in config.trust and not (config.development.enabled and domain == config.development.trust_domain):
            yield _problem("gate_domain_untrusted", f"{place}.domains", domain)
    for destination in pep.destinations:
        if not is_spiffe_id(destination):
            yield _problem("bad_name", f"{place}.destinations", destination[:60])
    told = pep.users_from
    if told is not None and (not told.path or told.type not in pep.users):
        yield _problem("users_unclear", f"{place}.users_from")
    if pep.xfcc is Xfcc.SANITIZE_SET and not pep.destinations:
        yield _problem("xfcc_without_destination", f"{place}.xfcc")


def _gate(name: str, pep: Pep) -> Iterator[Problem]:
    """What is known of gates where they are made: it is made as for a call."""
    try:
        gate_of(name, pep)
    except PdpError as error:
        yield _problem("gate_unfit", f"peps[{name}]", error.message)


def _role(place: str, service: Service, name: str, sockets: bool) -> Iterator[Problem]:
    pattern = parse_pattern(name)
    if pattern is None and not is_caller(name):
        yield _problem("bad_name", place, name[:60])
    elif pattern is None and not sockets:
        yield _problem("uid_without_socket", place, name)
    elif pattern is not None and service is not Service.DECISION and set(pattern.segments[1:]) <= {"*"}:
        yield _problem("role_for_a_whole_domain", place, name)


def _parts(config: Config) -> Iterator[Problem]:
    if config.name is not None and not is_spiffe_id(config.name):
        yield _problem("bad_name", "name", config.name[:60])
    if config.policies.path is None:
        yield _problem("no_policies", "policies.path")
    record = config.record
    if (record.directory is None) != (record.keys is None):
        yield _problem("record_without_keys", "record.keys" if record.keys is None else "record.directory")
    elif record.directory is not None and record.keys is not None:
        if record.keys == record.directory or record.directory in record.keys.parents:
            yield _problem("record_without_keys", "record.keys", "it lies in the record")
    store = config.store
    if store.path is not None and store.witness is not None and normpath(store.path) == normpath(store.witness):
        yield _problem("witness_is_store", "store.witness", str(store.witness))
    if not 1 <= config.workers <= WORKERS_MAX:
        yield _problem("bad_workers", "workers", str(config.workers))
    limits = config.limits
    for name in (
        "message_bytes",
        "concurrent",
        "waiting",
        "streams",
        "calls_per_connection",
        "connections",
        "metadata_bytes",
    ):
        if getattr(limits, name) < 1:
            yield _problem("limit_of_nothing", f"limits.{name}")
    if limits.held_bytes < 4 * limits.message_bytes:  # of one caller half of them: one request, and its answer
        yield _problem("limit_of_nothing", "limits.held_bytes", "less than four times `limits.message_bytes`")


def _people(config: Config) -> Iterator[Problem]:
    for issuer, people in config.people.items():
        if not issuer:
            yield _problem("people_incomplete", "people", "the issuer has no name")
        for name in ("audience", "keys", "type", "subject"):
            if not getattr(people, name):
                yield _problem("people_incomplete", f"people[{issuer}].{name}")


_ALL: Iterable[_Finds] = (_addresses, _exposure, _tls, _trust, _callers, _people, _parts)
