"""What is promised of the servers: the bus keeps what it acknowledged, and lets everybody do what is his only."""

from collections.abc import Iterator

from infra.k8s.derived import users_conf
from tests.k8s.objects import Objects


def bus(objects: Objects) -> Iterator[str]:
    """Users as on a laptop; what is acknowledged is on the disk; as many copies of a stream as there are members."""
    conf = objects.one("ConfigMap", "nats")["data"]
    if conf["users.conf"] != users_conf():
        yield "users.conf is not what infra/services.py says: run `make manifests`"
    if "sync_interval: always" not in conf["nats.conf"]:
        yield "the bus acknowledges what is not on the disk yet"
    members = objects.one("StatefulSet", "nats")["spec"].get("replicas", 1)
    for pod in objects.services:
        env = {entry["name"]: entry.get("value") for entry in pod.containers[0]["env"]}
        if int(env.get("NATS_REPLICAS") or 1) != members:
            yield f"{pod.name} asks for {env.get('NATS_REPLICAS', 1)} copies of its stream, and the bus has {members}"


def databases(objects: Objects) -> Iterator[str]:
    """What a killed process has locked stays locked three seconds."""
    for pod in objects.pods:
        if pod.kind == "MongoDBCommunity":
            told = objects.one(pod.kind, pod.name)["spec"]["additionalMongodConfig"]
            seconds = told.get("setParameter.transactionLifetimeLimitSeconds")
        elif pod.name.endswith("-mongo"):
            [mongod] = [container for container in pod.containers if container["name"] == "mongod"]
            seconds = 3 if "--setParameter=transactionLifetimeLimitSeconds=3" in mongod["command"] else None
        else:
            continue
        if seconds != 3:
            yield f"{pod.name} keeps locks of the dead"
