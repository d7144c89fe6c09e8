"""A real console for a test: `manage.py up` in a data folder and on ports of its own, and ways to look at it from
outside. The process table, the shims' logs and the engines' own request logs are the oracles, not its database."""

import contextlib
import http.client
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

from console.machine.embedded_servers import find_free_port

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 120  # ten on a machine of its own
WAIT_SECONDS = 60.0  # for what takes a few; who promises less says so
Found = TypeVar("Found")


def until(what: str, look: Callable[[], Found], seconds: float = WAIT_SECONDS) -> Found:
    """The first true value of `look`; fails with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"Not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return seen


class Stack:
    """One console. `start` may be called again after `terminate` or `kill`: same folder, same ports."""

    def __init__(self, **settings: str) -> None:
        """`settings`: variables of the environment, such as DRAIN_SECONDS."""
        self.parent = Path(tempfile.mkdtemp(prefix="console-e2e-"))
        self.parent.chmod(0o755)
        self.folder = self.parent / "var"
        names = ("CONSOLE_PORT", "GATEWAY_PORT", "METRICS_PORT")
        unset = ("DATABASE_URL", "REDIS_URL", "CONSOLE_SECRET_KEY", "CONSOLE_REPLICA_ID")
        outside = {name: value for name, value in os.environ.items() if name not in unset}
        ports = {name: str(find_free_port()) for name in names}
        self.environment = {**outside, **ports, **settings, "CONSOLE_DATA_DIR": str(self.folder)}
        self.patience_seconds = 0.0
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
        """End everything, replicas that live on included, however long a busy machine takes for it."""
        if self.process and self.process.poll() is None:
            self.end(seconds=WAIT_SECONDS)
        self.cut_replicas()
        shutil.rmtree(self.parent, ignore_errors=True)

    def cut_replicas(self) -> None:
        """SIGKILL to every shim and engine, as a power cut ends them."""
        for pid in [*self.shims(), *self.engines()]:
            with contextlib.suppress(ProcessLookupError):  # an engine dies with its shim
                os.kill(pid, signal.SIGKILL)
        until("no replica is left", lambda: not self.engines() and not self.shims())

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

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer to a call that may be repeated; while the console is away or says 5xx, it is asked again for
        `patience_seconds`."""
        seen: list[tuple[int, Any]] = []

        def answered() -> bool:
            try:
                seen.append(self.api(method, path, body))
            except (OSError, http.client.HTTPException, ValueError) as error:
                seen.append((0, repr(error)))
            return 0 < seen[-1][0] < 500

        deadline = time.monotonic() + self.patience_seconds
        while not answered() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert 200 <= seen[-1][0] < 300, f"{method} {path}: {seen[-3:]}"
        return seen[-1][1]

    def deploy(self, name: str, replicas: int = 1, gpu: str = "a10g-24gb", **simulator: Any) -> dict[str, Any]:
        return self.deploy_with({"enabled": False, "replicas": replicas}, name, gpu, **simulator)

    def deploy_with(
        self, autoscaling: dict[str, Any], name: str, gpu: str = "a10g-24gb", concurrency: int = 16, **simulator: Any
    ) -> dict[str, Any]:
        settings = {"download_seconds": 0.3, "initialize_seconds": 0.3, "ttft_ms": 10, "itl_ms": 2} | simulator
        made: dict[str, Any] = self.ask("POST", "/deployments", {
            "name": name,
            "model": {"source": "catalog", "id": "llama-3.1-8b-instruct"},
            "engine": {"name": "simulator", "max_concurrency": concurrency, "simulator": settings},
            "gpu": {"type": gpu, "count": 1},
            "autoscaling": autoscaling,
        })  # fmt: skip
        return made

    def deployment(self, name: str) -> dict[str, Any]:
        seen: dict[str, Any] = self.ask("GET", f"/deployments/{name}")
        return seen

    def events(self, name: str, kind: str = "") -> list[dict[str, Any]]:
        """Of one kind, or all; newest first."""
        rows = self.ask("GET", f"/deployments/{name}/events?limit=200")["data"]
        return [row for row in rows if not kind or row["kind"] == kind]

    def reaches(self, name: str, *statuses: str, seconds: float = WAIT_SECONDS) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            seen = self.deployment(name)
            return seen if seen["status"] in statuses else None

        try:
            return until(f"{name} is {' or '.join(statuses)}", look, seconds)
        except AssertionError as error:
            events = [(one["at"], one["summary"]) for one in self.events(name)]
            seen = {"deployment": self.deployment(name), "events": events}
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
        return [pid for pid in self._with_environment() if "drivers.local.shim" in _command_line(pid)]

    def replica_folders(self) -> list[Path]:
        return sorted((self.folder / "clusters" / "local").glob("*/"))

    def generated(self) -> list[dict[str, Any]]:
        """Every request that an engine wrote down."""
        return [entry for folder in self.replica_folders() for entry in json_lines(folder / "requests.jsonl")]

    def shim_log(self) -> list[dict[str, Any]]:
        return [note for folder in self.replica_folders() for note in json_lines(folder / "shim.log")]

    def kill_process(self, name: str) -> int:
        """SIGKILL one of the console's processes; its pid."""
        pid: int = self.read_run_file()["processes"][name]
        os.kill(pid, signal.SIGKILL)
        return pid


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Empty for a file that is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _command_line(pid: int) -> str:
    """Empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def lives(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
