"""The promises of production about data, doors and the node. Each check yields a sentence for each broken promise."""

import re
from collections.abc import Iterator

from infra.services import SERVICES
from tests.k8s.availability import template
from tests.k8s.code_facts import fields_of
from tests.k8s.objects import Object, Objects, Pod

UNITS = {"": 1, "m": 0.001, "K": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

NAMESPACES = ("hostPID", "hostIPC", "hostNetwork")


def amount(text: str) -> float:
    """A quantity of Kubernetes, or of nats-server (1500MB), as a number."""
    found = re.fullmatch(r"([\d.]+)(m|[KMGT]i?)?B?", str(text))
    assert found, text
    return float(found[1]) * UNITS[found[2] or ""]


def databases(objects: Objects) -> Iterator[str]:
    """Each database has users of its own with passwords of their own, who may read and write it and nothing else."""
    secrets: list[str] = []
    operated = {one["metadata"]["name"]: one["spec"] for one in objects.of("MongoDBCommunity")}
    for service in (one for one in SERVICES if one.uses == "mongod"):
        name = f"{service.name}-mongo"
        if name not in operated:
            yield f"{service.name} has no database"
            continue
        spec = operated[name]
        if spec["security"]["authentication"]["modes"] not in (["SCRAM"], ["SCRAM-SHA-256"]):
            yield f"{name} lets in by {spec['security']['authentication']['modes']}"
        for user in spec["users"]:
            secrets += [user["scramCredentialsSecretName"]]
            if user["name"] == "backup":
                yield from _reads_only(name, service.name, user, spec)
                continue
            if user["passwordSecretRef"] != {"name": service.name, "key": "MONGO_PASSWORD"}:
                yield f"{name}: {user['name']} has the password of {user['passwordSecretRef']['name']}"
            if user["roles"] != [{"name": "readWrite", "db": service.name}]:
                yield f"{name}: {user['name']} may do more than read and write {service.name}"
        yield from _admitted(name, spec["statefulSet"]["spec"]["template"]["spec"])
    yield from (f"the credentials {name} are of several users" for name in set(secrets) if secrets.count(name) > 1)


def _reads_only(name: str, database: str, user: Object, spec: Object) -> Iterator[str]:
    """Backups read one database and lock it for a moment, with a password that no service has."""
    if user["passwordSecretRef"] != {"name": "backup", "key": "MONGO_PASSWORD"}:
        yield f"{name}: backup has the password of {user['passwordSecretRef']['name']}"
    if user["roles"] != [{"name": "read", "db": database}, {"name": "lockWrites", "db": "admin"}]:
        yield f"{name}: backup may do more than read {database} and lock it"
    allowed = [{"resource": {"cluster": True}, "actions": ["fsync", "unlock"]}]
    if [role["privileges"] for role in spec["security"]["roles"]] != [allowed]:
        yield f"{name}: a role may do more than lock writes"


def _admitted(name: str, spec: Object) -> Iterator[str]:
    pod = spec.get("securityContext", {})
    if pod.get("runAsNonRoot") is not True or pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield f"{name}: `restricted` refuses its pods"
    for container in spec["containers"]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name}: `restricted` refuses {container['name']}"


def kept(objects: Objects) -> Iterator[str]:
    """What is acknowledged is on volumes, and fits on them; nobody without a password reaches the deadlines."""
    for name, path in (("nats", "/data"), ("redis", "/data")):
        spec = objects.one("StatefulSet", name)["spec"]
        claims = {one["metadata"]["name"]: one["spec"] for one in spec.get("volumeClaimTemplates", [])}
        [container] = spec["template"]["spec"]["containers"]
        mounted = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == path]
        if not mounted or mounted[0] not in claims:
            yield f"what {name} keeps is gone with its pod"
            continue
        if name == "nats":
            [store] = [one["value"] for one in container["env"] if one["name"] == "MAX_FILE_STORE"]
            size = claims[mounted[0]]["resources"]["requests"]["storage"]
            if amount(store) > 0.9 * amount(size):
                yield f"the bus fills its volume: {store} of {size}"
            [job] = objects.one("Job", "provision")["spec"]["template"]["spec"]["containers"]
            if store not in [one.get("value") for one in job["env"] if one["name"] == "BUS_ROOM"]:
                yield f"the budgets of the streams are not those of a bus with {store}"
    [redis] = objects.one("StatefulSet", "redis")["spec"]["template"]["spec"]["containers"]
    said = "\n".join(redis["command"])
    if "--user default off" not in said or not re.search(r"--user expiration on >\$\(REDIS_PASSWORD\)", said):
        yield "redis lets in who has no password"
    if not any(e["name"] == "REDIS_PASSWORD" and "secretKeyRef" in e.get("valueFrom", {}) for e in redis["env"]):
        yield "the password of redis is not secret"


def encrypted(objects: Objects) -> Iterator[str]:
    """People reach one host of a name, by TLS only, with its certificate, and cookies never go without."""
    doors = {host for one in objects.of("Ingress") for host in (rule.get("host") for rule in one["spec"]["rules"])}
    doors |= {each.get("hostname") for one in objects.of("Gateway") for each in one["spec"]["listeners"]}
    if len(doors) != 1:
        yield f"the doors are for {sorted(map(str, doors))}, not for one host"
    [host, *_] = doors
    if not host or "*" in host or host.endswith((".test", ".local", "localhost")):
        yield f"{host} is no host that people reach"
    certificates = {one["spec"]["secretName"]: one["spec"].get("dnsNames", []) for one in objects.of("Certificate")}
    for one in objects.of("Ingress"):
        if [(tls["hosts"], certificates.get(tls["secretName"])) for tls in one["spec"].get("tls", [])] != [
            ([host], [host])
        ]:
            yield f"the Ingress has no certificate for {host}"
        if one["metadata"].get("annotations", {}).get("nginx.ingress.kubernetes.io/ssl-redirect", "true") != "true":
            yield "the Ingress serves pages without TLS"
    yield from _gateways(objects, certificates, host)
    for name in (service.name for service in SERVICES):
        env = {entry["name"]: entry.get("value") for entry in objects.service(name)["env"]}
        if "cookie_secure" in fields_of(name) and env.get("COOKIE_SECURE") != "true":
            yield f"the cookies of {name} go without TLS"
        if "public_url" in fields_of(name) and env.get("PUBLIC_URL") != f"https://{host}":
            yield f"{name} leads people to {env.get('PUBLIC_URL')}"


