"""What a reconcile pass over idle deployments writes: `python -m benchmarks.idle_pass [--deployments 1000]`.

Starts a PostgreSQL (durable, as `manage.py up` starts it) and a Valkey of its own, runs the deployments on a cluster in
memory until nothing changes, half of them with a fixed number of replicas and half with a range whose load the gateways
report. Then it prints, per pass over all of them, the rows written by table, how many of these updates stayed on their
page without writing an index (HOT), and the bytes of WAL; the first pass after a checkpoint also writes full pages.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from console.machine import embedded_servers, process_spec

SECONDS_BETWEEN, PASSES = 6, 5
TABLES = """
SELECT relname, n_tup_ins, n_tup_upd, n_tup_del, n_tup_hot_upd FROM pg_stat_user_tables
"""


def start_servers(stack: ExitStack) -> None:
    """Sets the environment for Django's settings."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="console-benchmark-")))
    folder.chmod(0o755)
    ports = [embedded_servers.find_free_port() for _ in range(2)]
    password = embedded_servers.generate_password()
    postgresql = embedded_servers.prepare_postgresql(folder / "postgresql", ports[0], password)
    valkey = embedded_servers.prepare_valkey(folder / "valkey", ports[1], password, durable=False)
    for server in (postgresql, valkey):
        process = process_spec.start_process(server)
        stack.callback(_stop, process)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "console.settings",
        "DATABASE_URL": embedded_servers.build_postgres_url(ports[0], password=password),
        "REDIS_URL": embedded_servers.build_redis_url(ports[1], password),
        "CONSOLE_SECRET_KEY": "benchmark",
        "CONSOLE_DATA_DIR": str(folder / "data"),
    }


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    process.wait()


class Console:
    """A console in this process; its clock moves between passes, all its GPUs are in memory."""

    def __init__(self, deployments: int) -> None:
        from accounts import services as accounts
        from deployments import queries, services
        from deployments.config.build_spec import parse
        from deployments.drivers.memory import MemoryDriver
        from deployments.models import Cluster, ClusterGpu, Endpoint

        self.now, self.deployments = datetime.now(UTC), deployments
        services.load_reference_data()
        cluster = Cluster.objects.create(name="memory", driver=Cluster.Driver.MEMORY, simulated=True)
        ClusterGpu.objects.create(cluster=cluster, gpu_type_id="a10g-24gb", count=4 * deployments)
        Endpoint.objects.create(name="default", base_url="http://127.0.0.1:1/v1", cluster=cluster)
        self._driver = MemoryDriver({"a10g-24gb": 4 * deployments}, lambda: self.now)
        organization = accounts.create_organization(slug="bench", name="Bench")
        options = queries.spec_options()
        model = min(options.models.values(), key=lambda model: model.weight_bytes).id
        ranges: tuple[dict[str, Any], ...] = (
            {"enabled": False, "replicas": 1}, {"enabled": True, "min_replicas": 1, "max_replicas": 2}
        )  # fmt: skip
        for number in range(deployments):
            body = {
                "name": f"d{number}",
                "model": {"source": "catalog", "id": model},
                "gpu": {"type": "a10g-24gb", "count": 1},
                "autoscaling": ranges[number % 2],
            }
            spec = parse(body, options)
            services.create_deployment(organization=organization, spec=spec, body=body, by=None, now=self.now)

    def settle(self) -> None:
        """Until all of them run and nothing changes any more, not even what the autoscaler remembers."""
        from deployments.models import Deployment

        for _ in range(60):
            self.pass_over_all(5)
            if Deployment.objects.filter(status="RUNNING").count() == self.deployments:
                break
        for _ in range(10):
            self.pass_over_all(40)

    def pass_over_all(self, seconds: float = SECONDS_BETWEEN) -> None:
        from accounts.redis_client import redis_client
        from deployments.reconciler import reconcile_pass
        from gateway import contract

        self.now += timedelta(seconds=seconds)
        redis_client().set(contract.EPOCH, "benchmark")
        redis_client().zadd(contract.GATEWAYS, {"g1": time.time()})
        while reconcile_pass.reconcile(self.now, lambda _: self._driver):
            pass


def count_writes(act: Callable[[], None]) -> tuple[Counter[tuple[str, str]], int, float]:
    """Rows by (table, kind), bytes of WAL, seconds."""
    rows, wal = _read_rows(), _read_wal()
    began = time.perf_counter()
    act()
    seconds = time.perf_counter() - began
    after = _read_rows()
    after.subtract(rows)
    return after, _read_wal() - wal, seconds


def _read_rows() -> Counter[tuple[str, str]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(TABLES)
        kinds = ("inserted", "updated", "deleted", "of them HOT")
        return Counter(
            {(row[0], kind): count for row in cursor.fetchall() for kind, count in zip(kinds, row[1:], strict=True)}
        )


def _read_wal() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        return int(cursor.fetchone()[0])


def report(deployments: int) -> None:
    from django.db import connection

    console = Console(deployments)
    console.settle()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")
        cursor.execute("CHECKPOINT")
    _, first_wal, _ = count_writes(console.pass_over_all)
    passes = [count_writes(console.pass_over_all) for _ in range(PASSES)]
    total: Counter[tuple[str, str]] = Counter()
    for rows, _, _ in passes:
        total.update(rows)
    print(f"One pass over {deployments:,} idle deployments writes")
    for (table, kind), count in sorted(total.items()):
        if count:
            print(f"  {table:<32} {count / PASSES:10,.0f} rows {kind}")
    wal = statistics.median(wal for _, wal, _ in passes)
    print(f"  WAL {wal:,.0f} bytes, {wal / deployments:,.0f} per deployment; {first_wal:,} right after a checkpoint")
    print(f"  in {statistics.median(seconds for _, _, seconds in passes):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--deployments", type=int, default=1000)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        start_servers(stack)
        import django

        django.setup()
        logging.disable(logging.WARNING)
        from django.core.management import call_command
        from django.db import connection

        call_command("migrate", verbosity=0)
        stack.callback(connection.close)
        report(arguments.deployments)


if __name__ == "__main__":
    main()
