"""Reading and following the log of a replica, or of all replicas of a deployment. A follower reads once a second in a
small pool of threads; between two reads it holds none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from uuid import UUID

from console.streaming.thread_pools import Threads
from deployments.drivers.base import DriverError
from deployments.logs.line_query import Line, LogQuery
from deployments.logs.log_reader import Follower, read_deployment, read_replica
from deployments.models import Deployment, Replica

THREADS = Threads("logs", 4)
POLL_SECONDS = 1.0
RECHECK_POLLS = 5


@dataclass(frozen=True)
class Tail:
    """Lines, oldest first; `trouble` is why they cannot be read now, for people; empty without trouble."""

    lines: list[Line] = field(default_factory=list)
    trouble: str = ""


@dataclass(frozen=True)
class Subject:
    """Whose log: one replica's, or with `replica` None the whole deployment's."""

    deployment: Deployment
    replica: Replica | None = None

    @property
    def replica_id(self) -> UUID | None:
        return self.replica.pk if self.replica else None


def read(subject: Subject, wanted: LogQuery) -> Tail:
    try:
        if subject.replica:
            return Tail(read_replica(subject.replica, wanted))
        return Tail(read_deployment(subject.deployment, wanted))
    except DriverError as error:
        return Tail(trouble=f"The log cannot be read now: {error} Try again in a moment.")


async def follow(allowed: Callable[[], Subject | None], wanted: LogQuery) -> AsyncIterator[Tail]:
    """The last lines at once, then every second what was added, which may be nothing, until the log has ended or
    `allowed`, asked every five seconds, gives None."""
    follower: Follower | None = None
    polls = 0
    while True:
        if polls % RECHECK_POLLS == 0:
            subject = await THREADS.run(allowed)
            if subject is None:
                return
            follower = follower or Follower(subject.deployment, subject.replica_id, wanted)
        assert follower
        yield await THREADS.run(_read_new, follower)
        if follower.is_finished:
            return
        polls += 1
        await asyncio.sleep(POLL_SECONDS)


def _read_new(follower: Follower) -> Tail:
    try:
        return Tail(follower.poll())
    except DriverError as error:
        return Tail(trouble=f"The log cannot be read now: {error} Retrying every second.")
