"""The simulator's download step: linear progress, printed as JSON lines `{"done": bytes, "total": bytes}`."""

from __future__ import annotations

import json
import sys
import time

REPORTS_PER_SECOND = 5
FAILS_AT = 0.4


def download(total: int, seconds: float, *, fail: bool) -> int:
    """Returns the exit code. With `fail` it fails at the share FAILS_AT."""
    reports = max(1, round(seconds * REPORTS_PER_SECOND))
    _print_progress(0, total)
    for report in range(1, reports + 1):
        time.sleep(seconds / reports)
        if fail and report / reports >= FAILS_AT:
            print("OSError: Connection broken while fetching model weights (simulated).", file=sys.stderr)  # noqa: T201
            return 1
        _print_progress(total * report // reports, total)
    return 0


def _print_progress(done: int, total: int) -> None:
    print(json.dumps({"done": done, "total": total}), flush=True)  # noqa: T201
