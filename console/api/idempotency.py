"""`Idempotency-Key`: the same request again, within 24 hours, gets the first answer and does nothing.

A key belongs to one person, organization and address. Duplicates that come at the same time wait for each other, so
one of them acts. Only successes are kept (a refused request changed nothing and may be tried again), encrypted,
because the answer to a new API key holds its secret.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import connection, transaction

from console.api import problems
from console.api.auth import Caller
from console.api.operations import Answer
from console.models import IdempotencyRecord
from deployments.fields import FieldError

KEPT = timedelta(hours=24)
HEADER = "Idempotency-Key"
PATTERN = "[!-~]{1,255}"


def key_of(header: str | None) -> str | None:
    """The header's value. Raises a 422 where it cannot be one."""
    if header is None or re.fullmatch(PATTERN, header):
        return header
    message = "Send 1 to 255 visible ASCII characters, for example a UUID."
    raise problems.invalid([FieldError(HEADER, "invalid_header", message)])


@transaction.atomic
def once(
    perform: Callable[[], Answer], *, caller: Caller, address: str, key: str, body: Any, now: datetime
) -> tuple[Answer, bool]:
    """The answer of `perform`, or the one that the same request got before; and whether it was replayed."""
    scope = _digest([str(caller.user.pk), str(caller.organization.pk), address, key])
    asked = _digest(body)
    _wait_for_duplicates(scope)
    IdempotencyRecord.objects.filter(organization=caller.organization, created_at__lte=now - KEPT).delete()
    record = IdempotencyRecord.objects.filter(pk=scope).first()
    if record is not None and (kept := _kept(record)):
        if record.request_hash != asked:
            detail = "This Idempotency-Key was sent with another body before."
            raise problems.Problem("idempotency-key-reused", detail)
        return kept, True
    answer = perform()
    sealed = _cipher().encrypt(json.dumps(asdict(answer)).encode())
    IdempotencyRecord.objects.update_or_create(
        scope=scope,
        defaults={
            "organization": caller.organization,
            "request_hash": asked,
            "answer": sealed,
            "created_at": now,
        },
    )
    return answer, False


def _kept(record: IdempotencyRecord) -> Answer | None:
    """None for what was sealed under a key that is no longer known."""
    try:
        return Answer(**json.loads(_cipher().decrypt(bytes(record.answer))))
    except InvalidToken:
        return None


def _wait_for_duplicates(scope: str) -> None:
    """Until this transaction ends, whoever comes with the same scope waits here."""
    with connection.cursor() as cursor:
        number = int.from_bytes(bytes.fromhex(scope[:16]), signed=True)
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])


def _cipher() -> MultiFernet:
    """Encrypts under the newest key, reads under all; the keys' own form does not matter."""
    secrets = [*filter(None, settings.ENVIRONMENT.encryption_keys.split(",")), settings.SECRET_KEY]
    keys = (hashlib.sha256(f"idempotency:{secret}".encode()).digest() for secret in secrets)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
