"""A real console for a test: `manage.py up` in a data folder and on ports of its own, and ways to look at it from
outside. The process table, the shims' logs and the engines' own request logs are the oracles, not its database."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from console.machine.embedded import free_port

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60
Found = TypeVar("Found")


def until(what: str, look: Callable[[], Found], seconds: float = 30.0) -> Found:
    """The first true value of `look`; fails with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"Not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return seen


class Stack:
    """One console. `start` may be called again after `terminate` or `kill`: same folder, same ports."""

    def __init__(self) -> None:
        self.parent = Path(tempfile.mkdtemp(prefix="console-e2e-"))
        self.parent.chmod(0o755)
        self.folder = self.parent / "var"
        names = ("CONSOLE_PORT", "GATEWAY_PORT", "METRICS_PORT")
        unset = ("DATABASE_URL", "REDIS_URL", "CONSOLE_SECRET_KEY", "CONSOLE_REPLICA_ID")
        outside = {name: value for name, value in os.environ.items() if name not in unset}
        ports = {name: str(free_port()) for name in names}
        self.environment = {**outside, **ports, "CONSOLE_DATA_DIR": str(self.folder)}
        self.process: subprocess.Popen[bytes] | None = None
        self.run: dict[str, Any] = {}

    @property
    def output(self) -> str:
        return (self.parent / "up.log").read_text(errors="replace")

    def start(self) -> None:
        (self.folder / "run.json").unlink(missing_ok=True)
        with (self.parent / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        until("run.json", lambda: self._running() and (self.folder / "run.json").exists(), READY_SECONDS)
        self.read_run_file()

    def _running(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.output[-4000:]
        return True

    def read_run_file(self) -> dict[str, Any]:
        self.run = json.loads((self.folder / "run.json").read_text())
        return self.run

    def end(self, number: int = signal.SIGTERM, seconds: float = 15.0) -> float:
        """Send a signal to `up`; the seconds until it was gone."""
        assert self.process
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(seconds)
        return time.monotonic() - began

    def remove(self) -> None:
        """End everything, replicas that live on included."""
        if self.process and self.process.poll() is None:
            self.end()
        for pid in [*self.engines(), *self.shims()]:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.parent, ignore_errors=True)

    # what it answers

    def api(self, method: str, path: str, body: Any = None, key: str = "manage") -> tuple[int, Any]:
        secret = self.run["demo"]["api_keys"].get(key, key)
        return self.call(f"{self.run['console_url']}/api/v1{path}", method, body, secret)

    def call(self, url: str, method: str = "GET", body: Any = None, secret: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def deploy(self, name: str, replicas: int = 1, gpu: str = "a10g-24gb", **simulator: Any) -> dict[str, Any]:
        settings = {"download_seconds": 0.3, "initialize_seconds": 0.3, "ttft_ms": 10, "itl_ms": 2} | simulator
        status, deployment = self.api("POST", "/deployments", {
            "name": name,
            "model": {"source": "catalog", "id": "llama-3.1-8b-instruct"},
            "engine": {"name": "simulator", "simulator": settings},
            "gpu": {"type": gpu, "count": 1},
            "autoscaling": {"enabled": False, "replicas": replicas},
        })  # fmt: skip
        assert status == 201, deployment
        return deployment

    def deployment(self, name: str) -> dict[str, Any]:
        return self.api("GET", f"/deployments/{name}")[1]

    def reaches(self, name: str, *statuses: str, seconds: float = 40.0) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            seen = self.deployment(name)
            return seen if seen["status"] in statuses else None

        try:
            return until(f"{name} is {' or '.join(statuses)}", look, seconds)
        except AssertionError as error:
            events = self.api("GET", f"/deployments/{name}/events")[1]["data"]
            seen = {"deployment": self.deployment(name), "events": [(one["at"], one["summary"]) for one in events]}
            raise AssertionError(f"{error}; {json.dumps(seen, indent=1)}\n{self.output[-3000:]}") from None

    def usage(self) -> dict[str, tuple[int, int, int]]:
        """Requests, input and output tokens by deployment id."""
        rows = self.api("GET", "/usage?group_by=deployment", key="read")[1]["data"]
        return {row["deployment_id"]: (row["requests"], row["input_tokens"], row["output_tokens"]) for row in rows}

    # what the machine says

    def _with_environment(self, *marks: str) -> dict[int, dict[str, str]]:
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal():
                continue
            try:
                parts = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            variables = dict(part.split("=", 1) for part in parts if "=" in part)
            ours = variables.get("CONSOLE_DATA_DIR") == str(self.folder)
            if ours and state != "Z" and all(mark in variables for mark in marks):
                found[int(folder.name)] = variables
        return found

    def engines(self) -> dict[int, str]:
        """Replica id by process id, of engine and download processes of this data folder."""
        return {pid: one["CONSOLE_REPLICA_ID"] for pid, one in self._with_environment("CONSOLE_REPLICA_ID").items()}

    def shims(self) -> list[int]:
        return [
            pid
            for pid in self._with_environment()
            if b"drivers.local.shim" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    def replica_folders(self) -> list[Path]:
        return sorted((self.folder / "clusters" / "local").glob("*/"))

    def generated(self) -> list[dict[str, Any]]:
        """Every request that an engine wrote down."""
        return _json_lines(self.replica_folders(), "requests.jsonl")

    def shim_log(self) -> list[dict[str, Any]]:
        return _json_lines(self.replica_folders(), "shim.log")

    def kill_process(self, name: str) -> int:
        """SIGKILL one of the console's processes; its pid."""
        pid: int = self.read_run_file()["processes"][name]
        os.kill(pid, signal.SIGKILL)
        return pid


def _json_lines(folders: list[Path], name: str) -> list[dict[str, Any]]:
    lines = (line for one in folders if (one / name).exists() for line in (one / name).read_text().splitlines())
    return [json.loads(line) for line in lines]
