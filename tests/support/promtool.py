"""Find Prometheus' promtool, or fetch Debian's without installing its server."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

OWN = Path(sys.prefix) / "promtool/usr/bin/promtool"

MISSING = "there is no promtool here: install Prometheus, or name the program in the variable PROMTOOL"


def find() -> str | None:
    """Return the program named by PROMTOOL, one on the PATH, or the one that was fetched before."""
    found = os.environ.get("PROMTOOL") or shutil.which("promtool")
    return found or (str(OWN) if OWN.exists() else None)


def fetch() -> str | None:
    """Fetch the package of Debian or Ubuntu, and unpack it. Return the program, if that succeeded."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        return None
    download = ["apt-get", "download", "-q", "prometheus"]
    with tempfile.TemporaryDirectory(dir=sys.prefix) as folder:
        for command in (download, ["apt-get", "update", "-q"], download):
            subprocess.run(command, cwd=folder, check=False, timeout=300, capture_output=True)  # noqa: S603
            if packages := list(Path(folder).glob("prometheus_*.deb")):
                break
        for package in packages:
            unpacked = Path(folder) / "promtool"
            subprocess.run(["dpkg", "-x", package, unpacked], check=True)  # noqa: S603, S607
            (unpacked / "usr/bin/prometheus").unlink()
            with suppress(OSError):  # Another process was faster.
                unpacked.rename(OWN.parents[2])
    return find()
