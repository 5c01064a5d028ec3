"""Ways to break each promise: the check, an overlay, what is done to it, and words of the check's report."""

from collections.abc import Callable
from typing import Any

from tests.k8s.away import ANNOTATION
from tests.k8s.objects import Object, Objects

ERRORS, DEFAULT_BACKEND = f"{ANNOTATION}custom-http-errors", f"{ANNOTATION}default-backend"
TRAEFIK = "prod with gateway-api by traefik"

Mutation = tuple[str, str, Callable[[Objects], Any], str]


def _pod_of(objects: Objects, name: str, kind: str = "Deployment") -> Object:
    spec: Object = objects.one(kind, name)["spec"]["template"]["spec"]
    return spec


def _variable(objects: Objects, service: str, name: str) -> Object:
    [entry] = [entry for entry in objects.service(service)["env"] if entry["name"] == name]
    found: Object = entry
    return found


def _without(objects: Objects, kind: str, name: str) -> None:
    objects.remove(objects.one(kind, name))


def _policy(objects: Objects, name: str) -> Object:
    spec: Object = objects.one("NetworkPolicy", name)["spec"]
    return spec


def _set(objects: Objects, service: str, name: str, value: str) -> None:
    objects.service(service)["env"].append({"name": name, "value": value})


def _unset(objects: Objects, service: str, name: str) -> None:
    objects.service(service)["env"].remove(_variable(objects, service, name))


def _move_service_name_to_the_end(objects: Objects) -> None:
    env = objects.service("orders")["env"]
    env.append(env.pop(0))


