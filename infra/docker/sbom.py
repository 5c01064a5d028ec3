"""Write the SBOM of an image: its Python packages, and what it has besides: Python, Debian packages, code in its pages.

Runs while an image is built: `sbom.py packages.json /var/lib/dpkg/status package-lock.json`, where the first is the
CycloneDX document of its Python packages. The others may be missing. Of Debian packages the image has what they are
used for, and not their programs (bare.py).
"""

import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]


def python() -> Component:
    """The interpreter."""
    version = platform.python_version()
    cpe = f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*"
    return _component("python", version, f"pkg:generic/python@{version}") | {"type": "platform", "cpe": cpe}


def debian(status: str) -> Iterator[Component]:
    """What dpkg says is installed."""
    for paragraph in status.split("\n\n"):
        said = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and not line[0].isspace())
        if said.get("Status") == "install ok installed":
            name, version = said["Package"], said["Version"]
            purl = f"pkg:deb/debian/{name}@{quote(version)}?arch={said['Architecture']}"
            yield _component(name, version, purl)


def pages(lock: dict[str, Any]) -> Iterator[Component]:
    """The npm packages of which the pages have a copy; those that only build or test them are no `dependencies`."""
    for name in lock["packages"][""].get("dependencies", ()):
        package = lock["packages"][f"node_modules/{name}"]
        found = _component(name, package["version"], f"pkg:npm/{quote(name)}@{package['version']}")
        yield found | {"licenses": [{"license": {"id": package["license"]}}]}


def _component(name: str, version: str, purl: str) -> Component:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def main(packages: Path, dpkg: Path, lock: Path) -> None:
    """Print the whole document."""
    document = json.loads(packages.read_text())
    document["components"] += [
        python(),
        *(debian(dpkg.read_text()) if dpkg.exists() else ()),
        *(pages(json.loads(lock.read_text())) if lock.exists() else ()),
    ]
    json.dump(document, sys.stdout, indent=1)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
