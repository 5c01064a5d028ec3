"""The promise of production that bus, databases and Redis are reached by TLS only, and are who they seem to be."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, urlsplit

from tests.k8s.objects import Object, Objects, Pod

TRUSTED = "/etc/souk-ca/ca.crt"
SCHEMES = {"nats": "tls", "tls": "tls", "redis": "rediss", "rediss": "rediss", "mongodb": "mongodb"}
AUTHORITY_OPTIONS = {"tls": "tlsCAFile", "rediss": "ssl_ca_certs", "mongodb": "tlsCAFile"}


def inside(objects: Objects) -> Iterator[str]:
    """Every server takes TLS only, and each client checks that it is the one that its address names."""
    certificates = {one["spec"]["secretName"]: one["spec"] for one in objects.of("Certificate")}
    yield from _authority(certificates)
    for pod in (pod for pod in objects.pods if pod.spec):
        for container in pod.all_containers:
            yield from _calls(f"{pod.name}/{container['name']}", pod, container, certificates)
        yield from _keeps_to_itself(pod)
    yield from _bus(objects, certificates)
    yield from _redis(objects)
    for one in objects.of("MongoDBCommunity"):
        yield from _database(one, certificates)


def _authority(certificates: Mapping[str, Object]) -> Iterator[str]:
    own = certificates.get("inside-authority", {})
    if not own.get("isCA") or own.get("privateKey", {}).get("rotationPolicy") != "Never":
        yield "when the authority is renewed, nobody trusts what it signs"
    for name, one in certificates.items():
        if one is own or one["issuerRef"]["kind"] == "ClusterIssuer":
            continue
        if one["issuerRef"] != {"group": "cert-manager.io", "kind": "Issuer", "name": "inside"}:
            yield f"{name} is signed by {one['issuerRef']['name']}"
        if one.get("privateKey", {}).get("rotationPolicy") != "Always":
            yield f"{name} keeps its key for ever"


def _calls(name: str, pod: Pod, container: Object, certificates: Mapping[str, Object]) -> Iterator[str]:
    """The addresses that a container is given of a bus, a database or a Redis elsewhere than in its own pod."""
    for entry in container.get("env", []):
        text = str(entry.get("value", ""))
        url = urlsplit(text)
        if url.scheme not in SCHEMES or url.hostname == "127.0.0.1":
            continue
        options = parse_qs(url.query)
        if url.scheme != SCHEMES[url.scheme] or (url.scheme == "mongodb" and options.get("tls") != ["true"]):
            yield f"{name}: {entry['name']} is in the clear"
            continue
        if options.get(AUTHORITY_OPTIONS[url.scheme]) != [TRUSTED] or not _mounted(pod, container):
            yield f"{name}: {entry['name']} trusts nobody, or anybody"
        hosts = {name for one in certificates.values() for name in one.get("dnsNames", [])}
        services = [host.removesuffix("-mongo-svc") for host in hosts if host.endswith("-mongo-svc")]
        called = [re.sub(r"SERVICE|\$\(SERVICE\)", one, text) for one in services] if "mongo" in text else [text]
        for host in {urlsplit(one).hostname for one in called} - hosts:
            yield f"{name}: no certificate is for {host}"


def _mounted(pod: Pod, container: Object) -> bool:
    volumes = {one["name"]: one.get("secret", {}) for one in pod.spec.get("volumes", [])}
    mounts = {one["mountPath"]: one for one in container.get("volumeMounts", [])}
    mount = mounts.get("/etc/souk-ca", {"name": ""})
    return "subPath" not in mount and volumes.get(mount["name"], {}).get("items") == [
        {"key": "ca.crt", "path": "ca.crt"}
    ]


def _keeps_to_itself(pod: Pod) -> Iterator[str]:
    """A pod has the key of its own certificate, and none the authority's."""
    for volume in pod.spec.get("volumes", []):
        secret = volume.get("secret", {})
        name = str(secret.get("secretName", ""))
        if name == "inside-authority" or (
            name.endswith("-tls") and not secret.get("items") and name != f"{pod.name}-tls"
        ):
            yield f"{pod.name} has the key of {name}"


def _bus(objects: Objects, certificates: Mapping[str, Object]) -> Iterator[str]:
    texts = objects.one("ConfigMap", "nats")["data"]
    clients, routes = texts["tls.conf"], texts["cluster-tls.conf"]
    if "include tls.conf" not in texts["nats.conf"] or "tls {" not in clients:
        yield "the bus takes clients in the clear"
    if "handshake_first: true" not in clients:
        yield "the bus says a word in the clear before TLS"
    if "include cluster-tls.conf" not in texts["cluster.conf"] or "tls {" not in routes:
        yield "the members of the bus talk in the clear"
    if "verify: true" not in routes or "ca_file:" not in routes:
        yield "whoever reaches a member of the bus may be one"
    names = certificates.get("nats-tls", {}).get("dnsNames", [])
    for host in re.findall(r"nats://([^:]+):6222", texts["cluster.conf"]):
        if host not in names:
            yield f"no certificate is for {host}"
    spec = objects.one("StatefulSet", "nats")["spec"]["template"]["spec"]
    reload = [one for one in spec.get("initContainers", []) if one["name"] == "reload"]
    watches = any("--signal reload" in one["command"][-1] and one.get("restartPolicy") == "Always" for one in reload)
    if not watches or not spec.get("shareProcessNamespace"):
        yield "the bus does not notice a new certificate"


def _redis(objects: Objects) -> Iterator[str]:
    [redis] = objects.one("StatefulSet", "redis")["spec"]["template"]["spec"]["containers"]
    said = dict(word.removeprefix("--").partition(" ")[::2] for word in redis["command"][1:])
    if said.get("port") != "0" or said.get("tls-port") != "6379":
        yield "redis takes clients in the clear"
    if {"tls-cert-file", "tls-key-file"} - set(said):
        yield "redis has no certificate"
    if int(said.get("tls-auto-reload-interval", 0)) == 0:
        yield "redis does not notice a new certificate"


def _database(one: Object, certificates: Mapping[str, Object]) -> Iterator[str]:
    name, tls = one["metadata"]["name"], one["spec"]["security"].get("tls", {})
    if tls.get("enabled") is not True or tls.get("optional"):
        yield f"{name} takes clients in the clear"
    for key in ("certificateKeySecretRef", "caCertificateSecretRef"):
        if tls.get(key) != {"name": f"{name}-tls"}:
            yield f"{name} has the certificate of {tls.get(key, {}).get('name')}"
    member = f"*.{name}-svc.{one['metadata']['namespace']}.svc.cluster.local"
    if member not in certificates.get(f"{name}-tls", {}).get("dnsNames", []):
        yield f"no certificate is for the members of {name}"
