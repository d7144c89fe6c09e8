"""How long the list of deployments takes at 1,000 deployments: `python -m benchmarks.list_page`.

Starts a console of its own, writes 1,000 deployments of one organization, signs in and asks for pages one after
another. Prints the median and the 95th percentile of each, in milliseconds.
"""

import logging
import os
import statistics
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx

from tests.e2e.stack import Stack

DEPLOYMENTS, REQUESTS = 1000, 60
STATUSES = ("RUNNING", "RUNNING", "RUNNING", "TERMINATED", "FAILED")


def fill(stack: Stack) -> None:
    """Rows that no pass will touch: `next_due_at` is empty."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "console.settings",
        "DATABASE_URL": stack.run["database_url"],
        "REDIS_URL": stack.run["redis_url"],
        "CONSOLE_SECRET_KEY": "benchmark",
    }
    import django

    django.setup()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from deployments.models import Deployment, Revision

    template = stack.deploy("template")
    stack.reaches("template", "RUNNING")
    original = Deployment.objects.select_related("revision").get(pk=template["id"])
    now = datetime.now(UTC)
    rows, revisions = [], []
    for number in range(DEPLOYMENTS):
        status, at = STATUSES[number % len(STATUSES)], now - timedelta(minutes=number)
        row = Deployment(
            organization_id=original.organization_id, endpoint_id=original.endpoint_id, name=f"team-{number:04}-chat",
            gpu_type_id=original.gpu_type_id, created_by_id=original.created_by_id, created_at=at, updated_at=at,
            status=status, status_since=at, labels={"team": f"t{number % 7}"},
        )  # fmt: skip
        rows.append(row)
        revisions.append(
            Revision(
                id=uuid.uuid4(),
                organization_id=original.organization_id,
                deployment=row,
                number=1,
                spec=original.revision.spec,
                spec_hash=original.revision.spec_hash,
                created_at=at,
            )
        )
    Deployment.objects.bulk_create(rows)
    Revision.objects.bulk_create(revisions)
    for row, revision in zip(rows, revisions, strict=True):
        row.revision = revision
    Deployment.objects.bulk_update(rows, ["revision"], batch_size=250)


def signed_in(stack: Stack) -> httpx.Client:
    client = httpx.Client(base_url=stack.run["console_url"], follow_redirects=True, timeout=60)
    page = client.get("/accounts/login/")
    token = page.text.split('name="csrfmiddlewaretoken" value="', 1)[1].split('"', 1)[0]
    person = stack.run["demo"]["member"]
    form = {"login": person["email"], "password": person["password"], "csrfmiddlewaretoken": token}
    client.post("/accounts/login/", data=form, headers={"Referer": str(page.url)}).raise_for_status()
    return client


def measure(name: str, ask: Callable[[], httpx.Response]) -> None:
    ask().raise_for_status()
    seconds = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        size = len(ask().raise_for_status().content)
        seconds.append(time.perf_counter() - began)
    p95 = statistics.quantiles(seconds, n=20)[-1]
    print(f"{name:<32} {statistics.median(seconds) * 1000:8.1f} ms  p95 {p95 * 1000:8.1f} ms  {size:9,} bytes")


def main() -> None:
    stack = Stack()
    try:
        stack.start()
        fill(stack)
        client = signed_in(stack)
        key = {"Authorization": f"Bearer {stack.run['demo']['api_keys']['read']}"}
        print(f"{DEPLOYMENTS:,} deployments, {REQUESTS} requests one after another")
        measure("page /deployments/", lambda: client.get("/deployments/"))
        measure("page, searched", lambda: client.get("/deployments/?q=team-09"))
        measure("page, running only", lambda: client.get("/deployments/?status=running"))
        measure("API, 50 of 1,000", lambda: client.get("/api/v1/deployments", headers=key))
        measure("API, 200 of 1,000", lambda: client.get("/api/v1/deployments?limit=200", headers=key))
    finally:
        stack.remove()


if __name__ == "__main__":
    main()
