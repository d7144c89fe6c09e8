"""Polls the engine's health path on its own thread. Standard library only."""

from __future__ import annotations

import http.client
import threading

EAGER_SECONDS, STEADY_SECONDS = 0.25, 1.5
TIMEOUT_SECONDS = 2.0


class HealthProbe:
    """`healthy`: whether the latest response was 200."""

    def __init__(self, address: str, path: str) -> None:
        self.healthy = False
        self._address = address
        self._path = path
        self._interval = EAGER_SECONDS
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="probe", daemon=True).start()

    def slow_down(self) -> None:
        """Poll at the steady interval, once the engine is ready."""
        self._interval = STEADY_SECONDS

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.healthy = self._request()
            self._stopped.wait(self._interval)

    def _request(self) -> bool:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", self._path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
