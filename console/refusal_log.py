"""The log of refused requests: a refusal is an answer, not a defect, so it is one line without a traceback."""

from __future__ import annotations

import logging

INTERNAL_ERROR = 500


class WithoutTraceback(logging.Filter):
    """Drops the traceback that Django adds to responses below 500, such as 403 for PermissionDenied."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "status_code", INTERNAL_ERROR) < INTERNAL_ERROR:
            record.exc_info = record.exc_text = None
        return True
