"""Identities for one's own machine: a trust domain that anybody who can read its folder can be anyone in."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from pdp.errors import PdpError
from pdp.identity import Origin, Refused, read_jwks
from pdp.identity.bundles import BUNDLE_BYTES_MAX
from pdp.server.config import Config
from pdp.store.dev_domain import create_domain, open_domain
from pdp.store.regular_file import read_regular
from pdp.store.trust import Trust

_TTL_US = 30 * 86_400 * 1_000_000

WARNING = """\
DEVELOPMENT MODE: nothing here is authenticated, and whoever reaches {listen} can ask for decisions as anyone.
Trust domain `{domain}`, made for this machine only; its keys are in {ca}.
Never run this where it matters: `pdp serve --config FILE` takes identities that mean something."""


def with_domain(config: Config, runtime: Path) -> Config:
    """With a folder that has the domain: the one that is configured, made if it is not there, or one for this run."""
    development = config.development
    ca = runtime / "dev-ca" if development.ca is None else development.ca
    if not (ca / "root.pem").exists():
        try:
            create_domain(ca, development.trust_domain, time.time_ns() // 1000, _TTL_US)
        except Refused as refused:
            raise PdpError("invalid_configuration", f"development.trust_domain: {refused}") from None
    found = open_domain(ca).trust_domain
    if found != development.trust_domain:
        message = f"development.ca: it is the domain `{found}`, and not `{development.trust_domain}`"
        raise PdpError("invalid_configuration", message)
    config = replace(config, development=replace(development, ca=ca))
    return config if config.store.path is not None else replace(config, store=replace(config.store, path=_store(runtime)))


def _store(runtime: Path) -> Path:
    """Tasks and grants for this run: they are gone with the process, unless a file is configured."""
    folder = runtime / "store"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / "grants.sqlite"


def warning(config: Config) -> str:
    listen = ", ".join(each.address for each in config.listen)
    return WARNING.format(listen=listen, domain=config.development.trust_domain, ca=config.development.ca)


def trust_development(config: Config, trust: Trust, now_us: int) -> None:
    ca = config.development.ca
    if ca is None:
        return
    try:
        document = read_regular(ca / "bundle.json", BUNDLE_BYTES_MAX + 1)
    except OSError as error:
        raise PdpError("invalid_file", f"`{ca}/bundle.json` cannot be read: {error.strerror}") from None
    trust.put([read_jwks(config.development.trust_domain, document, Origin("development", now_us, now_us + _TTL_US))])
