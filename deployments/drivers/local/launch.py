"""Turns a `ReplicaSpec` into the intent that a shim carries out (port, environment, GPUs), and starts the shim."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from deployments.drivers.base import DriverError, ReplicaSpec
from deployments.drivers.local.replica_folder import Folder, Intent, now

ROOT = Path(__file__).parents[3]
SHIM = (sys.executable, "-m", "deployments.drivers.local.shim")
PORTS = range(20_000, 32_000)  # below the range from which the kernel takes ports for outgoing connections
CONFIRM_SECONDS = 10.0
# The variables of the console that replicas inherit; none is a secret.
INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
INHERITED_PREFIXES = (
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "VLLM_",
    "HF_HOME",
    "HF_HUB_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)


def build_intent(
    spec: ReplicaSpec,
    installation_id: str,
    gpu_indices: tuple[int, ...],
    port: int,
    environment: Mapping[str, str],
    *,
    simulated: bool,
) -> Intent:
    """With `{port}` filled in, and an environment in which the engine sees only its own GPUs."""
    launch = spec.launch
    own = {name: value.replace("{port}", str(port)) for name, value in launch.environment.items()}
    indices = ",".join(map(str, gpu_indices))
    gpus = {} if simulated else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": indices}
    return Intent(
        name=spec.name,
        replica_id=spec.replica_id,
        deployment_id=spec.deployment_id,
        organization_id=spec.organization_id,
        asked_at=now().isoformat(),
        gpu_type=spec.gpu_type,
        gpu_indices=list(gpu_indices),
        port=port,
        command=[part.replace("{port}", str(port)) for part in launch.command],
        download=list(launch.download) if launch.download else None,
        health_path=launch.health_path,
        environment={**environment, **own, **gpus},
        installation_id=installation_id,
    )


def build_environment(variables: Mapping[str, str], data_dir: Path, installation_id: str) -> dict[str, str]:
    """The inherited part of `variables`, and the installation; the console's own programs come first in PATH."""
    kept = {
        name: value
        for name, value in variables.items()
        if name in INHERITED or name.upper().startswith(INHERITED_PREFIXES)
    }
    path = os.pathsep.join(filter(None, (str(Path(sys.executable).parent), variables.get("PATH", os.defpath))))
    return {
        **kept,
        "PATH": path,
        "CONSOLE_DATA_DIR": variables.get("CONSOLE_DATA_DIR") or str(data_dir),
        "CONSOLE_INSTALLATION_ID": installation_id,
    }


def find_free_port(taken: Collection[int]) -> int:
    """A port on which nothing listens and which no live replica has. Raises `DriverError`."""
    for _ in range(200):
        port = secrets.choice(PORTS)
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise DriverError(f"No free port between {PORTS.start} and {PORTS.stop}.", retryable=True)


def start_shim(folder: Folder, environment: Mapping[str, str]) -> None:
    """Start a shim in its own session and wait until it, or another one, has written state. Raises `DriverError`."""
    errors = folder.path / "shim.err"
    with errors.open("ab") as output:
        try:
            starter = subprocess.Popen(
                (*SHIM, str(folder.path)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={**environment, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
                start_new_session=True,
            )
        except OSError as error:
            raise DriverError(f"The replica's supervisor cannot be started: {error}", retryable=True) from error
    starter.wait()
    deadline = time.monotonic() + CONFIRM_SECONDS
    while folder.state() is None:
        if time.monotonic() > deadline or folder.intent() is None:
            last_line = errors.read_text(errors="replace").strip().splitlines()[-1:] if errors.exists() else []
            raise DriverError(" ".join(["The replica's supervisor did not start.", *last_line]), retryable=True)
        time.sleep(0.01)
