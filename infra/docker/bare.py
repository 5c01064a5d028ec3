"""Take out of a Debian image with Python what a running service never needs: every program but Python itself.

Runs while an image is built. The list of Debian packages stays, for scanners that look for known holes in them.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "usr/libexec")
REST = (
    "usr/lib/apt",
    "usr/lib/dpkg",
    "usr/lib/*-linux-gnu/perl*",
    "usr/lib/python3*/ensurepip",
    "usr/lib/python3/dist-packages/*",
    "usr/local/lib/python3*/ensurepip",
    "usr/local/lib/python3*/site-packages/*",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl*",
    "usr/share/python-wheels",
    "var/cache/*",
    "var/lib/apt",
    "var/lib/dpkg/info",
    "tmp/*",
)


def unneeded(root: Path) -> Iterator[Path]:
    """Every file and folder to remove below `root`."""
    for folder in PROGRAMS:
        yield from (file for file in root.glob(f"{folder}/*") if not file.name.startswith("python3"))
    for pattern in REST:
        yield from root.glob(pattern)


def main() -> None:
    """Remove them."""
    for found in list(unneeded(Path("/"))):
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        else:
            found.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
