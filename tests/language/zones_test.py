"""Where time zones come from (finding D8): the package `tzdata` alone, of whatever version; the generation says which."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import tzdata

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(tzdata.__file__).parent
ASKS = """
import json
from language import Compiler, Source
from language.windows import CalendarWindow, tzdata_version, zone_names
text = '''language 1
entity User
entity Doc
action read on Doc
allow a { for User do read on Doc when now within 09:00..17:00 "Europe/Berlin" }
'''
window = CalendarWindow(0, 6, 9 * 60, 17 * 60, "Europe/Berlin")
bundle = Compiler().compile([Source("a.policy", text)])
print(json.dumps([window.life(1_767_225_600_000_000), tzdata_version(), bundle.digest, len(zone_names())]))
"""


def asked(**environment: str) -> list[Any]:
    """What a fresh process says of a window, of the version, of the policy set and of how many zones there are."""
    path = os.pathsep.join([*filter(None, [environment.pop("PACKAGES", "")]), str(ROOT)])
    ran = subprocess.run(
        [sys.executable, "-c", ASKS],
        env={**os.environ, **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[Any] = json.loads(ran.stdout)
    return found


def with_berlin_in_samoa(zones: Path) -> None:
    berlin = zones / "Europe" / "Berlin"
    berlin.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PACKAGE / "zoneinfo" / "Pacific" / "Apia", berlin)


def test_the_zones_of_the_machine_change_nothing(tmp_path: Path) -> None:
    with_berlin_in_samoa(tmp_path)
    assert asked(PYTHONTZPATH=str(tmp_path)) == asked(PYTHONTZPATH="") == asked(TZ="Pacific/Apia", TZDIR=str(tmp_path))


def test_the_generation_says_of_which_version_the_zones_are(tmp_path: Path) -> None:
    """The version was that of the package's metadata, which need not be those of the zones that are read."""
    life, version, generation, zones = asked()
    assert version == tzdata.__version__
    shutil.copytree(PACKAGE, tmp_path / "tzdata")
    with_berlin_in_samoa(tmp_path / "tzdata" / "zoneinfo")
    (tmp_path / "tzdata" / "__init__.py").write_text('__version__ = "2099.1"\n')
    other_life, other_version, other_generation, other_zones = asked(PACKAGES=str(tmp_path))
    assert (other_version, other_zones) == ("2099.1", zones)
    assert other_life != life
    assert other_generation != generation


def test_zones_of_next_year_can_be_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = [d for d in project["dependencies"] if d.startswith("tzdata")]
    assert wanted == "tzdata>=2026.1"
