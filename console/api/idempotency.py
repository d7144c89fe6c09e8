"""`Idempotency-Key`: the same request again, within IDEMPOTENCY_RECORD_DAYS, gets the first answer and does nothing.

A key belongs to one person, organization and address. Duplicates that come at the same time wait for each other, so
one of them acts. Only successes are kept (a refused request changed nothing and may be tried again), encrypted,
because the answer to a new API key holds its secret.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Annotated, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import connection, transaction
from django.http import HttpResponse, JsonResponse
from ninja import Status
from ninja.params import functions
from ninja.utils import contribute_operation_args

from console.api import json_body
from console.api.auth import ApiRequest
from console.api.field_types import Matching
from console.api.problems import Problem, raises
from console.models import IdempotencyRecord

BATCH_SIZE, MAX_BATCHES = 500, 100
HEADER = "Idempotency-Key"
KEY = Annotated[str, Matching("[!-~]{1,255}", "Send 1 to 255 visible ASCII characters, for example a UUID.")]
ABOUT = "A unique value. A repeated request with the same value returns the first response without being executed."

Handler = Callable[..., Status[Any]]


def idempotent(handler: Handler) -> Callable[..., Status[Any] | HttpResponse]:
    """For a handler that takes `response`, for its headers, and returns a `Status` with a pydantic model."""

    @wraps(handler)
    def once(
        request: ApiRequest, response: HttpResponse, idempotency_key: str | None, **values: Any
    ) -> Status[Any] | HttpResponse:
        if idempotency_key is None:
            return handler(request, response=response, **values)
        return _once(request, response, idempotency_key, lambda: handler(request, response=response, **values))

    header = functions.Header(None, alias=HEADER, description=ABOUT)
    contribute_operation_args(once, "idempotency_key", KEY | None, header)  # type: ignore[arg-type]
    return raises("idempotency-key-reused")(once)


@transaction.atomic
def _once(
    request: ApiRequest, response: HttpResponse, key: str, perform: Callable[[], Status[Any]]
) -> Status[Any] | HttpResponse:
    caller, now = request.auth, request.now
    scope = _digest([str(caller.user.pk), str(caller.organization.pk), request.path, key])
    request_hash = _digest(json_body.read(request) if request.body else {})
    _wait_for_duplicates(scope)
    record = IdempotencyRecord.objects.filter(pk=scope, created_at__gt=now - _retention()).first()
    if record is not None and (kept := _open(record)):
        if record.request_hash != request_hash:
            raise Problem("idempotency-key-reused", "This Idempotency-Key was used with another request.")
        headers = kept["headers"] | {"Idempotency-Replayed": "true"}
        return JsonResponse(kept["data"], status=kept["status"], headers=headers)
    result = perform()
    answer = {
        "status": result.status_code,
        "data": result.value.model_dump(mode="json"),
        "headers": {name: value for name, value in response.items() if name != "Content-Type"},
    }
    IdempotencyRecord.objects.update_or_create(
        scope=scope,
        defaults={
            "organization": caller.organization,
            "request_hash": request_hash,
            "answer": _cipher().encrypt(json.dumps(answer).encode()),
            "created_at": now,
        },
    )
    return result


def delete_old_records(now: datetime) -> int:
    """Delete records past their retention, in batches of BATCH_SIZE, at most MAX_BATCHES of them; returns how many."""
    old, deleted = IdempotencyRecord.objects.filter(created_at__lte=now - _retention()), 0
    for _ in range(MAX_BATCHES):
        count, _ = IdempotencyRecord.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:BATCH_SIZE])).delete()
        deleted += count
        if count < BATCH_SIZE:
            break
    return deleted


def _retention() -> timedelta:
    return timedelta(days=settings.IDEMPOTENCY_RECORD_DAYS)


def _open(record: IdempotencyRecord) -> dict[str, Any] | None:
    """None for what was sealed under a key that is no longer known."""
    try:
        answer: dict[str, Any] = json.loads(_cipher().decrypt(bytes(record.answer)))
    except InvalidToken:
        return None
    return answer


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
