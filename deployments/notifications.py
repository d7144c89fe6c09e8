"""Notifies open pages, through the channel layer, that deployments changed. Pages read again what they may show."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import redis
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from deployments.models import Deployment

log = logging.getLogger(__name__)


def notify_pages(deployments: Iterable[Deployment]) -> None:
    """Send one message per deployment to its own group, its organization's and the operators'."""
    messages = [
        (
            group,
            {"type": "deployment.changed", "deployment_id": str(row.pk), "organization_id": str(row.organization_id)},
        )
        for row in deployments
        for group in (f"deployment.{row.pk}", f"organization.{row.organization_id}", "operators")
    ]
    if not messages:
        return
    try:
        async_to_sync(_send)(messages)
    except (redis.RedisError, OSError) as error:
        log.warning("Open pages not notified of a change: %s", error)


async def _send(messages: list[tuple[str, dict[str, str]]]) -> None:
    layer = get_channel_layer()
    for group, message in messages:
        await layer.group_send(group, message)
