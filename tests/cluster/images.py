"""Every service from its image: `make test-images`. Needs Docker on Linux; not a part of `make test`.

As on a cluster, each has its own user, a read-only root file system and no capabilities.
"""

import importlib
import json
import logging
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import expect
from pydantic_settings import BaseSettings

from common.ids import new_id
from infra.local.stack.stack import DRAIN_SECONDS, Stack
from infra.services import NAMES
from tests.journeys.test_journeys import test_a_sale_from_sign_up_to_refund  # noqa: F401 - with the `stack` of this file
from tests.support.browsing import Open, listed, signed_up
from tests.support.waiting import eventually

log = logging.getLogger("images")
RUN = new_id()
"""Marks the containers of this run."""

LOOK = """
import importlib.util, json, os, pathlib, sys
folders = [f"{root}/{name}" for root in ("", "/usr", "/usr/local") for name in ("bin", "sbin")]
sources = [*pathlib.Path("/app/common").rglob("*.py"), *pathlib.Path("/app/services").rglob("*.py")]
print(json.dumps({
    "programs": sorted({name for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)}),
    "packages": [name for name in sys.argv[1:] if importlib.util.find_spec(name)],
    "uncompiled": [str(s) for s in sources if not os.path.exists(importlib.util.cache_from_source(str(s)))],
    "writable": [root for root, _, _ in os.walk("/app") if os.access(root, os.W_OK)],
}))
"""


def docker(*arguments: str) -> str:
    """What the command prints. Fails with its errors."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        pytest.fail("images need Docker, and there is no program docker", pytrace=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout.strip()


def command(service: str) -> list[str]:
    """Run a service from its image, with the variables that its settings read."""
    kinds = vars(importlib.import_module(f"{service}.settings")).values()
    settings = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseSettings)]
    variables = sorted({name.upper() for kind in settings for name in kind.model_fields})
    hardened = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    labels = [f"--label=souk.run={RUN}", f"--label=souk.service={service}"]
    options = ["--rm", "--network=host", *labels, *hardened, *(f"--env={name}" for name in variables)]
    return ["docker", "run", *options, f"souk/{service}"]


def container(service: str) -> str:
    """The id of the container in which a service runs now."""
    return docker("ps", "--quiet", f"--filter=label=souk.run={RUN}", f"--filter=label=souk.service={service}")


@pytest_asyncio.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Souk on local servers, with every service from its image."""
    for name in NAMES:
        docker("image", "inspect", f"souk/{name}")
    lines: list[str] = []
    commands = {name: command(name) for name in NAMES}
    folder = tmp_path_factory.mktemp("souk")
    try:
        async with Stack(folder, commands=commands, say=lambda _, line: lines.append(line)) as up:
            yield up
    finally:  # A container outlives a `docker run` that is killed.
        if left := docker("ps", "--quiet", f"--filter=label=souk.run={RUN}").split():
            docker("rm", "--force", *left)
    assert [line for line in lines if "Traceback" in line] == []


@pytest.mark.parametrize("service", NAMES)
def test_an_image_contains_what_its_service_needs_and_nothing_else(service: str) -> None:
    others = [name for name in NAMES if name != service]
    look = ["python", "-c", LOOK, *others, "infra", "tests", "pip", "pytest", "testcontainers", "uv"]

    seen = json.loads(docker("run", "--rm", "--network=none", f"souk/{service}", *look))

    assert [name for name in seen.pop("programs") if not name.startswith("python3")] == []
    assert seen == {"packages": [], "uncompiled": [], "writable": []}
    megabytes = int(docker("image", "inspect", "--format={{.Size}}", f"souk/{service}")) / 1e6
    log.info("souk/%s: %.0f MB", service, megabytes)


@pytest.mark.parametrize("service", NAMES)
def test_a_service_runs_without_privileges(service: str, stack: Stack) -> None:
    process = docker("inspect", "--format={{.State.Pid}}", container(service))
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())

    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


async def test_a_large_picture_needs_no_disk(opened: Open, tmp_path: Path) -> None:
    picture = tmp_path / "noise.png"
    Image.effect_noise((1500, 1500), 100).save(picture)
    assert picture.stat().st_size > 1_000_000  # More than a form part may have in memory.

    seller = await opened()
    await signed_up(seller, "Sella")
    await listed(seller, "A sandstorm", pictures=(picture,))

    await expect(seller.locator(".gallery img").first).to_be_visible()


@pytest.mark.parametrize("service", NAMES)
async def test_a_service_stops_cleanly_and_starts_again(service: str, stack: Stack) -> None:
    supervisor = stack.supervisors[service]
    before, asked = container(service), time.monotonic()

    supervisor.child.send(signal.SIGTERM)

    assert await supervisor.child.wait() == 0
    assert time.monotonic() - asked < DRAIN_SECONDS
    await eventually(lambda: fresh(service, before), why=f"no new container of {service}")
    started = time.monotonic()
    await stack.ready()
    log.info("souk/%s: ready %.1f s after its container", service, time.monotonic() - started)


async def fresh(service: str, before: str) -> bool:
    """Whether the service runs in another container now."""
    return container(service) not in ("", before)
