"""A service that listens with TLS: whom it answers, and what happens when its certificate changes."""

import asyncio
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from infra.local.stack.program import passed_on
from infra.servers.process import Child
from tests.support.certificates import Authority

pytestmark = pytest.mark.servers

HERE = "127.0.0.1"


class Service(Child):
    """The process of a service, with the files of a Secret."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        super().__init__("listening", folder)
        self._env = env

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-m", "tests.support.listening"]

    def environment(self) -> Mapping[str, str]:
        return {**passed_on(), "NATS_URL": "nats://nobody", "PORT": str(self.port), "LOG_FORMAT": "json", **self._env}

    async def answers(self) -> bool:
        _, writer = await asyncio.open_connection(HERE, self.port)
        writer.close()
        return True


class Secret:
    """What cert-manager writes, and the kubelet mounts: files behind a link that is changed at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority()
        self._rounds = 0
        folder.mkdir()
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (folder / name).symlink_to(f"..data/{name}")
        self.issue()

    def issue(self, *names: str) -> None:
        """Have a new certificate, for these names or this machine."""
        self._rounds += 1
        fresh = f"..{self._rounds}"
        self.authority.issue(self.folder / fresh, *(names or (HERE, "localhost")))
        self._link(fresh)

    def spoil(self) -> None:
        """Have a certificate and the key of another."""
        self._rounds += 1
        mixed, other = self.folder / f"..{self._rounds}", self.folder / "..other"
        self.authority.issue(mixed, HERE)
        self.authority.issue(other, HERE)
        (other / "tls.key").replace(mixed / "tls.key")
        self._link(mixed.name)

    def _link(self, target: str) -> None:
        link = self.folder / "..link"
        link.symlink_to(target)
        link.replace(self.folder / "..data")

    @property
    def settings(self) -> dict[str, str]:
        return {"TLS_CERT_FILE": str(self.folder / "tls.crt"), "TLS_KEY_FILE": str(self.folder / "tls.key")}

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.folder / "ca.crt")


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    """A certificate for this machine."""
    return Secret(tmp_path / "secret")


@asynccontextmanager
async def running(folder: Path, env: Mapping[str, str]) -> AsyncIterator[Service]:
    """Run a service meanwhile."""
    service = Service(folder, env)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


@pytest.fixture
async def service(secret: Secret, tmp_path: Path) -> AsyncIterator[Service]:
    """A service that listens with TLS."""
    async with running(tmp_path, secret.settings) as made:
        yield made


def client_of(service: Service, trust: ssl.SSLContext, host: str = HERE) -> httpx.AsyncClient:
    """Somebody who calls the service, and checks that it is the one."""
    return httpx.AsyncClient(base_url=f"https://{host}:{service.port}", verify=trust, trust_env=False, timeout=30)


async def shown(service: Service, secret: Secret) -> bytes:
    """The certificate that a new caller sees."""
    _, writer = await asyncio.open_connection(HERE, service.port, ssl=secret.trust)
    try:
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.close()


async def test_a_service_without_a_certificate_listens_in_the_clear(tmp_path: Path) -> None:
    async with running(tmp_path, {}) as service, httpx.AsyncClient(trust_env=False, timeout=30) as client:
        assert (await client.get(f"http://{HERE}:{service.port}/scheme")).json() == "http"


async def test_a_service_with_a_certificate_is_who_it_seems_to_be(service: Service, secret: Secret) -> None:
    async with client_of(service, secret.trust) as client:
        assert (await client.get("/scheme")).json() == "https"


async def test_who_speaks_in_the_clear_is_refused(service: Service) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://{HERE}:{service.port}/healthz")


