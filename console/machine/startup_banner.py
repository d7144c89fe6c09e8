"""The banner that `manage.py up` prints when all processes are ready."""

from __future__ import annotations

from typing import Any

from console import env
from console.machine import run_file


def build_banner(environment: env.Environment, demo: dict[str, Any], seconds: float) -> str:
    """Build the banner: URLs and how to sign in. `demo` is the demo block of the run file, `seconds` the start time."""
    lines = [
        f"Models Console is ready after {seconds:.1f} s",
        "",
        f"  Console    {environment.console_url}",
        f"  Gateway    {environment.gateway_url}/v1",
        f"  REST API   {environment.console_url}/api/v1/docs",
        f"  Metrics    {environment.metrics_url}",
        "",
    ]
    if demo:
        users = [("Sign in", demo["member"]), ("Operator", demo["operator"])]
        width = max(len(user["email"]) for _, user in users)
        lines += [f"  {title:<10} {user['email']:<{width}}   password {user['password']}" for title, user in users]
        lines += [f"  {'API key':<10} {demo['api_keys']['inference']}   scope inference"]
    else:
        lines += [
            "  Create the first operator: python manage.py createsuperuser",
            "  Create demo data:          python manage.py demo",
        ]
    lines += [
        "",
        f"  URLs, keys and process ids: {environment.data_dir / run_file.NAME}",
        "  Press Ctrl-C to stop.",
    ]
    rule = "─" * 78
    return "\n".join(["", rule, *lines, rule, "", ""])
