"""The published routes, all of them in memory: by organization and name, and by deployment id. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from gateway.contract import RouteRecord
from gateway.rate_limits import drop_invalid_limits

log = logging.getLogger(__name__)


class RouteTable:
    """`routes` by (organization id, deployment name), `routes_by_id` by deployment id."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], RouteRecord] = {}
        self.routes_by_id: dict[str, RouteRecord] = {}

    def update(self, texts: Iterable[tuple[str, str | None]]) -> None:
        """Take the records (JSON, None: removed) of deployments; an invalid one is logged and ignored."""
        for deployment_id, text in texts:
            if text is None:
                self._remove(deployment_id)
                continue
            try:
                route = drop_invalid_limits(RouteRecord.from_json(text))
            except (TypeError, ValueError) as error:
                log.error("An invalid published route is ignored: %s", error)
                continue
            self._remove(deployment_id)
            self.routes_by_id[deployment_id] = route
            self.routes[route.organization_id, route.name] = route

    def _remove(self, deployment_id: str) -> None:
        route = self.routes_by_id.pop(deployment_id, None)
        # A new deployment may have taken the name before the change of the old one was read.
        if route and self.routes.get((route.organization_id, route.name)) is route:
            del self.routes[route.organization_id, route.name]
