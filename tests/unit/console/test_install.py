"""`requirements/install.py` with a pip that prints what the real one prints."""

import contextlib
import os
import pty
import subprocess
import sys

from console import env

INSTALL = env.ROOT / "requirements" / "install.py"
PIP = """
import sys
for name in ("aiohttp==3", "django==5"):
    print(f"Collecting {name}")
print("Installing collected packages: aiohttp, django")
sys.exit({code})
"""


def arrange(folder, code: int) -> tuple[list[str], dict[str, str]]:
    package = folder / "pip"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PIP.replace("{code}", str(code)))
    (folder / "base.txt").write_text("# pins\naiohttp==3\ndjango==5\n")
    return [sys.executable, str(INSTALL), "base.txt"], {**os.environ, "PYTHONPATH": str(folder)}


def read_terminal(descriptor: int) -> str:
    """All that was written to a terminal whose other side is closed; its end is an error there."""
    pieces = []
    with open(descriptor, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
        while piece := terminal.read(65536):
            pieces.append(piece)
    return b"".join(pieces).decode()


def test_where_there_is_no_terminal_one_line_says_what_is_installed(tmp_path):
    command, variables = arrange(tmp_path, 0)
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "Installing base.txt (about a minute) …\n")


def test_when_pip_fails_its_output_is_printed_and_its_exit_code_kept(tmp_path):
    command, variables = arrange(tmp_path, 3)
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 3
    assert "Collecting aiohttp==3" in done.stdout
    assert done.stdout.endswith("pip could not install base.txt; its output is above.\n")


def test_on_a_terminal_one_line_counts_the_packages(tmp_path):
    command, variables = arrange(tmp_path, 0)
    ours, theirs = pty.openpty()
    done = subprocess.run(command, env=variables, cwd=tmp_path, stdout=theirs)
    os.close(theirs)
    shown = read_terminal(ours)
    assert done.returncode == 0
    assert "2 of 2 packages" in shown
    assert shown.count("\n") == 1
