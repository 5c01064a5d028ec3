"""A copy of the repository, to change and check without touching the original."""

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

from infra.services import ROOT

OWN = ("PYTEST_", "MAKE", "MFLAGS", "ARGS")
"""How variables start that belong to the run of this test."""


def copy_repository(target: Path, *paths: str) -> None:
    """Copy the files that git tracks, or would track, to a new folder; only those below `paths` if any are given."""
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    _make_environment(target / ".venv")


def run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy. All that it prints is in `stdout`."""
    _install(root)
    env = {name: value for name, value in os.environ.items() if not name.startswith(OWN)} | {"COLUMNS": "300"}
    return subprocess.run(  # noqa: S603
        command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def _make_environment(folder: Path) -> None:
    """A virtual environment with the programs of this one."""
    venv.create(folder, symlinks=True)
    for program in Path(sys.executable).parent.iterdir():
        own = folder / "bin" / program.name
        if own.exists():
            continue
        if program.read_bytes().startswith(b"#!"):
            own.write_text(program.read_text().replace(sys.prefix, str(folder)))
            own.chmod(0o755)
        else:
            own.symlink_to(program)


def _install(root: Path) -> None:
    """Put the copy's packages, and then all that is installed here, on the path of its environment."""
    sources = [str(folder) for folder in (root / "common/src", *sorted(root.glob("services/*/src")))]
    installed = [f"import site; site.addsitedir({folder!r})" for folder in site.getsitepackages()]
    [packages] = (root / ".venv").glob("lib/python*/site-packages")
    (packages / "souk.pth").write_text("\n".join([*sources, *installed]))
    (root / ".venv/.ready").touch()  # Nothing is left to do for make.
