"""A configuration and what it names on this machine: files, permissions, keys, trust, the clock."""

from __future__ import annotations

import ctypes
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from cryptography import x509

from language import PolicyErrors
from pdp.doctor.finding import Finding
from pdp.errors import PdpError
from pdp.identity import Refused, TrustStore
from pdp.server.config import BadConfig, Config, Service, Tcp, Unix, load_config, parse_address
from pdp.server.signing_keys import keys_folder, read_people
from pdp.server.tls import FilesCertificate, refuse_readable
from pdp.server.trust_sources import source_of
from pdp.store.grants.witness import lies_with
from pdp.store.own_certificate import has_dns_name
from pdp.store.policy_folder import PolicyFolder
from pdp.tokens.refusals import Refused as BadKeys

_DAY_US = 86_400_000_000
_MADE_US = 1_790_000_000_000_000  # a moment before this version was made
_STA_UNSYNC, _TIMEX_BYTES, _STATUS_OFFSET = 0x0040, 512, 40


def check_deployment(
    file: Path | None, environment: Mapping[str, str], policies: Path | None = None, now_us: int | None = None
) -> list[Finding]:
    """All findings about a configuration; about the machine alone where there is none."""
    now = time.time_ns() // 1000 if now_us is None else now_us
    found = list(check_clock(now))
    if file is None and policies is None:
        return found
    if file is not None:
        found += [Finding("config_writable", str(file)) for _ in (file,) if _others_may_write(file)]
    try:
        config = load_config(file, environment, policies=policies)
    except BadConfig as bad:
        return [*found, *(Finding("config_refused", p.place, f"{p.code}: {p.message}") for p in bad.problems)]
    except PdpError as error:
        return [*found, Finding("config_refused", str(file), str(error))]
    files = [*_policies(config), *_trust_and_certificate(config, now), *_people(config), *_folders(config)]
    return [*found, *files, *_missing(config)]


def check_clock(now_us: int) -> Iterator[Finding]:
    if now_us < _MADE_US:
        yield Finding("clock_wrong", "clock", time.strftime("%Y-%m-%d", time.gmtime(now_us / 1e6)))
    elif _is_unsynchronised():
        yield Finding("clock_unsynchronised", "clock")