def _open_egress(objects: Objects) -> None:
    _policy(objects, "services-to-bus")["egress"].append({"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]})


def _route(objects: Objects, service: str) -> Object:
    paths = objects.one("Ingress", "souk")["spec"]["rules"][0]["http"]["paths"]
    *_, found = [path["backend"]["service"] for path in paths if path["backend"]["service"]["name"] == service]
    backend: Object = found
    return backend


def _annotations(objects: Objects) -> Object:
    found: Object = objects.one("Ingress", "souk")["metadata"]["annotations"]
    return found


def _errors(objects: Objects, name: str) -> Object:
    found: Object = objects.one("Middleware", name)["spec"]["errors"]
    return found


def _rules(objects: Objects) -> list[Object]:
    found: list[Object] = objects.one("HTTPRoute", "souk")["spec"]["rules"]
    return found


def _in_conf(objects: Objects, file: str, old: str, new: str) -> None:
    data = objects.one("ConfigMap", "nats")["data"]
    data[file] = data[file].replace(old, new)


def _provision_as_on_one_server(objects: Objects) -> None:
    env = _pod_of(objects, "provision", "Job")["containers"][0]["env"]
    env[:] = [entry for entry in env if entry["name"] != "NATS_REPLICAS"]


def _scaler(objects: Objects) -> Object:
    spec: Object = objects.one("ScaledObject", "payments")["spec"]
    return spec


MUTATIONS: list[Mutation] = [
    ("schema", "dev", lambda o: o.service("orders").update(imagePullPolice="Never"), "imagePullPolice"),
    ("schema", "dev", lambda o: o.one("Service", "web")["spec"].update(ports="8000"), "8000"),
    ("schema", "prod", lambda o: _scaler(o).update(minReplicas=2), "minReplicas"),
    ("schema", "prod", lambda o: o.one("Certificate", "souk")["spec"].pop("issuerRef"), "issuerRef"),
    ("schema", "prod", lambda o: o.one("MongoDBCommunity", "auth-mongo")["spec"].update(nodes=3), "nodes"),
    ("schema", "prod with gateway-api", lambda o: o.one("HTTPRoute", "souk")["spec"].update(host="x"), "host"),
    ("schema", "prod with gateway-api", lambda o: o.one("Gateway", "souk")["spec"].pop("listeners"), "listeners"),
    ("confined", "dev", lambda o: _pod_of(o, "items")["securityContext"].update(runAsUser=0), "items may be root"),
    ("confined", "dev", lambda o: _pod_of(o, "nats", "StatefulSet").pop("securityContext"), "nats may be root"),
    (
        "confined",
        "dev",
        lambda o: o.service("web")["securityContext"].update(readOnlyRootFilesystem=False),
        "web/service may write to its image",
    ),
    (
        "confined",
        "dev",
        lambda o: _pod_of(o, "auth-mongo", "StatefulSet")["initContainers"][0].pop("securityContext"),
        "auth-mongo/key keeps capabilities",
    ),
    (
        "confined",
        "prod",
        lambda o: o.service("auth")["securityContext"].update(allowPrivilegeEscalation=True),
        "auth/service may gain rights",
    ),
    (
        "confined",
        "dev",
        lambda o: _pod_of(o, "orders").update(automountServiceAccountToken=True),
        "orders has a token",
    ),
    (
        "confined",
        "dev",
        lambda o: _pod_of(o, "orders")["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        "orders sees the node",
    ),
    ("confined", "dev", lambda o: o.one("Namespace", "souk")["metadata"].pop("labels"), "not restricted"),
    (
        "bounded",
        "dev",
        lambda o: o.service("orders")["resources"]["limits"].pop("memory"),
        "orders/service has no limits of memory",
    ),
    (
        "bounded",
        "dev",
        lambda o: _pod_of(o, "redis", "StatefulSet")["containers"][0].pop("resources"),
        "redis/redis has no requests of cpu",
    ),
    (
        "bounded",
        "prod",
        lambda o: o.one("MongoDBCommunity", "items-mongo")["spec"].pop("statefulSet"),
        "items-mongo/mongod has no limits of memory",
    ),
    ("probed", "dev", lambda o: o.service("auth").pop("livenessProbe"), "auth/service livenessProbe is missing"),
    (
        "probed",
        "dev",
        lambda o: o.service("auth")["livenessProbe"]["httpGet"].update(path="/readyz"),
        "auth/service livenessProbe asks /readyz",
    ),
    (
        "probed",
        "dev",
        lambda o: _pod_of(o, "nats", "StatefulSet")["containers"][0]["startupProbe"]["httpGet"].update(port="x"),
        "nats/nats startupProbe asks a port that is not open",
    ),
    ("leaves_gently", "dev", lambda o: o.service("web").pop("lifecycle"), "web stops while it still gets requests"),
    (
        "leaves_gently",
        "prod",
        lambda o: _pod_of(o, "orders").update(terminationGracePeriodSeconds=10),
        "orders is killed before its work is done",
    ),
    ("complete", "dev", lambda o: _without(o, "Deployment", "expiration"), "expiration is not deployed"),
    ("complete", "dev", lambda o: _without(o, "ServiceAccount", "web"), "web has no account"),
    ("complete", "dev", lambda o: _without(o, "PodDisruptionBudget", "web"), "web may be drained altogether"),
    ("complete", "dev", lambda o: _without(o, "Service", "expiration"), "expiration has no Service"),
    ("complete", "prod", lambda o: _pod_of(o, "web").pop("topologySpreadConstraints"), "web may all be on one"),
    ("services", "dev", lambda o: o.one("Service", "orders")["spec"]["selector"].update(app="order"), "no pod"),
    (
        "services",
        "dev",
        lambda o: o.one("Service", "nats")["spec"]["ports"][0].update(targetPort=4223),
        "Service nats leads to 4223",
    ),
    ("scaling", "prod", lambda o: _without(o, "HorizontalPodAutoscaler", "web"), "web is scaled by []"),
    (
        "scaling",
        "prod",
        lambda o: _scaler(o)["scaleTargetRef"].update(name="orders"),
        "orders is scaled by ['HorizontalPodAutoscaler', 'ScaledObject']",
    ),
    ("scaling", "prod", lambda o: _scaler(o)["triggers"].pop(), "payments scales by"),
    ("scaling", "prod", lambda o: _without(o, "Deployment", "payments"), "payments is scaled and does not exist"),
    ("bus", "dev", lambda o: _in_conf(o, "users.conf", "users.>", ">"), "users.conf is out of date"),
    ("bus", "dev", lambda o: _in_conf(o, "nats.conf", "always", "2m"), "what is not on the disk"),
    ("bus", "prod", lambda o: _unset(o, "orders", "NATS_REPLICAS"), "orders asks for 1 copies"),
    (
        "bus",
        "dev",
        lambda o: o.one("ConfigMap", "durables")["data"].update({"durables.json": "[]"}),
        "durables.json is out of date",
    ),
    (
        "bus",
        "prod",
        _provision_as_on_one_server,
        "provision asks for 1 copies",
    ),
    (
        "network",
        "dev",
        lambda o: _without(o, "NetworkPolicy", "provision-to-bus"),
        "('provision', 'nats', 'TCP', 4222) is needed and not allowed",
    ),
    (
        "network",
        "prod with archive",
        lambda o: _without(o, "NetworkPolicy", "audit-mongo-from-archive"),
        "('archive', 'audit-mongo', 'TCP', 27017) is needed and not allowed",
    ),
    ("bus", "prod", lambda o: o.one("StatefulSet", "nats")["spec"].update(replicas=1), "the bus has 1"),
    (
        "databases",
        "dev",
        lambda o: _pod_of(o, "orders-mongo", "StatefulSet")["containers"][0]["command"].pop(-3),
        "orders-mongo keeps the locks",
    ),
    (
        "databases",
        "prod",
        lambda o: o.one("MongoDBCommunity", "auth-mongo")["spec"]["additionalMongodConfig"].clear(),
        "auth-mongo keeps the locks",
    ),
    ("environment", "dev", lambda o: _unset(o, "web", "CSRF_SECRET"), "web needs CSRF_SECRET"),
    ("environment", "dev", lambda o: _set(o, "orders", "HOLD_SECOND", "9"), "orders does not know HOLD_SECOND"),
    ("environment", "dev", lambda o: _set(o, "orders", "HOLD_SECONDS", "soon"), "orders would not start"),
    (
        "environment",
        "dev",
        lambda o: _variable(o, "auth", "JWT_PRIVATE_KEY")["valueFrom"]["secretKeyRef"].update(key="JWT_KEY"),
        "has no JWT_KEY",
    ),
    (
        "environment",
        "prod",
        lambda o: _variable(o, "web", "ITEMS_URL").update(value="http://item:8000"),
        "web: nothing is at ITEMS_URL item:8000",
    ),
    ("environment", "dev", _move_service_name_to_the_end, "uses SERVICE before it is set"),
    ("environment", "prod", lambda o: _unset(o, "payments", "STRIPE_SECRET_KEY"), "payments would not"),
    ("environment", "prod", lambda o: _unset(o, "payments", "PAYMENT_GATEWAY"), "payments would not start"),
    ("environment", "prod", lambda o: _unset(o, "web", "SANDBOX"), "web would not start"),
    ("environment", "prod", lambda o: _unset(o, "auth", "COOKIE_SECURE"), "auth would not start"),
    ("environment", "dev", lambda o: _unset(o, "notifications", "SMTP_URL"), "notifications needs SMTP_URL"),
    (
        "network",
        "prod",
        lambda o: _without(o, "NetworkPolicy", "notifications-to-smtp"),
        "('notifications', '203.0.113.7', 'TCP', 587) is needed",
    ),
    (
        "network",
        "dev",
        lambda o: _without(o, "NetworkPolicy", "nothing-by-default"),
        "('other', 'expiration', 'TCP', 9)",
    ),
    ("network", "dev", lambda o: _without(o, "NetworkPolicy", "all-to-dns"), "('web', 'dns', 'UDP', 53) is needed"),
    (
        "network",
        "dev",
        lambda o: _without(o, "NetworkPolicy", "auth-to-mongo"),
        "('auth', 'auth-mongo', 'TCP', 27017) is needed and not allowed",
    ),
    (
        "network",
        "dev",
        lambda o: _policy(o, "orders-mongo")["ingress"][0].pop("from"),
        "('traefik', 'orders-mongo', 'TCP', 27017) is allowed and not needed",
    ),
    (
        "network",
        "dev",
        lambda o: _policy(o, "ingress-to-routes")["ingress"][0].pop("ports"),
        "('traefik', 'web', 'TCP', 9)",
    ),
    (
        "network",
        "dev",
        lambda o: o.one("Deployment", "orders")["spec"]["template"]["metadata"]["labels"].pop("routed"),
        "('traefik', 'orders', 'TCP', 8000) is needed and not allowed",
    ),
    ("network", "dev", _open_egress, "('orders', '203.0.113.7', 'TCP', 443) is allowed and not needed"),
    (
        "network",
        "prod",
        lambda o: _without(o, "NetworkPolicy", "payments-to-stripe"),
        "('payments', '203.0.113.7', 'TCP', 443) is needed and not allowed",
    ),
    ("network", "prod", lambda o: _policy(o, "bus-members")["ingress"].pop(0), "('nats', 'nats', 'TCP', 6222)"),
    ("away", "dev", lambda o: _annotations(o).pop(ERRORS), "lets the gateway's own 502 pass"),
    ("away", "dev", lambda o: _annotations(o).update({ERRORS: "502,503,504"}), "replaces the 503 of a service"),
    ("away", "prod", lambda o: _annotations(o).update({ERRORS: "502,504"}), "replaces a 502 by a 500"),
    ("away", "dev", lambda o: _annotations(o).pop(DEFAULT_BACKEND), "nobody answers in place of others"),
    (
        "away",
        "prod",
        lambda o: _annotations(o).update({DEFAULT_BACKEND: "web"}),
        "web answers in place of others and is",
    ),
    ("away", "prod", lambda o: o.one("Deployment", "away")["spec"].update(replicas=1), "has one pod"),
    ("away", "dev", lambda o: _without(o, "Deployment", "away"), "away answers in place of others and has no pods"),
    ("away", TRAEFIK, lambda o: _errors(o, "away-api").update(query="/{status}/page"), "/api/users has"),
    ("away", TRAEFIK, lambda o: _rules(o)[-1].pop("filters"), "/ has [] and not the page"),
    ("away", TRAEFIK, lambda o: _errors(o, "away-page")["status"].append("503"), "replaces the 503 of a service"),
    ("schema", TRAEFIK, lambda o: _errors(o, "away-page").update(statuses=["502"]), "statuses"),
    (
        "network",
        "dev",
        lambda o: o.one("Deployment", "away")["spec"]["template"]["metadata"]["labels"].pop("routed"),
        "('traefik', 'away', 'TCP', 8000) is needed and not allowed",
    ),
    ("routes", "dev", lambda o: _route(o, "orders").update(name="order"), "leads to order:8000"),
    ("routes", "dev", lambda o: _route(o, "web").update(port={"number": 80}), "leads to web:80"),
    ("routes", "dev", lambda o: _route(o, "items").update(name="orders"), "sends /api/items to orders"),
    (
        "routes",
        "prod with gateway-api",
        lambda o: o.one("HTTPRoute", "souk")["spec"]["rules"].pop(1),
        "HTTPRoute souk sends /api/users to web, not to auth",
    ),
    (
        "routes",
        "prod with gateway-api",
        lambda o: o.one("HTTPRoute", "souk")["spec"]["rules"].pop(0),
        "HTTPRoute souk sends /api/users/me/export to auth, not to web",
    ),
    ("routes", "dev", lambda o: _without(o, "Ingress", "souk"), "there is no Ingress"),
]
