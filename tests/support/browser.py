"""Find a real Chromium, or install one (`python -m tests.support.browser`)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""Programs to look for, the first one first: Chromium without its windows takes a third less CPU for the same tests."""

ARGUMENTS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium's sandbox does not work for root.
]

MISSING = "there is no Chromium here: install one, or name its program in the variable CHROMIUM"


def find() -> str | None:
    """Return the program named by CHROMIUM, one on the PATH, or the one that Playwright has installed."""
    if named := os.environ.get("CHROMIUM"):
        return named
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def install() -> bool:
    """Install a Chromium: Playwright's, or as root the system's. Return whether there is one now."""
    commands = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get") and os.geteuid() == 0:
        packages = ("chromium-headless-shell", "chromium")  # The first one is Debian's alone.
        commands += [["apt-get", "update", "-q"], *(["apt-get", "install", "-q", "-y", name] for name in packages)]
    for command in commands:
        subprocess.run(command, check=False, timeout=600)  # noqa: S603 - the commands above
        if find():
            return True
    return False


def main() -> int:
    """Return the exit code: 1, with a message, if no Chromium can be installed."""
    if find() or install():
        return 0
    print(MISSING, file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
