"""Ways to let something go over the cluster's network in the clear, or to trust anybody."""

from collections.abc import Callable
from typing import Any

from tests.k8s.objects import Object, Objects


def _certificate(objects: Objects, name: str) -> Object:
    spec: Object = objects.one("Certificate", name)["spec"]
    return spec


def _pod(objects: Objects, kind: str, name: str) -> Object:
    one = objects.one(kind, name)["spec"]
    spec: Object = one.get("jobTemplate", {}).get("spec", one)["template"]["spec"]
    return spec


def _rewrite(objects: Objects, kind: str, name: str, variable: str, old: str, new: str) -> None:
    """Change a part of an address that a workload is given."""
    [entry] = [one for one in _pod(objects, kind, name)["containers"][0]["env"] if one["name"] == variable]
    assert old in entry["value"]
    entry["value"] = entry["value"].replace(old, new)


def _text(objects: Objects, file: str, old: str, new: str = "") -> None:
    """Change a text of the bus's configuration."""
    data = objects.one("ConfigMap", "nats")["data"]
    assert old in data[file]
    data[file] = data[file].replace(old, new)


def _redis(objects: Objects, old: str, new: str) -> None:
    command = _pod(objects, "StatefulSet", "redis")["containers"][0]["command"]
    command[command.index(old)] = new


def _tls(objects: Objects, name: str) -> Object:
    tls: Object = objects.one("MongoDBCommunity", f"{name}-mongo")["spec"]["security"]["tls"]
    return tls


def _ca(objects: Objects, kind: str, name: str) -> Object:
    [volume] = [one for one in _pod(objects, kind, name)["volumes"] if one["name"] == "ca"]
    secret: Object = volume["secret"]
    return secret


def _with_backup(change: Callable[[Objects], Any]) -> Callable[[Objects], Any]:
    change.__dict__["variant"] = "prod with backup"
    return change


AUTHORITY = "tlsCAFile=/etc/souk-ca/ca.crt"

INSIDE_MUTATIONS: list[tuple[Callable[[Objects], Any], str]] = [
    (lambda o: _rewrite(o, "Deployment", "web", "NATS_URL", "tls://", "nats://"), "web/service: NATS_URL is in the"),
    (lambda o: _rewrite(o, "Job", "provision", "NATS_URL", "tls://", "nats://"), "provision/provision: NATS_URL is in"),
    (
        lambda o: _rewrite(o, "Deployment", "auth", "MONGO_URL", "tls=true", "tls=false"),
        "auth/service: MONGO_URL is in",
    ),
    (lambda o: _rewrite(o, "Deployment", "expiration", "REDIS_URL", "rediss", "redis"), "REDIS_URL is in the clear"),
    (
        _with_backup(lambda o: _rewrite(o, "CronJob", "backup", "MONGO_URL", "&tls=true", "")),
        "backup/backup: MONGO_URL",
    ),
    (
        _with_backup(lambda o: _rewrite(o, "CronJob", "restore", "NATS_URL", "tls:", "nats:")),
        "restore/restore: NATS_URL",
    ),
    (
        lambda o: _rewrite(o, "Deployment", "web", "NATS_URL", f"?{AUTHORITY}", ""),
        "web/service: NATS_URL trusts nobody",
    ),
    (lambda o: _rewrite(o, "Deployment", "auth", "MONGO_URL", f"&{AUTHORITY}", ""), "auth/service: MONGO_URL trusts"),
    (lambda o: _rewrite(o, "Deployment", "web", "NATS_URL", "@nats:", "@nats.souk.svc:"), "is for nats.souk.svc"),
    (
        lambda o: _pod(o, "Deployment", "items")["containers"][0]["volumeMounts"].clear(),
        "items/service: NATS_URL trusts",
    ),
    (lambda o: _ca(o, "Deployment", "items").pop("items"), "items has the key of nats-tls"),
    (lambda o: _ca(o, "Job", "provision").update(secretName="inside-authority"), "the key of inside-authority"),
    (lambda o: _certificate(o, "inside")["privateKey"].update(rotationPolicy="Always"), "nobody trusts what it signs"),
    (lambda o: _certificate(o, "redis")["issuerRef"].update(name="inside-root"), "redis-tls is signed by inside-root"),
    (lambda o: _certificate(o, "nats")["privateKey"].pop("rotationPolicy"), "nats-tls keeps its key"),
    (lambda o: _certificate(o, "nats")["dnsNames"].remove("nats"), "no certificate is for nats"),
    (lambda o: _certificate(o, "nats")["dnsNames"].pop(), "no certificate is for nats-2.nats-members"),
    (lambda o: _certificate(o, "redis")["dnsNames"].clear(), "no certificate is for redis"),
    (lambda o: _certificate(o, "orders-mongo")["dnsNames"].pop(), "is for the members of orders-mongo"),
    (lambda o: _text(o, "nats.conf", "include tls.conf"), "the bus takes clients in the clear"),
    (lambda o: _text(o, "tls.conf", "handshake_first: true"), "the bus says a word in the clear"),
    (lambda o: _text(o, "cluster.conf", "include cluster-tls.conf"), "members of the bus talk in the clear"),
    (lambda o: _text(o, "cluster-tls.conf", "verify: true"), "whoever reaches a member of the bus"),
    (lambda o: _pod(o, "StatefulSet", "nats")["initContainers"].clear(), "the bus does not notice"),
    (lambda o: _pod(o, "StatefulSet", "nats").pop("shareProcessNamespace"), "the bus does not notice"),
    (lambda o: _redis(o, "--port 0", "--port 6379"), "redis takes clients in the clear"),
    (lambda o: _redis(o, "--tls-auto-reload-interval 60", "--tls-auto-reload-interval 0"), "redis does not notice"),
    (lambda o: _tls(o, "orders").update(enabled=False), "orders-mongo takes clients in the clear"),
    (lambda o: _tls(o, "orders").update(optional=True), "orders-mongo takes clients in the clear"),
    (
        lambda o: _tls(o, "orders")["certificateKeySecretRef"].update(name="items-mongo-tls"),
        "certificate of items-mongo",
    ),
]
