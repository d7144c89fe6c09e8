"""How long the lists of deployments take: `python -m benchmarks.list_page`.

Starts a console of its own, writes deployments of one organization, and asks for the pages and the API's list from
CALLERS callers at a time, at each number of deployments in TABLE_SIZES. Prints the median and the 95th percentile in
milliseconds, and the number of queries.
"""

import logging
import os
import statistics
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.e2e.stack import Stack

TABLE_SIZES = (302, 10_000)
CALLERS, REQUESTS, WARM_UP = 4, 40, 5  # the latter two for each caller
STATUSES = ("RUNNING", "RUNNING", "RUNNING", "TERMINATED", "FAILED")
ADDRESSES = {
    "page": "/deployments/",
    "page, running only": "/deployments/?status=running",
    "page, searched": "/deployments/?q=team-02",
    "API, 50": "/api/v1/deployments",
    "API, 200": "/api/v1/deployments?limit=200",
}


def set_up_django(run: Mapping[str, Any]) -> None:
    """Connect this process to the database of the console."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "console.settings",
        "DATABASE_URL": run["database_url"],
        "REDIS_URL": run["redis_url"],
        "CONSOLE_SECRET_KEY": "benchmark",
    }
    import django

    django.setup()
    logging.getLogger("httpx").setLevel(logging.WARNING)


def fill(template_id: str, size: int) -> None:
    """Add copies of a deployment until its organization has `size`. They have no work item, so no pass touches them."""
    from deployments.models import Deployment, Revision

    original = Deployment.objects.select_related("revision").get(pk=template_id)
    now = datetime.now(UTC)
    rows, revisions = [], []
    for number in range(Deployment.objects.filter(organization=original.organization, deleted_at=None).count(), size):
        status, at = STATUSES[number % len(STATUSES)], now - timedelta(minutes=number)
        row = Deployment(
            organization_id=original.organization_id, endpoint_id=original.endpoint_id, name=f"team-{number:05}-chat",
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
    Deployment.objects.bulk_create(rows, batch_size=1000)
    Revision.objects.bulk_create(revisions, batch_size=1000)
    for row, revision in zip(rows, revisions, strict=True):
        row.revision = revision
    Deployment.objects.bulk_update(rows, ["revision"], batch_size=500)


def make_client(run: Mapping[str, Any]) -> httpx.Client:
    """Signed in, and with a key for the API."""
    key = {"Authorization": f"Bearer {run['demo']['api_keys']['read']}"}
    client = httpx.Client(base_url=run["console_url"], follow_redirects=True, timeout=60, headers=key)
    page = client.get("/accounts/login/")
    token = page.text.split('name="csrfmiddlewaretoken" value="', 1)[1].split('"', 1)[0]
    person = run["demo"]["member"]
    form = {"login": person["email"], "password": person["password"], "csrfmiddlewaretoken": token}
    client.post("/accounts/login/", data=form, headers={"Referer": str(page.url)}).raise_for_status()
    return client


def measure(clients: list[httpx.Client], address: str, requests: int = REQUESTS) -> list[float]:
    """Seconds of each request; every client sends its own one after another, all clients at the same time."""

    def call(client: httpx.Client) -> list[float]:
        seconds = []
        for _ in range(requests):
            began = time.perf_counter()
            client.get(address).raise_for_status()
            seconds.append(time.perf_counter() - began)
        return seconds

    with ThreadPoolExecutor(len(clients)) as threads:
        return [seconds for each in threads.map(call, clients) for seconds in each]


def count_queries(ask: Callable[[], Any]) -> int:
    """Queries of a request that is handled in this process."""
    from django.db import connection

    count = 0

    def see(execute: Any, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        return execute(*arguments)

    with connection.execute_wrapper(see):
        ask()
    return count


def main() -> None:
    stack = Stack()
    try:
        stack.start()
        set_up_django(stack.run)
        template = stack.deploy("template")
        stack.reaches("template", "RUNNING")
        from django.test import Client

        from accounts.models import User

        clients = [make_client(stack.run) for _ in range(CALLERS)]
        inside = Client(SERVER_NAME="127.0.0.1", headers=dict(clients[0].headers))
        user = User.objects.get(email=stack.run["demo"]["member"]["email"])
        inside.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        print(f"{CALLERS} callers at a time, {CALLERS * REQUESTS} requests; load {os.getloadavg()[0]:.1f}")
        for size in TABLE_SIZES:
            fill(template["id"], size)
            for name, address in ADDRESSES.items():
                measure(clients, address, WARM_UP)
                seconds = measure(clients, address)
                p95 = statistics.quantiles(seconds, n=20)[-1]
                queries = count_queries(lambda address=address: inside.get(address))
                print(
                    f"{size:7,} deployments  {name:<20} p50 {statistics.median(seconds) * 1000:7.1f} ms  "
                    f"p95 {p95 * 1000:7.1f} ms  {queries:3} queries"
                )
    finally:
        stack.remove()


if __name__ == "__main__":
    main()
