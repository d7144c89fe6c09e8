"""`python requirements/install.py FILE`: installs a lock file with pip into the environment of this interpreter.

On a terminal one line shows the progress; elsewhere, as on CI, one line says what is installed. The output of pip is
printed only if pip fails.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TITLE = "Installing {file} (about a minute)"
PIP = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off")


def count_packages(lock: str) -> int:
    """The packages that a lock file pins."""
    return sum("==" in line for line in lock.splitlines() if not line.startswith("#"))


def install(path: Path) -> int:
    """Install the packages of `path`; returns the exit code of pip."""
    title, total, collected = TITLE.format(file=path), count_packages(path.read_text()), 0
    output: list[str] = []
    show(title)
    with subprocess.Popen([*PIP, "-r", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout
        for line in pip.stdout:
            output.append(line)
            if line.startswith(("Collecting ", "Requirement already satisfied")):
                collected = min(total, collected + 1)
                show(f"{title}: {collected} of {total} packages", again=True)
            elif line.startswith("Installing collected packages"):
                show(f"{title}: {total} packages, unpacking", again=True)
    if sys.stdout.isatty():
        print()
    if pip.returncode:
        print("".join(output), end="")
        print(f"pip could not install {path}; its output is above.")
    return pip.returncode


def show(text: str, again: bool = False) -> None:
    """Write a line; a terminal shows the latest `text` in one line, anything else the first one."""
    if sys.stdout.isatty():
        print(f"\r\x1b[2K{text} …", end="", flush=True)
    elif not again:
        print(f"{text} …", flush=True)


if __name__ == "__main__":
    sys.exit(install(Path(sys.argv[1])))
