"""A worker that has the fault that a file in the folder of the run names, once; then it is the counting one."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pdp.server.worker import main
from tests.pdp.server.counting_worker import make

if __name__ == "__main__":
    fault = Path(sys.argv[2]) / f"fault-{sys.argv[1]}"
    if fault.exists():
        said = fault.read_text()
        fault.unlink()
        if said == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif said == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif said != "wait":
            print(said, flush=True)
        signal.pause()
    raise SystemExit(main(sys.argv[1:], make))
