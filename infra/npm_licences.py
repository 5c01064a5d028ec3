"""Finds licences that nobody allowed among the npm packages that the pages are built with, and that browsers get.

`allow` in `[tool.npm-licences]` of pyproject.toml has the SPDX names that are allowed, each as it stands in
package-lock.json; a package that says nothing, or has a choice of licences, is for a person to look at.
"""

import json
import sys
import tomllib
from collections.abc import Collection, Mapping
from typing import Any

from infra.services import ROOT

LOCK = ROOT / "services/web/package-lock.json"


def allowed() -> frozenset[str]:
    """The licences that somebody allowed."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return frozenset(tomllib.load(file)["tool"]["npm-licences"]["allow"])


def refused(lock: Mapping[str, Any], allow: Collection[str]) -> list[str]:
    """Each locked package with another licence, or with none."""
    packages = {path: package for path, package in lock["packages"].items() if path}  # "" is the pages themselves.
    return [
        f"{path.rpartition('node_modules/')[2]} {package['version']}: {package.get('license', 'no licence')}"
        for path, package in packages.items()
        if package.get("license") not in allow
    ]


if __name__ == "__main__":
    found = refused(json.loads(LOCK.read_text()), allowed())
    sys.exit("\n".join(["licences that nobody allowed:", *found]) if found else 0)
