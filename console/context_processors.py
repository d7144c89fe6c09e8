"""What every page knows."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from console.pages.frame import Frame

THEMES = ("light", "dark")


def console(request: HttpRequest) -> dict[str, Any]:
    """`theme` as the person chose it ("" follows the system), `frame` of who is signed in, `demo`: demo data exist."""
    theme = request.COOKIES.get("theme", "")
    user = getattr(request, "user", None)
    return {
        "theme": theme if theme in THEMES else "",
        "frame": Frame(request.actor, request.path) if user and user.is_authenticated else None,  # type: ignore[attr-defined]
        "demo": settings.ENVIRONMENT.demo,
    }