def _is_unsynchronised() -> bool:
    """What the kernel says (adjtimex(2)); where it cannot be asked, as in some containers, nothing is said."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = ctypes.create_string_buffer(_TIMEX_BYTES)
        if libc.adjtimex(timex) < 0:
            return False
    except (OSError, AttributeError):
        return False
    return bool(int.from_bytes(timex.raw[_STATUS_OFFSET : _STATUS_OFFSET + 4], "little") & _STA_UNSYNC)


def _policies(config: Config) -> Iterator[Finding]:
    path = config.policies.path
    if path is None:
        return
    try:
        PolicyFolder(path, run_tests=False, demand_rules=not config.policies.empty).read()
    except PolicyErrors as errors:
        first = next(d for d in errors.diagnostics if d.is_error)
        yield Finding("policy_refused", str(path), f"{first.code}: {first.message}")
    except PdpError as error:
        yield Finding("policy_refused", str(path), str(error))
    inside = sorted(path.rglob("*")) if path.is_dir() else []
    for each in (path, *inside):
        if not each.is_symlink() and _others_may_write(each):
            yield Finding("policy_writable", str(each))
            return


def _trust_and_certificate(config: Config, now: int) -> Iterator[Finding]:
    trust = TrustStore()
    for name, domain in config.trust.items():
        source = source_of(name, domain)
        if source is None or domain.file is None:
            continue  # an endpoint is asked by who serves: the doctor calls nobody
        if _others_may_write(domain.file) or _others_may_write(domain.file.parent):
            yield Finding("trust_writable", str(domain.file))
        try:
            for bundle in source.read(trust, now):
                trust = trust.with_bundle(bundle)
                if bundle.is_empty:
                    yield Finding("trust_empty", str(domain.file), name)
                elif bundle.authorities and _last_end_us(bundle.authorities) < now + 30 * _DAY_US:
                    yield Finding("trust_ends_soon", str(domain.file), name)
        except (Refused, PdpError) as error:
            yield Finding("trust_unreadable", str(domain.file), str(error))
    tls, is_called = config.tls, any(isinstance(parse_address(each.address), Tcp) for each in config.listen)
    if tls.certificate is not None and tls.key is not None:
        yield from _certificate(tls.certificate, tls.key, trust, now, is_called)
    elif tls.workload_api is not None and is_called:
        yield Finding("certificate_unseen", "tls.workload_api")


def _certificate(certificate: Path, key: Path, trust: TrustStore, now: int, is_called: bool) -> Iterator[Finding]:
    try:
        refuse_readable(key)
    except PdpError as error:
        yield Finding("key_readable" if key.exists() else "certificate_refused", str(key), error.message)
        return
    try:
        shown = FilesCertificate(certificate, key, lambda: trust, lambda: now).current()
    except PdpError as error:
        yield Finding("certificate_refused", str(certificate), error.message)
        return
    leaf = x509.load_pem_x509_certificates(shown.chain_pem)[0]
    life_us = int((leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() * 1e6)
    if shown.not_after_us - now < life_us // 10:
        yield Finding("certificate_ends_soon", str(certificate), str(leaf.not_valid_after_utc))
    if is_called and not has_dns_name(shown.chain_pem):
        yield Finding("certificate_without_name", str(certificate))


def _last_end_us(authorities: tuple[x509.Certificate, ...]) -> int:
    return max(int(a.not_valid_after_utc.timestamp()) * 1_000_000 for a in authorities)


def _people(config: Config) -> Iterator[Finding]:
    for issuer, people in config.people.items():
        if people.keys is None:
            continue
        if _others_may_write(people.keys) or _others_may_write(people.keys.parent):
            yield Finding("people_writable", str(people.keys))
        try:
            read_people(replace(config, people={issuer: people}))
        except (BadKeys, PdpError) as error:
            yield Finding("people_unreadable", str(people.keys), str(error))


def _folders(config: Config) -> Iterator[Finding]:
    """Folders with keys, state or sockets, where they exist already; that of the witness has to."""
    wanted = [config.record.keys, config.record.directory]
    wanted += [config.store.path.parent, keys_folder(config)] if config.store.path is not None else []
    for listener in config.listen:
        address = parse_address(listener.address)
        wanted += [address.path.parent] if isinstance(address, Unix) else []
    for folder in wanted:
        try:
            mode = 0 if folder is None else folder.stat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Finding("folder_unusable", str(folder), error.strerror or "")
            continue
        if mode & 0o077:
            yield Finding("folder_open", str(folder), oct(stat.S_IMODE(mode)))
        if folder is not None and folder == config.record.keys and _is_read_only(folder, mode):
            yield Finding("record_keys_read_only", str(folder))
    witness = config.store.witness
    if witness is not None and not os.path.isdir(witness.parent):
        yield Finding("folder_unusable", str(witness.parent), "`store.witness` needs it, and it is not made")


def _missing(config: Config) -> Iterator[Finding]:
    if config.development.enabled:
        yield Finding("development_on", "development.enabled")
    elif not config.peps and not config.roles.get(Service.DECISION):
        yield Finding("no_gates", "peps")
    if config.record.directory is None:
        yield Finding("record_missing", "record.directory")
    if config.store.path is None:
        yield Finding("store_missing", "store.path")
    elif lies_with(config.store.path, config.store.witness):
        yield Finding("witness_beside", "store.witness")


def _is_read_only(folder: Path, mode: int) -> bool:
    return not mode & stat.S_IWUSR or bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _others_may_write(path: Path) -> bool:
    """Whether anyone but its owner may write, or its owner is neither root nor us. A sticky folder such as /tmp counts
    as writable: others may put new files there."""
    try:
        found = path.stat()
    except OSError:
        return False
    return bool(found.st_mode & 0o022) or found.st_uid not in (0, os.geteuid())
