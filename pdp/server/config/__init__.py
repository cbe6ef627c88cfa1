"""The configuration of a decision point: one typed file. Start with `sections.py`, which is all that can be said."""

from __future__ import annotations

from pdp.server.config.addresses import Tcp, Unix, parse_address
from pdp.server.config.change import refuse_restart, reloaded_settings, with_reloaded
from pdp.server.config.load import load_config
from pdp.server.config.origin import Origin
from pdp.server.config.problems import BadConfig, Problem
from pdp.server.config.read import read_config
from pdp.server.config.sections import Config, Domain, Limits, Listener, Pep, Service, Telemetry
from pdp.server.config.show import show_config
from pdp.server.config.unsafe import UNSAFE, find_unsafe, refuse_unsafe, uids_without_socket

__all__ = [
    "UNSAFE",
    "BadConfig",
    "Config",
    "Domain",
    "Limits",
    "Listener",
    "Origin",
    "Pep",
    "Problem",
    "Service",
    "Tcp",
    "Telemetry",
    "Unix",
    "find_unsafe",
    "load_config",
    "parse_address",
    "read_config",
    "refuse_restart",
    "refuse_unsafe",
    "reloaded_settings",
    "show_config",
    "uids_without_socket",
    "with_reloaded",
]
