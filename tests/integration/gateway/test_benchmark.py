"""`make bench-gateway` publishes, asks and answers what the gateway understands."""

import asyncio
from urllib.parse import urlsplit

import redis

from benchmarks.gateway.load import Target, run_closed_loop, run_paced, run_streams
from benchmarks.gateway.replica import Replica
from benchmarks.gateway.servers import KEY, publish
from tests.integration.gateway.conftest import World


async def test_the_gateway_answers_every_request_of_the_benchmark(world: World):
    replica = await asyncio.get_running_loop().create_server(Replica, "127.0.0.1", 0)
    publish(redis.Redis.from_url(world.redis_url), {"bench-1": [replica.sockets[0].getsockname()[1]]})
    target = Target(urlsplit(await world.gateway()).port or 0, "bench-1", KEY)

    requests = await run_closed_loop(target, 2, 0.2, lambda: None)
    paced = await run_paced(target, 2, 50, 0.2, lambda: None)
    streams = await run_streams(target, 2, 3, 0.01, 0.2, lambda: None)

    assert [window.failed for window in (requests, paced, streams)] == [0, 0, 0]
    assert requests.responses > 2
    assert len(paced.latencies) >= 5
    assert streams.chunks > 6
    replica.close()
