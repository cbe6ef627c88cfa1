"""What the configuration of a server was made from, so that it can be made again; also in another process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdp.server.config.load import load_config
from pdp.server.config.read import read_config
from pdp.server.config.sections import Config
from pdp.server.config.show import show_config


@dataclass(frozen=True, slots=True)
class Origin:
    """`started` is what it said when the server started. What needs a restart is compared with that, since what is in force
    has a port in place of 0, and a folder of this run where none was named."""

    started: Config
    file: Path | None
    environment: Mapping[str, str]
    policies: Path | None = None
    listen: str | None = None
    workers: int | None = None

    @classmethod
    def load(
        cls,
        file: Path | None,
        environment: Mapping[str, str],
        *,
        policies: Path | None = None,
        listen: str | None = None,
        workers: int | None = None,
    ) -> Origin:
        """PdpError where it must not be run. Paths are made absolute: the same files are meant later, and elsewhere."""
        file = None if file is None else file.absolute()
        policies = None if policies is None else policies.absolute()
        ours = {name: value for name, value in environment.items() if name.startswith("PDP_")}
        started = load_config(file, ours, policies=policies, listen=listen, workers=workers)
        return cls(started, file, ours, policies, listen, workers)

    def load_again(self) -> Config:
        """What it says now."""
        return load_config(self.file, self.environment, policies=self.policies, listen=self.listen, workers=self.workers)

    def as_json(self) -> dict[str, Any]:
        return {
            "started": json.loads(show_config(self.started)),
            "file": None if self.file is None else str(self.file),
            "environment": dict(self.environment),
            "policies": None if self.policies is None else str(self.policies),
            "listen": self.listen,
            "workers": self.workers,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Origin:
        file, policies = (None if told[name] is None else Path(told[name]) for name in ("file", "policies"))
        started = read_config(told["started"], Path("/"))
        return cls(started, file, told["environment"], policies, told["listen"], told["workers"])
