"""Ways to break each promise of production: the check, what is done to the overlay, and words of the check's report."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.k8s.inside_http_mutations import HTTP_MUTATIONS
from tests.k8s.inside_mutations import INSIDE_MUTATIONS
from tests.k8s.objects import Object, Objects

Mutation = tuple[str, Callable[[Objects], Any], str]


def _template(objects: Objects, name: str, kind: str = "Deployment") -> Object:
    spec: Object = objects.one(kind, name)["spec"]["template"]["spec"]
    return spec


def _database(objects: Objects, name: str) -> Object:
    spec: Object = objects.one("MongoDBCommunity", f"{name}-mongo")["spec"]
    return spec


def _operated(objects: Objects, name: str) -> Object:
    spec: Object = _database(objects, name)["statefulSet"]["spec"]["template"]["spec"]
    return spec


def _volume(spec: Object, name: str) -> Object:
    [found] = [one for one in spec["volumes"] if one["name"] == name]
    volume: Object = found
    return volume


def _budget(objects: Objects, name: str) -> Object:
    spec: Object = objects.one("PodDisruptionBudget", name)["spec"]
    return spec


def _require(objects: Objects, name: str, least: int | str) -> None:
    spec = _budget(objects, name)
    spec.pop("maxUnavailable")
    spec["minAvailable"] = least


def _without(objects: Objects, kind: str, name: str) -> None:
    objects.remove(objects.one(kind, name))


def _rolling(objects: Objects, name: str) -> Object:
    strategy: Object = objects.one("Deployment", name)["spec"]["strategy"]
    return strategy


def _loosen(constraints: list[Object], key: str) -> None:
    [one] = [one for one in constraints if one["topologyKey"] == key]
    one["whenUnsatisfiable"] = "ScheduleAnyway"


def _nats(objects: Objects) -> Object:
    spec: Object = objects.one("StatefulSet", "nats")["spec"]
    return spec


def _redis(objects: Objects) -> Object:
    container: Object = _template(objects, "redis", "StatefulSet")["containers"][0]
    return container


def _say(objects: Objects, old: str, new: str) -> None:
    _redis(objects)["command"] = [word.replace(old, new) for word in _redis(objects)["command"]]


def _variable(objects: Objects, service: str, name: str) -> Object:
    [found] = [entry for entry in objects.service(service)["env"] if entry["name"] == name]
    entry: Object = found
    return entry


def _tls(objects: Objects) -> Object:
    tls: Object = objects.one("Ingress", "souk")["spec"]["tls"][0]
    return tls


def _rename_host(objects: Objects, host: str) -> None:
    objects.one("Ingress", "souk")["spec"]["rules"][0]["host"] = host
    _tls(objects)["hosts"] = [host]
    objects.one("Certificate", "souk")["spec"]["dnsNames"] = [host]


def _trigger(objects: Objects, name: str) -> Object:
    trigger: Object = objects.one("ScaledObject", name)["spec"]["triggers"][0]["metadata"]
    return trigger


def _of_gateway(change: Callable[[Objects], Any]) -> Callable[[Objects], Any]:
    change.__dict__["variant"] = "prod with gateway-api"
    return change


MUTATIONS: list[Mutation] = [
    ("replicated", lambda o: o.one("HorizontalPodAutoscaler", "web")["spec"].update(minReplicas=1), "web may have 1"),
    ("replicated", lambda o: o.one("ScaledObject", "payments")["spec"].update(minReplicaCount=1), "payments may have"),
    ("replicated", lambda o: o.one("ScaledObject", "tickets")["spec"].pop("minReplicaCount"), "tickets may have 0"),
    ("replicated", lambda o: o.one("HorizontalPodAutoscaler", "items")["spec"].update(maxReplicas=2), "never has more"),
    ("replicated", lambda o: o.one("Deployment", "orders")["spec"].update(replicas=2), "orders loses its scaled"),
    ("replicated", lambda o: _database(o, "orders").update(members=2), "orders-mongo has 2 members"),
    ("replicated", lambda o: _nats(o).update(replicas=2), "nats has 2 members"),
    ("drained", lambda o: _without(o, "PodDisruptionBudget", "orders-mongo"), "orders-mongo has 0 disruption budgets"),
    ("drained", lambda o: _budget(o, "nats").update(maxUnavailable=2), "2 of 3 nats may leave"),
    ("drained", lambda o: _budget(o, "orders").update(maxUnavailable=0), "0 of 2 orders may leave"),
    ("drained", lambda o: _budget(o, "web").update(maxUnavailable="100%"), "2 of 2 web may leave"),
    ("drained", lambda o: _require(o, "auth", 2), "0 of 2 auth may leave"),
    ("drained", lambda o: _require(o, "auth-mongo", "100%"), "0 of 3 auth-mongo may leave"),
    ("updated", lambda o: _rolling(o, "orders")["rollingUpdate"].update(maxUnavailable=1), "takes orders away"),
    ("updated", lambda o: _rolling(o, "orders").update(type="Recreate"), "takes orders away"),
    ("updated", lambda o: _rolling(o, "web")["rollingUpdate"].update(maxSurge=0), "update of web never starts"),
    ("updated", lambda o: o.service("audit")["startupProbe"].update(failureThreshold=120), "audit is killed while"),
    ("updated", lambda o: _nats(o).update(updateStrategy={"type": "OnDelete"}), "bus waits for somebody"),
    ("updated", lambda o: _nats(o)["template"]["spec"]["containers"][0].pop("lifecycle"), "its leaderships"),
    ("updated", lambda o: _nats(o)["template"]["spec"].update(terminationGracePeriodSeconds=5), "killed while it"),
    ("spread", lambda o: _template(o, "web")["topologySpreadConstraints"].pop(), "web is not spread over zones"),
    ("spread", lambda o: _template(o, "web")["topologySpreadConstraints"][0].update(maxSkew=9), "web is not spread"),
    (
        "spread",
        lambda o: _template(o, "web")["topologySpreadConstraints"][1]["labelSelector"]["matchLabels"].update(app="x"),
        "web is not spread over zones",
    ),
    (
        "spread",
        lambda o: _loosen(_template(o, "nats", "StatefulSet")["topologySpreadConstraints"], "kubernetes.io/hostname"),
        "a majority of nats may be lost with one of its nodes",
    ),
    (
        "spread",
        lambda o: _loosen(_operated(o, "items")["topologySpreadConstraints"], "topology.kubernetes.io/zone"),
        "a majority of items-mongo may be lost with one of its zones",
    ),
    ("spread", lambda o: _operated(o, "items").pop("topologySpreadConstraints"), "items-mongo is not spread"),
    ("databases", lambda o: _without(o, "MongoDBCommunity", "orders-mongo"), "orders has no database"),
    ("databases", lambda o: _database(o, "auth")["security"]["authentication"].update(modes=["X509"]), "['X509']"),
    ("databases", lambda o: _database(o, "orders")["users"][0]["roles"][0].update(db="admin"), "may do more"),
    ("databases", lambda o: _database(o, "orders")["users"][0]["roles"][0].update(name="root"), "may do more"),
    (
        "databases",
        lambda o: _database(o, "orders")["users"][0]["passwordSecretRef"].update(name="items"),
        "orders has the password of items",
    ),
    (
        "databases",
        lambda o: _database(o, "orders")["users"][0].update(scramCredentialsSecretName="items-mongo"),
        "items-mongo are of several users",
    ),
    ("databases", lambda o: _operated(o, "orders").pop("securityContext"), "orders-mongo: `restricted` refuses its"),
    (
        "databases",
        lambda o: _operated(o, "orders")["containers"][1]["securityContext"].pop("capabilities"),
        "orders-mongo: `restricted` refuses mongodb-agent",
    ),
    ("kept", lambda o: _nats(o).pop("volumeClaimTemplates"), "what nats keeps is gone"),
    (
        "kept",
        lambda o: [
            e.update(value="20GB")
            for e in _nats(o)["template"]["spec"]["containers"][0]["env"]
            if e["name"] == "MAX_FILE_STORE"
        ],
        "the budgets of the streams are not those of a bus with 20GB",
    ),
    ("kept", lambda o: _redis(o).update(volumeMounts=[]), "what redis keeps is gone"),
    (
        "kept",
        lambda o: _nats(o)["volumeClaimTemplates"][0]["spec"]["resources"]["requests"].update(storage="18Gi"),
        "the bus fills its volume",
    ),
    ("kept", lambda o: _say(o, "default off", "default on nopass"), "redis lets in who has no password"),
    ("kept", lambda o: _say(o, ">$(REDIS_PASSWORD)", "nopass"), "redis lets in who has no password"),
    ("kept", lambda o: _redis(o)["env"].append(_redis(o)["env"].pop() | {"valueFrom": {}}), "is not secret"),
    ("encrypted", lambda o: o.one("Ingress", "souk")["spec"].pop("tls"), "no certificate for souk.example.com"),
    ("encrypted", lambda o: _tls(o).update(hosts=["other.example.com"]), "no certificate"),
    ("encrypted", lambda o: _tls(o).update(secretName="other"), "no certificate"),
    ("encrypted", lambda o: _rename_host(o, "*.example.com"), "*.example.com is no host"),
    ("encrypted", lambda o: _rename_host(o, "souk.test"), "souk.test is no host"),
    (
        "encrypted",
        lambda o: o.one("Ingress", "souk")["metadata"]["annotations"].update(
            {"nginx.ingress.kubernetes.io/ssl-redirect": "false"}
        ),
        "serves pages without TLS",
    ),
    ("encrypted", lambda o: _variable(o, "web", "COOKIE_SECURE").update(value="false"), "cookies of web"),
    ("encrypted", lambda o: _variable(o, "auth", "PUBLIC_URL").update(value="http://souk.example.com"), "auth leads"),
    (
        "encrypted",
        _of_gateway(lambda o: o.one("HTTPRoute", "to-https")["spec"]["rules"][0].pop("filters")),
        "the Gateway serves pages without TLS",
    ),
    (
        "encrypted",
        _of_gateway(lambda o: o.one("HTTPRoute", "souk")["spec"]["parentRefs"][0].pop("sectionName")),
        "the Gateway serves pages without TLS",
    ),
    (
        "encrypted",
        _of_gateway(lambda o: o.one("Gateway", "souk")["spec"]["listeners"].pop(0)),
        "who types the host without https finds nothing",
    ),
    (
        "encrypted",
        _of_gateway(lambda o: o.one("Gateway", "souk")["spec"]["listeners"][1]["tls"].update(certificateRefs=[])),
        "the Gateway has no certificate",
    ),
    ("released", lambda o: o.service("web").update(image="souk/web"), "web runs whatever souk/web is"),
    ("released", lambda o: o.service("web").update(image="host:5000/web:latest"), "web runs whatever"),
    ("released", lambda o: _template(o, "nats", "StatefulSet")["containers"][0].update(image="nats"), "nats runs"),
    ("released", lambda o: _database(o, "items").update(version="8"), "items-mongo runs whatever 8 is"),
    ("watched", lambda o: _trigger(o, "payments").update(natsServerMonitoringEndpoint="nats:8222"), "in vain"),
    ("watched", lambda o: _trigger(o, "tickets").update(account="$G"), "tickets: KEDA asks"),
    ("contained", lambda o: _template(o, "web").update(hostPID=True), "web has hostPID"),
    ("contained", lambda o: _template(o, "web").update(hostIPC=True), "web has hostIPC"),
    ("contained", lambda o: _operated(o, "auth").update(hostNetwork=True), "auth-mongo has hostNetwork"),
    ("contained", lambda o: o.service("web")["ports"][0].update(hostPort=80), "web/service has a port of its node"),
    (
        "contained",
        lambda o: _operated(o, "auth").update(volumes=[{"name": "x", "hostPath": {"path": "/"}}]),
        "auth-mongo mounts a path of its node",
    ),
    ("contained", lambda o: _template(o, "web")["volumes"].clear(), "web/service mounts tmp, which does not exist"),
    (
        "contained",
        lambda o: _volume(_template(o, "nats", "StatefulSet"), "config")["configMap"].update(name="x"),
        "nats mounts the ConfigMap x",
    ),
    ("contained", lambda o: o.service("web")["resources"]["requests"].update(memory="1Gi"), "asks for more memory"),
    ("contained", lambda o: _redis(o)["resources"]["requests"].update(cpu="1500m"), "redis/redis asks for more cpu"),
    ("contained", lambda o: o.service("web")["resources"]["requests"].update(memory="64Mi"), "takes at rest"),
    ("hashed", lambda o: o.one("ConfigMap", "nats")["metadata"].update(name="nats"), "a change of ConfigMap nats"),
]


BACKUP_MUTATIONS: list[tuple[Callable[[Object], Any], str]] = [
    (lambda spec: spec["users"][1]["roles"][0].update(name="readWrite"), "backup may do more than read orders"),
    (lambda spec: spec["users"][1]["roles"][0].update(db="payments"), "backup may do more than read orders"),
    (lambda spec: spec["users"][1]["passwordSecretRef"].update(name="orders"), "backup has the password of orders"),
    (lambda spec: spec["security"]["roles"][0]["privileges"][0]["actions"].append("shutdown"), "a role may do more"),
    (lambda spec: spec["users"][1].update(scramCredentialsSecretName="orders-mongo"), "orders-mongo are of several"),
]
"""What would give the user of the backups more rights than it needs."""


def _changed(change: Callable[[Object], Any]) -> Callable[[Objects], Any]:
    return lambda objects: change(_database(objects, "orders"))


def cases() -> Iterator[tuple[str, str, Callable[[Objects], Any], str]]:
    """Each mutation with the variant that it breaks."""
    for check, mutate, reported in MUTATIONS:
        yield check, mutate.__dict__.get("variant", "prod"), mutate, reported
    for mutate, reported in INSIDE_MUTATIONS:
        yield "inside", mutate.__dict__.get("variant", "prod"), mutate, reported
    for mutate, reported in HTTP_MUTATIONS:
        yield "services_inside", mutate.__dict__.get("variant", "prod"), mutate, reported
    for change, reported in BACKUP_MUTATIONS:
        yield "databases", "prod with backup", _changed(change), reported
