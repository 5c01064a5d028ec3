"""docs/adding-a-service.md, followed to the letter."""

import re
import shutil
from pathlib import Path

import pytest

from infra.services import ROOT
from tests.architecture.copies import copy_repository, run

GUIDE = (ROOT / "docs/adding-a-service.md").read_text()
STEP = re.compile(r"^`(?P<file>[\w./-]+)`$|^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

WITHOUT_PICTURES = "--ignore=tests/docs/test_diagrams.py"
"""To draw them takes a browser."""

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the service that the guide adds."""
    root = tmp_path_factory.mktemp("souk")
    copy_repository(root)
    if (known := ROOT / ".mypy_cache").exists():  # What is checked here already need not be checked once more.
        shutil.copytree(known, root / known.name)
    file = root
    for step in STEP.finditer(GUIDE):
        match step["kind"]:
            case None:
                file = root / step["file"]
            case "sh":
                for command in step["text"].splitlines():
                    follow(root, command)
            case "diff":
                change(file, step["text"])
            case _:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(step["text"])
    return root


def follow(root: Path, command: str) -> None:
    """Run a command of the guide, but ask no package registry."""
    if " lock" in command:
        assert '"souk-common[mongo]"' in (root / "services/orders/pyproject.toml").read_text()
        shutil.copy(root / "requirements/orders.txt", root / "requirements/wishlist.txt")  # which asks for the same
        command = command.replace(" lock", "")
    done = run(root, "sh", "-c", command)
    assert done.returncode == 0, done.stdout


def change(file: Path, diff: str) -> None:
    """Apply a hunk without line numbers: its context stands in the file once."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] != "+")
    after = "".join(line[1:] for line in lines if line[0] != "-")
    text = f"\n{file.read_text()}"
    assert text.count(f"\n{before}") == 1, f"{file} should contain this once:\n{before}"
    file.write_text(text.replace(f"\n{before}", f"\n{after}")[1:])


@pytest.mark.parametrize(
    "command",
    [
        "make lint",
        "make test-wishlist",
        "make test-k8s",
        f".venv/bin/pytest -q tests/architecture/test_services.py tests/contracts tests/docs {WITHOUT_PICTURES}",
    ],
)
def test_the_guide_leaves_nothing_out(command: str, copy: Path) -> None:
    done = run(copy, *command.split())
    assert done.returncode == 0, done.stdout
