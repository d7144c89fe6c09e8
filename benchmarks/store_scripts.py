"""Valkey's own time for `admit` and `settle`, by its command statistics, with 1 and with 64 replicas, and with
six limits.

    python -m benchmarks.store_scripts [--requests 20000]

One gateway's slot store against an embedded Valkey; 64 requests are open at any time.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import uuid
from collections import deque
from pathlib import Path

import uvloop

from console.machine import embedded_servers, process_spec
from gateway import contract
from gateway.contract import Admitted, ReplicaRecord
from gateway.rate_limits import NO_RESERVATION, Limit, Reservation
from gateway.settlement_spool import SettlementSpool
from gateway.settlements import Settlements
from gateway.slots import Admission, Slot, SlotStore
from gateway.store import scripts
from gateway.store.client import StoreClient
from gateway.usage_metering import COMPLETED, TokenCounts, build_usage_event

OPEN = 64


async def measure(url: str, folder: Path, replicas: int, requests: int, *, has_limits: bool = False) -> None:
    client = StoreClient(url, scripts=scripts.ALL)
    client.start()
    await client.execute("FLUSHALL")
    slots = SlotStore(client, "bench", asyncio.get_running_loop().time)
    settlements = Settlements(slots, SettlementSpool(folder, "bench"))
    await slots.heartbeat()
    deployment = str(uuid.uuid4())
    for number in range(replicas):
        record = ReplicaRecord(str(uuid.uuid4()), f"10.0.0.{number}:8000", 256)
        await client.execute("HSET", contract.replicas_key(deployment), record.replica_id, record.to_text())
    template = Admitted("", 0.0, "bench", *(str(uuid.uuid4()) for _ in range(2)), deployment, "", str(uuid.uuid4()),
                        str(uuid.uuid4()), "llama-3-8b", True, 120)  # fmt: skip
    limits = [
        Limit(deployment, level, unit, 10**9, contract.counter_key(deployment, level, "o", "subject", unit))
        for unit in contract.UNITS
        for level in contract.LEVELS
    ]
    reservation = Reservation(limits, 184) if has_limits else NO_RESERVATION
    await client.execute("CONFIG", "RESETSTAT")
    done, opened = 0, deque[Admitted]()
    while done < requests:
        granted = await asyncio.gather(*(slots.wait_for_admit(Admission(template, reservation)) for _ in range(OPEN)))
        opened.extend(slot.admitted for slot in granted if isinstance(slot, Slot))
        assert len(opened) == OPEN
        while opened:
            admitted = opened.popleft()
            event = build_usage_event(
                admitted, TokenCounts(120, 0, 64, False), outcome=COMPLETED, status=200, seconds=1.5
            )
            settlements.settle(admitted, event)
        await settlements.wait_for_pending()
        done += OPEN
    for line in (await client.execute("INFO", "commandstats")).split():
        if line.startswith("cmdstat_evalsha"):
            calls, microseconds = (int(part.partition("=")[2]) for part in line.partition(":")[2].split(",")[:2])
            assert calls == 2 * done
            name = f"{replicas:3} replicas, {len(reservation.limits)} limits"
            print(f"{name}   {microseconds / done:6.1f} µs of Valkey per admit and settle")
    await client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory(prefix="store-benchmark-") as name:
        folder, port = Path(name), embedded_servers.find_free_port()
        server = embedded_servers.prepare_valkey(folder / "valkey", port, "bench")
        process = process_spec.start_process(server)
        try:
            url = embedded_servers.build_redis_url(port, "bench")
            for replicas, has_limits in ((1, False), (64, False), (64, True)):
                uvloop.run(measure(url, folder, replicas, requests, has_limits=has_limits))
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
