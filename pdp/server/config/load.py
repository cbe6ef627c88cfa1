"""The effective configuration: a file, with the environment and the command line over it, refused when it is unsafe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pdp.errors import PdpError
from pdp.server.config.environment import overlay
from pdp.server.config.read import read_config
from pdp.server.config.sections import Config, Development, Listener
from pdp.server.config.unsafe import refuse_unsafe
from pdp.store.regular_file import read_regular
from pdp.store.strict_data import BadData, read_json, read_yaml

FILE_BYTES_MAX = 1 << 20


def load_config(
    file: Path | None,
    environment: Mapping[str, str],
    *,
    policies: Path | None = None,
    listen: str | None = None,
    workers: int | None = None,
) -> Config:
    """What to run. Without a file: loopback only, with development identities. PdpError where it must not be run."""
    document = {} if file is None else _document(file)
    config = read_config(overlay(document, environment), Path.cwd() if file is None else file.absolute().parent)
    if file is None and config.tls.certificate is None and config.tls.workload_api is None:
        config = replace(config, development=_enabled(config.development))
    if policies is not None:
        config = replace(config, policies=replace(config.policies, path=policies.absolute()))
    if listen is not None:
        config = replace(config, listen=(replace(config.listen[0] if config.listen else Listener(), address=listen),))
    if workers is not None:
        config = replace(config, workers=workers)
    refuse_unsafe(config)
    return config


def _enabled(development: Development) -> Development:
    return replace(development, enabled=True)


def _document(file: Path) -> Any:
    try:
        raw = read_regular(file, FILE_BYTES_MAX + 1)
    except OSError as error:
        raise PdpError("invalid_file", f"`{file}` cannot be read: {error.strerror}") from None
    try:
        text = raw.decode("utf-8") if len(raw) <= FILE_BYTES_MAX else None
        if text is None:
            raise BadData("larger than 1 MiB")
        return read_json(text) if file.suffix == ".json" else read_yaml(text)
    except UnicodeDecodeError:
        problem = "not UTF-8"
    except BadData as error:
        problem = f"{error}" if error.line is None else f"line {error.line}: {error}"
    except ImportError:
        problem = "YAML needs the extra `yaml`; JSON does not"
    raise PdpError("invalid_file", f"`{file}`: {problem}")
