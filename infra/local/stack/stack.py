"""All of Souk on one machine: servers start first, then services, then the gateway; they stop in reverse order."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from nats.errors import Error as NatsError

from common.bus.provision import Refused, provision
from common.telemetry import LogFormat
from infra.bus import PROVISIONER, durables
from infra.local.stack.gateway import MAILBOX_ROUTES, TRACES_ROUTES, Gateway, read_routes
from infra.local.stack.keys import Keys
from infra.local.stack.lock import lock
from infra.local.stack.ports import Ports
from infra.local.stack.preloaded import Preloaded
from infra.local.stack.program import Program, Say, passed_on
from infra.local.stack.servers import make_servers, with_database
from infra.local.stack.supervisor import Supervisor
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.process import Child, StartFailed
from infra.servers.redis import RedisServer
from infra.services import SERVICES, Service, service_command

DRAIN_SECONDS = 12.0
"""How long a service may take to stop: it finishes its requests and events, which lasts 10 seconds at most."""


class Stack:
    """Everything that `make dev` starts. An async context manager: ready inside, nothing is left running after."""

    stream_copies = 1
    """How many servers keep each stream."""

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        *,
        hold_seconds: int = 900,
        log_level: str = "INFO",
        log_format: LogFormat = "json",
        replicas: Mapping[str, int] | None = None,
        commands: Mapping[str, Sequence[str]] | None = None,
        env: Mapping[str, Mapping[str, str]] | None = None,
        servers: Mapping[str, str] | None = None,
        traces: bool = False,
        say: Say = print,
    ) -> None:
        """`port` 0 takes free ports. `replicas`, `commands` and additional `env` are by name of the service.

        `servers` (mongod, nats, redis) are URLs of servers that run already and are not started here. With
        `traces`, every service sends its spans to a page of this stack.
        """
        self.data_dir = data_dir.resolve()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._hold_seconds = hold_seconds
        self._log_level = log_level
        self._log_format = log_format
        self._commands = commands or {}
        self._more_env = env or {}
        self._urls = servers or {}
        self._say = say
        self._ports = Ports(port)
        self._gateway_port = self._ports.of("gateway")
        self._smtp_port = self._ports.of("smtp")
        self._traces_port = self._ports.of("traces") if traces else None
        self.keys = Keys(self.data_dir / "secrets")
        self._preloaded = Preloaded(passed_on()) if sys.platform == "linux" else None
        self.servers = self._make_servers()
        self.services = [
            self._make_service(service, replica)
            for service in SERVICES
            for replica in range((replicas or {}).get(service.name, 1))
        ]
        self.mailbox = self._make_mailbox()
        self.viewers = [self.mailbox, *self._make_traces()]
        """What shows a developer what Souk sends."""
        self.gateway = self._make_gateway()
        self.supervisors = {child.name: Supervisor(child, self._say_souk) for child in self.children}

    @property
    def children(self) -> list[Child]:
        """Every process of the stack, in the order of their start."""
        return [*self.servers.values(), *self.viewers, *self.services, self.gateway]

    @property
    def url(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self._gateway_port}"

    @property
    def public_url(self) -> str:
        """The gateway's address as people open it: passkeys belong to a name, not to an IP address."""
        return f"http://localhost:{self._gateway_port}"

    def mongo_url(self, service: str) -> str:
        """Return the address of a service's database, with its credentials."""
        match self.servers.get("mongod"):
            case MongoServer() as mongo:
                return mongo.url_for(service)
        return with_database(self._urls["mongod"], service)

    def nats_url(self, service: str) -> str:
        """Return the address of the bus, with a service's credentials."""
        match self.servers.get("nats"):
            case NatsServer() as nats:
                return nats.url_for(service)
        return self._urls["nats"]

    @property
    def redis_url(self) -> str:
        """The address of Redis for its administrator."""
        match self.servers.get("redis"):
            case RedisServer() as redis:
                return redis.url
        return self._urls["redis"]

    @property
    def _expiration_redis_url(self) -> str:
        match self.servers.get("redis"):
            case RedisServer() as redis:
                return redis.expiration_url
        return self._urls["redis"]

    def env(self, name: str) -> dict[str, str]:
        """Return the environment of the service of this name, for another program that acts as the service."""
        [service] = [service for service in SERVICES if service.name == name]
        return self._env(service)

    async def __aenter__(self) -> Self:
        """Start everything and return once it answers. After `InUse`, `PortTaken` or `StartFailed` nothing runs."""
        self._lock = lock(self.data_dir)
        try:
            self._check_ports()
            if self._preloaded:
                await self._preloaded.start()
            await self._start(list(self.servers.values()))
            await self._provision()
            await self._start([*self.viewers, *self.services])
            await self._start([self.gateway])
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything, the gateway first."""
        await self._stop()

    async def ready(self, limit: float = 60) -> None:
        """Wait until everything answers again. `StartFailed` names what does not within `limit` seconds."""
        deadline = time.monotonic() + limit
        for name, supervisor in self.supervisors.items():
            while not await supervisor.answers():
                if time.monotonic() > deadline:
                    last_lines = supervisor.child.last_lines()
                    raise StartFailed(f"{name} did not come back within {limit:.0f} s:\n{last_lines}")
                await asyncio.sleep(0.02)

    async def quiet(self, seconds: float = 0.3, limit: float = 5) -> None:
        """Wait until no process has written a line for `seconds` from now on, at most `limit` seconds.

        Services log a request a moment after they have answered it: an old last line says nothing about the next.
        """
        called = time.monotonic()
        while (now := time.monotonic()) < called + limit:
            if (wait := max(called, self._last_wrote) + seconds - now) <= 0:
                return
            await asyncio.sleep(wait)

    async def rotate_keys(self) -> None:
        """Sign sessions with a new key, while everything runs. All services know it before the first token has it."""
        self.keys.add_key()
        await self._roll(self.services)
        self.keys.sign_with_added_key()
        await self._roll([program for program in self.services if _service_of(program) == "auth"])
        self.keys.finish_rotation()
        self._say_souk("sessions are signed with a new key")

    async def kill(self, name: str) -> None:
        """End a process (`orders`, `orders-2`, `mongod`) as a crash would; its supervisor starts it again."""
        await self.supervisors[name].child.kill()

    def kill_all(self) -> None:
        """End every process at once, so that `__aexit__` has nothing to wait for."""
        for child in self.children:
            child.send(signal.SIGKILL)

    @property
    def _last_wrote(self) -> float:
        return max(program.last_wrote for program in (*self.viewers, *self.services, self.gateway))

    def _check_ports(self) -> None:
        needed = {child.name: child.port for child in self.children}
        match self.servers.get("nats"):
            case NatsServer(monitoring_port=int(port)):
                needed["nats monitoring"] = port
        needed["smtp"] = self._smtp_port
        self._ports.check(needed)

    def _make_servers(self) -> dict[str, Child]:
        servers = make_servers(self.data_dir, self._ports, self.keys)
        return {name: server for name, server in servers.items() if name not in self._urls}

    def _make_service(self, service: Service, replica: int) -> Program:
        name = f"{service.name}-{replica + 1}" if replica else service.name
        port = self._ports.of(service.name, replica)
        command = self._commands.get(service.name, service_command(service.name))
        env = self._env(service) | {"HOST": "127.0.0.1", "PORT": str(port)}
        return Program(name, self.data_dir / name, port, command, env, self._say, self._preloaded)

    def _make_mailbox(self) -> Program:
        name, port = "mailbox", self._ports.of("mailbox")
        env = {"LOG_LEVEL": self._log_level, "LOG_FORMAT": self._log_format, "SMTP_PORT": str(self._smtp_port)}
        command = [sys.executable, "-m", "infra.devmail"]
        return Program(name, self.data_dir / name, port, command, env | {"PORT": str(port)}, self._say, self._preloaded)

    def _make_traces(self) -> list[Program]:
        if self._traces_port is None:
            return []
        env = {"LOG_LEVEL": "WARNING", "LOG_FORMAT": self._log_format, "PORT": str(self._traces_port)}
        command = [sys.executable, "-m", "infra.devtraces"]
        return [
            Program("traces", self.data_dir / "traces", self._traces_port, command, env, self._say, self._preloaded)
        ]

    def _make_gateway(self) -> Gateway:
        ports = {viewer.name: [viewer.port] for viewer in self.viewers}
        for program in self.services:
            ports.setdefault(_service_of(program), []).append(program.port)
        routes = [*MAILBOX_ROUTES, *(TRACES_ROUTES if self._traces_port else ()), *read_routes()]
        return Gateway(self.data_dir / "gateway", self._gateway_port, routes, ports, self._say)

    def _env(self, service: Service) -> dict[str, str]:
        """Return what this service needs to know: no secret but its own."""
        env = {
            "LOG_LEVEL": self._log_level,
            "LOG_FORMAT": self._log_format,
            "NATS_URL": self.nats_url(service.name),
            "JWT_PUBLIC_KEYS": self.keys.public_keys,
        }
        if self._traces_port:
            env["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{self._traces_port}"
            env["OTEL_BSP_SCHEDULE_DELAY"] = "500"  # milliseconds
        match service.uses:
            case "mongod":
                env["MONGO_URL"] = self.mongo_url(service.name)
            case "redis":
                env["REDIS_URL"] = self._expiration_redis_url
        match service.name:
            case "auth":
                env["JWT_PRIVATE_KEY"] = self.keys.private_pem
                env["MAIL_TOKEN_KEY"] = self.keys.password("mail_tokens")
                env["PUBLIC_URL"] = self.public_url
            case "notifications":
                env["MAIL_TOKEN_KEY"] = self.keys.password("mail_tokens")
                env["SMTP_URL"] = f"smtp://127.0.0.1:{self._smtp_port}"
                env["MAIL_FROM"] = "Souk <souk@souk.test>"
                env["PUBLIC_URL"] = self.public_url
                env["TRANSFER_TOKEN_KEY"] = self.keys.password("transfer_tokens")
            case "tickets":
                env["TICKET_PRIVATE_KEY"] = self.keys.ticket_pem
                env["TRANSFER_TOKEN_KEY"] = self.keys.password("transfer_tokens")
            case "orders":
                env["HOLD_SECONDS"] = str(self._hold_seconds)
            case "payments":
                env["WEBHOOK_SECRET"] = self.keys.password("webhook")
            case "web":
                # Through the gateway, which finds every replica; on a cluster each service has its own address.
                called = ("AUTH", "ITEMS", "ORDERS", "PAYMENTS", "AUDIT", "NOTIFICATIONS", "TICKETS")
                env |= {f"{name}_URL": self.url for name in called}
                env["CSRF_SECRET"] = self.keys.password("csrf")
        return {**env, **self._more_env.get(service.name, {})}

    async def _start(self, children: Sequence[Child]) -> None:
        if children:
            self._say_souk(f"starting {', '.join(child.name for child in children)}")
        try:
            async with asyncio.TaskGroup() as group:
                for child in children:
                    group.create_task(self.supervisors[child.name].start())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _roll(self, programs: Sequence[Program]) -> None:
        """Start services again, one after another, with the secrets as they are now."""
        for program in programs:
            program.env = {**program.env, **self.env(_service_of(program))}
            await self.supervisors[program.name].restart(DRAIN_SECONDS)

    async def _provision(self) -> None:
        """Make the streams and durables what they should be. `StartFailed` if that is refused."""
        try:
            await provision(self.nats_url(PROVISIONER), durables(), self.stream_copies)
        except (Refused, NatsError) as error:
            raise StartFailed(f"the bus is not as it should be: {error or type(error).__name__}") from error

    async def _stop(self) -> None:
        for supervisor in self.supervisors.values():
            supervisor.release()
        await self.gateway.stop()
        await _stop_all([*self.services, *self.viewers])
        await _stop_all(self.servers.values())
        if self._preloaded:
            await self._preloaded.stop()
        self._lock.close()

    def _say_souk(self, line: str) -> None:
        self._say("souk", line)


def _service_of(program: Program) -> str:
    return program.name.partition("-")[0]


async def _stop_all(children: Iterable[Child]) -> None:
    await asyncio.gather(*(child.stop(DRAIN_SECONDS) for child in children))
