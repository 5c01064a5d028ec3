"""The promise of production that services are called by TLS only, and that each caller makes sure whom it calls."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from infra.k8s.derived import ANY_SERVICE
from infra.services import NAMES
from tests.k8s.objects import Object, Objects, Pod

OWN = "/etc/souk-tls"
TRUSTED = "/etc/souk-ca/ca.crt"
GATEWAY = "gateway-tls"
"""The Secret where those outside the namespace read the authority."""

ANNOTATION = "nginx.ingress.kubernetes.io/"

Names = Mapping[str, list[str]]
"""The names in a certificate, by its Secret."""


def services_inside(objects: Objects) -> Iterator[str]:
    """Every service takes TLS only; web, the gateways and Prometheus check that it is the one that they call."""
    names = {one["spec"]["secretName"]: one["spec"].get("dnsNames", []) for one in objects.of("Certificate")}
    for pod in (pod for pod in objects.pods if pod.name in {*NAMES, "away"}):
        yield from _listens(pod, names)
        yield from _calls(pod, names)
    if GATEWAY not in names:
        yield "nobody outside the namespace can check who answers"
    for one in objects.of("Ingress"):
        yield from _ingress(one)
    for one in objects.of("HTTPRoute"):
        yield from _route(one, objects)
    for one in objects.of("Middleware"):
        yield from _middleware(one["spec"]["errors"]["service"], objects)
    for one in (one for one in objects.of("PodMonitor") if one["metadata"]["name"] == "services"):
        yield from _monitor(one["spec"]["podMetricsEndpoints"])


def _listens(pod: Pod, names: Names) -> Iterator[str]:
    [container] = pod.containers
    given = {entry["name"]: entry.get("value") for entry in container.get("env", [])}
    if (given.get("TLS_CERT_FILE"), given.get("TLS_KEY_FILE")) != (f"{OWN}/tls.crt", f"{OWN}/tls.key"):
        yield f"{pod.name} is called in the clear"
    secrets = {one["name"]: one.get("secret", {}).get("secretName") for one in pod.spec.get("volumes", [])}
    mounts = {one["mountPath"]: one for one in container.get("volumeMounts", [])}
    mount = mounts.get(OWN, {"name": ""})
    if secrets.get(mount["name"]) != f"{pod.name}-tls":
        yield f"{pod.name} has no certificate of its own"
    if "subPath" in mount:
        yield f"{pod.name} does not notice a new certificate"
    for name in {pod.name, ANY_SERVICE} - set(names.get(f"{pod.name}-tls", [])):
        yield f"the certificate of {pod.name} is not for {name}"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container.get(probe, {}).get("httpGet")
        if asked and asked.get("scheme") != "HTTPS":
            yield f"{pod.name}: the {probe} asks in the clear"


def _calls(pod: Pod, names: Names) -> Iterator[str]:
    """The addresses of services that a service is given."""
    [container] = pod.containers
    given = {entry["name"]: str(entry.get("value", "")) for entry in container.get("env", [])}
    for variable, text in given.items():
        url = urlsplit(text)
        if url.scheme not in {"http", "https"} or url.hostname not in NAMES:
            continue
        if url.scheme == "http":
            yield f"{pod.name}: {variable} is in the clear"
        if url.hostname not in names.get(f"{url.hostname}-tls", []):
            yield f"{pod.name}: no certificate is for {url.hostname}"
        if given.get("SERVICES_CA_FILE") != TRUSTED:
            yield f"{pod.name}: {variable} trusts anybody"


def _ingress(one: Object) -> Iterator[str]:
    given = one["metadata"].get("annotations", {})
    wanted = {
        "backend-protocol": "HTTPS",
        "proxy-ssl-verify": "on",
        "proxy-ssl-server-name": "on",
        "proxy-ssl-name": ANY_SERVICE,
        "proxy-ssl-secret": f"{one['metadata']['namespace']}/{GATEWAY}",
    }
    for name, value in wanted.items():
        if given.get(f"{ANNOTATION}{name}") != value:
            yield f"the Ingress has {name} {given.get(f'{ANNOTATION}{name}')}, not {value}"


def _route(one: Object, objects: Objects) -> Iterator[str]:
    policies = {one["spec"]["targetRefs"][0]["name"]: one["spec"] for one in objects.of("BackendTLSPolicy")}
    called = {backend["name"] for rule in one["spec"]["rules"] for backend in rule.get("backendRefs", [])}
    for name in sorted(called):
        validation = policies.get(name, {}).get("validation", {})
        if validation.get("hostname") != name:
            yield f"the gateway calls {name} and believes it is {validation.get('hostname')}"
        if [ref["name"] for ref in validation.get("caCertificateRefs", [])] != [GATEWAY]:
            yield f"the gateway calls {name} and trusts anybody"


def _middleware(service: Object, objects: Objects) -> Iterator[str]:
    name = service["name"]
    transports = {one["metadata"]["name"]: one["spec"] for one in objects.of("ServersTransport")}
    transport = transports.get(service.get("serversTransport", ""), {})
    if service.get("scheme") != "https":
        yield f"the gateway calls {name} in the clear"
    if transport.get("serverName") != name or transport.get("insecureSkipVerify"):
        yield f"the gateway calls {name} and believes it is anybody"
    if transport.get("rootCAs") != [{"secret": GATEWAY}]:
        yield f"the gateway calls {name} and trusts anybody"


def _monitor(endpoints: list[Object]) -> Iterator[str]:
    for one in endpoints:
        if one.get("scheme") != "https":
            yield "metrics are read in the clear"
        if one.get("tlsConfig") != {"ca": {"secret": {"name": GATEWAY, "key": "ca.crt"}}, "serverName": ANY_SERVICE}:
            yield "metrics are read from anybody"
