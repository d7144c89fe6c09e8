"""`python -m benchmarks.gateway.profiled_gateway FILE`: the gateway, sampled between SIGUSR1 and SIGUSR2.

A timer of CPU time, which other programs do not disturb, interrupts it; each time the stack is noted. Nothing is
instrumented, so that the shares are those of the gateway as it runs. SIGUSR2 writes the samples to FILE as JSON: a list
of [number of samples, line within the innermost function, [[file, first line, name] of each frame, innermost first]].
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from collections import Counter
from types import FrameType

INTERVAL_SECONDS = 0.001  # the kernel rounds it up to its own tick
Stack = tuple[tuple[str, int, str], ...]


def main() -> None:
    path = sys.argv.pop(1)
    samples: Counter[tuple[Stack, int]] = Counter()

    def sample(_: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        line: int | None = frame.f_lineno  # None where the interpreter is between two lines
        stack = []
        while frame:
            code = frame.f_code
            stack.append((code.co_filename, code.co_firstlineno, code.co_qualname))
            frame = frame.f_back
        samples[tuple(stack), line or 0] += 1

    def start(*_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def write(*_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        rows = [[count, line, stack] for (stack, line), count in samples.items()]
        with open(f"{path}.draft", "w") as file:
            json.dump(rows, file)
        os.replace(f"{path}.draft", path)

    for number, handler in ((signal.SIGPROF, sample), (signal.SIGUSR1, start), (signal.SIGUSR2, write)):
        signal.signal(number, handler)
        signal.siginterrupt(number, False)
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
