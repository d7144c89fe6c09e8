"""The banner that `manage.py up` prints when all processes are ready."""

from __future__ import annotations

from typing import Any

from console import env
from console.machine import run_file


def build_banner(environment: env.Environment, demo: dict[str, Any], seconds: float) -> str:
    """Build the banner: URLs and how to sign in. `demo` is the demo block of the run file, `seconds` the start time."""
    lines = [
        f"Models Console is ready ({seconds:.1f} s)",
        "",
        f"  Console   {environment.console_url}",
        f"  Gateway   {environment.gateway_url}/v1",
        f"  Metrics   {environment.metrics_url}",
        f"  API       {environment.console_url}/api/v1/docs",
        "",
    ]
    if demo:
        users = (("Sign in as", demo["member"]), ("or operator", demo["operator"]))
        lines += [f"  {title:<11} {user['email']}  password  {user['password']}" for title, user in users]
        lines += [f"  {'API key':<11} {demo['api_keys']['inference']}  (inference)"]
    else:
        lines += ["  First operator: python manage.py createsuperuser      Demo data: python manage.py demo"]
    lines += [
        "",
        f"  All addresses, keys and process ids: {environment.data_dir / run_file.NAME}",
        "  Ctrl-C stops it.",
    ]
    rule = "─" * 78
    return "\n".join(["", rule, *lines, rule, "", ""])