def _gateways(objects: Objects, certificates: dict[str, list[str]], host: str | None) -> Iterator[str]:
    for one in objects.of("Gateway"):
        for listener in one["spec"]["listeners"]:
            named = [each["name"] for each in listener.get("tls", {}).get("certificateRefs", [])]
            if listener["protocol"] == "HTTPS" and [certificates.get(name) for name in named] != [[host]]:
                yield f"the Gateway has no certificate for {host}"
            if listener["protocol"] == "HTTP" and not _redirected(objects, listener["name"]):
                yield "the Gateway serves pages without TLS"
        if not any(listener["protocol"] == "HTTP" for listener in one["spec"]["listeners"]):
            yield "who types the host without https finds nothing"


def _redirected(objects: Objects, listener: str) -> bool:
    """Whether every route at this listener only leads to https."""
    rules = [
        rule
        for route in objects.of("HTTPRoute")
        if any(parent.get("sectionName", listener) == listener for parent in route["spec"]["parentRefs"])
        for rule in route["spec"]["rules"]
    ]
    redirects = [each.get("requestRedirect", {}) for rule in rules for each in rule.get("filters", [])]
    return bool(rules) and [one.get("scheme") for one in redirects] == ["https"] * len(rules)


def released(objects: Objects) -> Iterator[str]:
    """Each image is of one release: a tag or a digest, never whatever is newest."""
    for pod in objects.pods:
        for image in (container.get("image") for container in pod.all_containers):
            tag = str(image).rpartition("/")[2].partition("@")[0].partition(":")[2]
            if "@sha256:" not in str(image) and tag in {"", "latest"}:
                yield f"{pod.name} runs whatever {image} is"
    for one in objects.of("MongoDBCommunity"):
        if not re.fullmatch(r"\d+\.\d+\.\d+", one["spec"]["version"]):
            yield f"{one['metadata']['name']} runs whatever {one['spec']['version']} is"


def watched(objects: Objects) -> Iterator[str]:
    """KEDA asks where the bus answers, and about Souk's account."""
    doors = {
        f"{one['metadata']['name']}.{one['metadata']['namespace']}.svc.cluster.local:{port['port']}"
        for one in objects.of("Service")
        if one["spec"]["selector"] == {"app": "nats"}
        for port in one["spec"]["ports"]
        if port["name"] == "monitor"
    }
    for one in objects.of("ScaledObject"):
        for trigger in (trigger["metadata"] for trigger in one["spec"]["triggers"]):
            if trigger["natsServerMonitoringEndpoint"] not in doors or trigger["account"] != "SOUK":
                yield f"{one['metadata']['name']}: KEDA asks {trigger['natsServerMonitoringEndpoint']} in vain"


def contained(objects: Objects) -> Iterator[str]:
    """No pod has a part of its node; what it mounts exists; it asks for what it takes, and not more than it may use."""
    for pod in objects.pods:
        spec = template(objects, pod)
        for name in (name for name in NAMESPACES if spec.get(name)):
            yield f"{pod.name} has {name}"
        if any("hostPath" in volume for volume in spec.get("volumes", [])):
            yield f"{pod.name} mounts a path of its node"
        for container in [*spec.get("containers", []), *spec.get("initContainers", [])]:
            yield from _contained(objects, pod, container)


def _contained(objects: Objects, pod: Pod, container: Object) -> Iterator[str]:
    name = f"{pod.name}/{container['name']}"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield f"{name} has a port of its node"
    spec = template(objects, pod)
    there = {volume["name"] for volume in spec.get("volumes", [])}
    workload = objects.one(pod.kind, pod.name)["spec"]
    there |= {one["metadata"]["name"] for one in workload.get("volumeClaimTemplates", [])}
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in there:
            yield f"{name} mounts {mount['name']}, which does not exist"
    generated = {one["metadata"]["name"] for one in objects.of("ConfigMap")}
    for volume in spec.get("volumes", []):
        if "configMap" in volume and volume["configMap"]["name"] not in generated:
            yield f"{pod.name} mounts the ConfigMap {volume['configMap']['name']}, which does not exist"
    given = container.get("resources", {})
    for kind, asked in given.get("requests", {}).items():
        if amount(asked) > amount(given.get("limits", {}).get(kind, "0")):
            yield f"{name} asks for more {kind} than it may use"
    if pod in objects.services and amount(given["requests"]["memory"]) < amount("128Mi"):
        yield f"{name} asks for less memory than a service takes at rest"


def hashed(objects: Objects) -> Iterator[str]:
    """What is generated is named after its content: a pod that reads it starts again when it changes."""
    for one in objects.of("ConfigMap", "Secret"):
        if not re.search(r"-[a-z0-9]{10}$", one["metadata"]["name"]):
            yield f"pods do not notice a change of {one['kind']} {one['metadata']['name']}"