def old_fashioned(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context with TLS 1.1, and all that goes with it."""
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def test_who_offers_an_old_protocol_is_refused(service: Service, secret: Secret) -> None:
    caller, museum = old_fashioned(secret.trust), old_fashioned(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    museum.load_cert_chain(*secret.settings.values())
    async with await asyncio.start_server(lambda _, writer: writer.close(), HERE, 0, ssl=museum) as server:
        _, writer = await asyncio.open_connection(HERE, server.sockets[0].getsockname()[1], ssl=caller)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.1"
        writer.close()

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(HERE, service.port, ssl=caller)


async def test_a_caller_refuses_another_authority_and_another_name(service: Service, secret: Secret) -> None:
    another = Secret(secret.folder.with_name("another"))
    secret.issue("orders")
    for trust in (another.trust, secret.trust):
        async with client_of(service, trust) as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get("/healthz")


async def test_a_new_certificate_is_shown_without_a_restart_and_open_connections_stay(
    service: Service, secret: Secret
) -> None:
    async with client_of(service, secret.trust) as client, client.stream("GET", "/events") as live:
        lines = live.aiter_lines()
        assert await anext(lines) == "data: tick"
        old = await shown(service, secret)
        first = await client.get("/scheme")
        kept = first.extensions["network_stream"].get_extra_info("client_addr")

        secret.authority.renew()
        secret.issue()

        assert await shown(service, secret) != old
        again = await client.get("/scheme")  # Soon: an idle connection lives for five seconds.
        assert again.extensions["network_stream"].get_extra_info("client_addr") == kept
        assert await shown(service, secret) == await shown(service, secret)
        assert [await anext(lines) for _ in range(4)].count("data: tick") == 2


async def test_with_a_key_that_does_not_fit_the_certificate_stays_until_one_fits(
    service: Service, secret: Secret
) -> None:
    old = await shown(service, secret)

    secret.spoil()
    assert [await shown(service, secret) for _ in range(3)] == [old] * 3
    said = [line for line in service.output.read_text().splitlines() if "certificate" in line]
    assert len(said) == 1, said
    assert "TLS_KEY_FILE" in said[0]

    secret.issue()
    assert await shown(service, secret) != old


async def test_who_hangs_up_in_the_middle_leaves_no_trace(service: Service, secret: Secret) -> None:
    for said in (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", b""):
        _, writer = await asyncio.open_connection(HERE, service.port)
        writer.write(said)
        await writer.drain()
        writer.close()
    await shown(service, secret)
    assert "Traceback" not in service.output.read_text()


@pytest.mark.prove
async def test_it_stops_in_time_with_a_caller_who_does_not_take_part(service: Service, secret: Secret) -> None:
    """TLS ends with a word of both sides. One who is gone never says it."""
    _, silent = await asyncio.open_connection(HERE, service.port, ssl=secret.trust)
    assert isinstance(silent.transport, asyncio.Transport)
    silent.transport.pause_reading()
    await service.stop(20)  # It waits for what is under way for 10 seconds.
    silent.transport.abort()
    assert await service.wait() == -signal.SIGTERM, "it was killed"


@pytest.mark.parametrize(
    ("change", "setting", "why"),
    [
        ({"TLS_KEY_FILE": ""}, "TLS_KEY_FILE", "missing"),
        ({"TLS_CERT_FILE": ""}, "TLS_CERT_FILE", "missing"),
        ({"TLS_CERT_FILE": "/nowhere/tls.crt"}, "TLS_CERT_FILE", "No such file"),
        ({"TLS_KEY_FILE": "/nowhere/tls.key"}, "TLS_KEY_FILE", "No such file"),
        ({"TLS_CERT_FILE": __file__}, "TLS_CERT_FILE", "not a certificate"),
        ({"TLS_KEY_FILE": __file__}, "TLS_KEY_FILE", "not the key"),
    ],
)
async def test_a_file_that_is_no_certificate_or_key_is_named_at_the_start(
    change: dict[str, str], setting: str, why: str, secret: Secret, tmp_path: Path
) -> None:
    given = {name: value for name, value in {**secret.settings, **change}.items() if value}
    service = Service(tmp_path, given)
    with pytest.raises(Exception, match="code 78"):
        await service.start()
    [said] = service.output.read_text().splitlines()
    assert said.startswith(f"setting {setting} is ")
    assert why in said


async def test_a_key_with_a_passphrase_is_refused_and_not_asked_for(secret: Secret, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    made = await asyncio.create_subprocess_exec(
        "openssl", "pkey", "-in", secret.settings["TLS_KEY_FILE"], "-aes256", "-passout", "pass:word", "-out", locked
    )
    assert await made.wait() == 0
    service = Service(tmp_path, {**secret.settings, "TLS_KEY_FILE": str(locked)})
    with pytest.raises(Exception, match="code 78"):
        await service.start()
    assert "setting TLS_KEY_FILE is wrong" in service.output.read_text()
