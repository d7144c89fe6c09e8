"""`python -m benchmarks.gateway.profiled_gateway FILE`: the gateway, under cProfile between SIGUSR1 and SIGUSR2.

SIGUSR2 writes the profile to FILE.
"""

from __future__ import annotations

import cProfile
import os
import runpy
import signal
import sys


def main() -> None:
    path, profiler = sys.argv.pop(1), cProfile.Profile()

    def start(*_: object) -> None:
        profiler.enable()

    def write(*_: object) -> None:
        profiler.disable()
        profiler.dump_stats(f"{path}.draft")
        os.replace(f"{path}.draft", path)

    signal.signal(signal.SIGUSR1, start)
    signal.signal(signal.SIGUSR2, write)
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
