"""The browser and the system that a User-Agent header names, as people call them. Pure."""

from __future__ import annotations

import re

MAX_NAME_CHARACTERS = 40
# The first that matches: most browsers also name those that they descend from.
BROWSERS = {
    r"\bEdg(?:e|A|iOS)?/": "Edge",
    r"\b(?:OPR|Opera)/": "Opera",
    r"\bVivaldi/": "Vivaldi",
    r"\bSamsungBrowser/": "Samsung Internet",
    r"\b(?:Firefox|FxiOS)/": "Firefox",
    r"\b(?:Headless)?(?:Chrome|CriOS|Chromium)/": "Chrome",
    r"\bVersion/[\d.]+ .*\bSafari/": "Safari",
}
SYSTEMS = {
    r"\biPhone\b": "iPhone",
    r"\biPad\b": "iPad",
    r"\bAndroid\b": "Android",
    r"\bCrOS\b": "ChromeOS",
    r"\bWindows\b": "Windows",
    r"\bMac OS X\b|\bMacintosh\b": "macOS",
    r"\bLinux\b|\bX11\b": "Linux",
}


def name_browser(user_agent: str) -> str:
    """`Firefox on Linux`; for other programs their own name, such as `curl`."""
    browser, system = _find(BROWSERS, user_agent), _find(SYSTEMS, user_agent)
    if browser:
        return f"{browser} on {system}" if system else browser
    program = user_agent.partition("/")[0].strip()
    if not program or program == "Mozilla":
        return f"Unknown browser on {system}" if system else "Unknown browser"
    return program[:MAX_NAME_CHARACTERS]


def _find(names: dict[str, str], user_agent: str) -> str:
    return next((name for pattern, name in names.items() if re.search(pattern, user_agent)), "")
