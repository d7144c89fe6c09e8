"""The block that `up` prints once everything is ready."""

from __future__ import annotations

from typing import Any

from console import env
from console.machine import runfile


def welcome(environment: env.Environment, demo: dict[str, Any], seconds: float) -> str:
    """The block that says where everything is and how to come in."""
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
        people = (("Sign in as", demo["member"]), ("or operator", demo["operator"]))
        lines += [f"  {title:<11} {person['email']}  password  {person['password']}" for title, person in people]
        lines += [f"  {'API key':<11} {demo['api_keys']['inference']}  (inference)"]
    else:
        lines += ["  First operator: python manage.py createsuperuser      Demo data: python manage.py demo"]
    lines += ["", f"  All addresses, keys and process ids: {environment.data_dir / runfile.NAME}", "  Ctrl-C stops it."]
    rule = "─" * 78
    return "\n".join(["", rule, *lines, rule, "", ""])
