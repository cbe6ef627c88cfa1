"""The keys that sign handles, and those of the issuers of people's tokens: read again whenever their files change.

A key that was withdrawn must stop everywhere and at once, so every process looks at the files itself. What cannot be read
changes nothing, and is told; a key is withdrawn by a file that can be read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from language import FOREVER
from pdp.errors import PdpError
from pdp.grants.issuer_keys import IssuerKeys
from pdp.grants.people import Issuer, Role
from pdp.grants.people_keys import DOCUMENT_BYTES_MAX, read_key_set
from pdp.server.config import Config
from pdp.store.file_state import state_of
from pdp.store.issuer_keys import FILE, open_issuer_keys, read_issuer_keys
from pdp.store.regular_file import read_regular
from pdp.tokens.refusals import Refused as BadKeys

_log = logging.getLogger("pdp.grants")


class SigningKeys:
    """`issuer` and `people` are replaced whole, so whoever reads one has all of a moment."""

    def __init__(self, config: Config, now: int) -> None:
        self._config, self._folder = config, keys_folder(config)
        self._reading = threading.Lock()
        self._states: dict[str, object] = {}
        self._problems: dict[str, str] = {}
        self.issuer: IssuerKeys = open_issuer_keys(self._folder, now)
        self.people: Mapping[str, Issuer] = MappingProxyType({})
        for error in self._read():
            raise error

    def prepare(self, config: Config) -> Callable[[], None]:
        """Reads the keys of the issuers that another configuration has; PdpError where that cannot be."""
        files = _people_files(config)
        states = [state_of(each) for each in files]
        try:
            people = read_people(config)
        except BadKeys as error:
            raise PdpError("invalid_file", f"people: {error}") from None

        def take() -> None:
            with self._reading:
                self._config, self.people = config, people
                self._states["people"] = states
                self._problems.pop("people", None)

        return take

    def read_again(self) -> None:
        """What has changed since; costs a look at each file."""
        for error in self._read():
            _log.error("keys were not read again; those from before stay: %s", error)

    def problems(self) -> list[str]:
        """What could not be read when it was looked at last."""
        return list(self._problems.values())

    def _read(self) -> list[Exception]:
        with self._reading:
            return [
                *self._if_changed("issuer", [self._folder / FILE], self._read_issuer),
                *self._if_changed("people", _people_files(self._config), self._read_people),
            ]

    def _if_changed(self, name: str, files: list[Path], read: Callable[[], None]) -> list[Exception]:
        """What failed; that is said once, until the files change again."""
        states = [state_of(each) for each in files]
        if self._states.get(name) == states:
            return []
        self._states[name] = states
        try:
            read()
        except (PdpError, BadKeys) as error:
            self._problems[name] = f"{name}: {error}"
            return [error]
        self._problems.pop(name, None)
        return []

    def _read_issuer(self) -> None:
        self.issuer = read_issuer_keys(self._folder)

    def _read_people(self) -> None:
        self.people = read_people(self._config)


def keys_folder(config: Config) -> Path:
    assert config.store.path is not None
    return config.store.keys if config.store.keys is not None else config.store.path.parent / "keys"


def _people_files(config: Config) -> list[Path]:
    return [people.keys for people in config.people.values() if people.keys is not None]


def read_people(config: Config) -> Mapping[str, Issuer]:
    """The issuers of people's tokens, with their keys."""
    found = {}
    for name, people in config.people.items():
        assert people.keys is not None  # the configuration was checked
        try:
            raw = read_regular(people.keys, DOCUMENT_BYTES_MAX + 1)
        except OSError as error:
            raise PdpError("invalid_file", f"`{people.keys}` cannot be read: {error.strerror}") from None
        algorithms = frozenset(people.algorithms)
        roles = frozenset(Role(role.value) for role in people.roles)
        keys = read_key_set(raw, algorithms)
        found[name] = Issuer(name, people.audience, people.type, roles, keys, FOREVER, algorithms, subject=people.subject)
    return MappingProxyType(found)
