"""A copy of the repository, to change and check without touching the original."""

import os
import shutil
import subprocess
from pathlib import Path

from infra.services import ROOT


def copy_repository(target: Path, *paths: str) -> None:
    """Copy the files that git tracks, or would track, to a new folder; only those below `paths` if any are given."""
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def python_path(root: Path) -> str:
    """The PYTHONPATH that makes the packages of this copy come before the installed ones."""
    return os.pathsep.join(str(folder) for folder in (root / "common/src", *sorted(root.glob("services/*/src"))))


def run(root: Path, *command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy, with its packages. What it prints, errors included, is in `stdout`."""
    variables = {**os.environ, "PYTHONPATH": python_path(root), **env}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(command, cwd=root, env=variables, check=False, **output)  # type: ignore[call-overload,no-any-return]  # noqa: S603
