"""The overlay for development in a namespace of its own, on the cluster that kubectl points to."""

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from common.ids import new_id
from infra.k8s.make_secrets import OVERLAY, make_secrets
from infra.local.stack.keys import Keys
from infra.servers.process import free_port
from infra.services import NAMES
from tests.support.waiting import eventually

READY_TIMEOUT = "300s"
"""How long an object may take to be ready or to be deleted."""

CONTROLLERS = ("traefik", "ingress-nginx")
"""Namespaces that an ingress controller may run in, as in the network policies."""


class Cluster:
    """Souk in `namespace`, reached through the ingress at `url` as `host`."""

    def __init__(self, folder: Path) -> None:
        self.namespace = f"souk-{new_id()[-8:]}"
        self.host = f"{self.namespace}.test"
        self.url = ""
        self.keys = Keys(OVERLAY / "secrets/auth")
        self._folder = folder
        self._hold_seconds = 900

    @asynccontextmanager
    async def deployed(self) -> AsyncIterator["Cluster"]:
        """Deploy, and wait until everything is ready and the ingress leads to it; delete everything at the end."""
        make_secrets()
        (self._folder / "kustomization.yaml").write_text(yaml.safe_dump(self._overlay()))
        async with ingress_address() as self.url:
            try:
                await kubectl("apply", "--server-side", "-k", str(self._folder))
                await self.ready()
                yield self
            finally:
                await kubectl("delete", "namespace", self.namespace, "--ignore-not-found", f"--timeout={READY_TIMEOUT}")

    async def ready(self) -> None:
        """Wait until every pod is ready, and every route leads to its service."""
        every = (await self.kubectl("get", "deployments,statefulsets", "-o", "name")).split()
        for one in every:
            await self.kubectl("rollout", "status", one, f"--timeout={READY_TIMEOUT}")
        async with httpx.AsyncClient(base_url=self.url, headers={"Host": self.host}) as http:
            for path in ("/", "/api/users/currentuser", "/api/items", "/api/orders", "/api/payments?order_id=none"):
                await eventually(lambda path=path: served(http, path), 60, why=f"{path} is not served")  # type: ignore[misc]

    async def hold_for(self, seconds: int) -> None:
        """Set how long an unpaid order keeps its units."""
        if seconds != self._hold_seconds:
            await self.kubectl("set", "env", "deployment/orders", f"HOLD_SECONDS={seconds}")
            self._hold_seconds = seconds
            await self.ready()

    async def delete_pods(self, app: str) -> None:
        """Delete the pods of an app; returns at once."""
        await self.kubectl("delete", "pods", "--selector", f"app={app}", "--wait=false")

    async def kubectl(self, *command: str) -> str:
        """Return what kubectl prints for a command in this namespace."""
        return await kubectl("--namespace", self.namespace, *command)

    def _overlay(self) -> dict[str, Any]:
        host = [{"op": "replace", "path": "/spec/rules/0/host", "value": self.host}]
        return {
            "namespace": self.namespace,
            "resources": [os.path.relpath(OVERLAY, self._folder)],
            "patches": [{"target": {"kind": "Ingress"}, "patch": json.dumps(host)}],
        }


async def served(http: httpx.AsyncClient, path: str) -> bool:
    """Whether a service answers, not the ingress itself, and not with a server error."""
    try:
        answer = await http.get(path)
    except httpx.TransportError:
        return False
    return "x-request-id" in answer.headers and answer.status_code < 500


async def kubectl(*command: str) -> str:
    """Return what kubectl prints. Raises `AssertionError` with its errors if it fails."""
    process = await asyncio.create_subprocess_exec(_binary(), *command, stdout=PIPE, stderr=PIPE)
    output, errors = await process.communicate()
    assert process.returncode == 0, f"kubectl {' '.join(command)}: {errors.decode()}"
    return output.decode()


@asynccontextmanager
async def ingress_address() -> AsyncIterator[str]:
    """INGRESS_URL; without it, a port forwarded to the service of an ingress controller."""
    if url := os.environ.get("INGRESS_URL"):
        yield url
        return
    namespace, name, port = await _controller()
    local = free_port()
    command = ("--namespace", namespace, "port-forward", f"service/{name}", f"{local}:{port}")
    forwarding = await asyncio.create_subprocess_exec(_binary(), *command, stdout=PIPE)
    try:
        assert forwarding.stdout
        line = await forwarding.stdout.readline()
        assert line.startswith(b"Forwarding"), f"cannot forward to {namespace}/{name}: {line.decode()}"
        yield f"http://127.0.0.1:{local}"
    finally:
        forwarding.terminate()
        await forwarding.communicate()


async def _controller() -> tuple[str, str, int]:
    for namespace in CONTROLLERS:
        found = json.loads(await kubectl("--namespace", namespace, "get", "services", "-o", "json"))
        for service in found["items"]:
            for port in service["spec"]["ports"]:
                if port.get("name") in {"web", "http"} or port["port"] == 80:
                    return namespace, service["metadata"]["name"], port["port"]
    raise AssertionError(f"no ingress controller in {' or '.join(CONTROLLERS)}: set INGRESS_URL to its address")


def _binary() -> str:
    return shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or "kubectl"


APPS = ("orders-mongo-svc", "nats", "redis", *NAMES)
"""The label `app` of each kind of pod."""
