"""An older revision of Souk beside this one, with a virtual environment of its own that its own Makefile makes."""

import os
import subprocess
from pathlib import Path

from infra.services import ROOT, SERVICES

PAGES = "services/web/src/web/static/souk.css"

FOLDER = ROOT / ".revisions"


class MissingRevision(Exception):
    """The history of this clone does not reach back to a revision."""


def checked_out(revision: str) -> Path:
    """Return the folder of a revision, ready to run. The first time it takes a minute or two.

    Raises `MissingRevision` if this clone does not have it.
    """
    commit = _commit(revision)
    folder = FOLDER / commit
    if not (folder / PAGES).exists():
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder.with_suffix(".tar")
        _run("git", "archive", f"--output={archive}", commit, at=ROOT)
        _run("tar", "--extract", f"--file={archive}", at=folder)
        archive.unlink()
        _run("make", ".venv/.ready", PAGES, at=folder)
    return folder


def commands_of(folder: Path) -> dict[str, list[str]]:
    """Return the commands that run the services of the revision in `folder`, by the services' names."""
    python = str(folder / ".venv/bin/python")
    there = [service.name for service in SERVICES if (folder / "services" / service.name).exists()]
    return {name: [python, "-m", f"{name}.main"] for name in there}


def _commit(revision: str) -> str:
    try:
        return _run("git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", at=ROOT)
    except subprocess.CalledProcessError:
        raise MissingRevision(
            f"this clone does not have the revision {revision}: get the whole history with `git fetch --unshallow`"
        ) from None


def _run(*command: str, at: Path) -> str:
    # What this Make and Python run with is not for those of the other revision.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(command, cwd=at, env=inherited, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return done.stdout.strip()
