"""The promises of the servers: the bus keeps what it acknowledged, and each user may do only what its service does."""

from collections.abc import Iterator

from infra.bus import backup_user
from infra.k8s.derived import table, users_conf
from tests.k8s.objects import Objects


def bus(objects: Objects) -> Iterator[str]:
    """The users are those of a laptop; what is acknowledged is on disk; each member has a copy of each stream."""
    conf = objects.one("ConfigMap", "nats")["data"]
    more = [backup_user("$BACKUP")] if any(one["metadata"]["name"] == "backup" for one in objects.of("CronJob")) else []
    if conf["users.conf"] != users_conf(*more):
        yield "users.conf is out of date: run `make manifests`"
    if "sync_interval: always" not in conf["nats.conf"]:
        yield "the bus acknowledges what is not on the disk yet"
    members = objects.one("StatefulSet", "nats")["spec"].get("replicas", 1)
    if objects.one("ConfigMap", "durables")["data"]["durables.json"] != table():
        yield "durables.json is out of date: run `make manifests`"
    for pod in (pod for pod in objects.pods if pod.kind == "Job" or pod in objects.services):
        env = {entry["name"]: entry.get("value") for entry in pod.containers[0]["env"]}
        if int(env.get("NATS_REPLICAS") or 1) != members:
            yield f"{pod.name} asks for {env.get('NATS_REPLICAS', 1)} copies of its stream, and the bus has {members}"


def databases(objects: Objects) -> Iterator[str]:
    """A killed process keeps its locks for three seconds at most."""
    for pod in objects.pods:
        if pod.kind == "MongoDBCommunity":
            config = objects.one(pod.kind, pod.name)["spec"]["additionalMongodConfig"]
            seconds = config.get("setParameter.transactionLifetimeLimitSeconds")
        elif pod.name.endswith("-mongo"):
            [mongod] = [container for container in pod.containers if container["name"] == "mongod"]
            seconds = 3 if "--setParameter=transactionLifetimeLimitSeconds=3" in mongod["command"] else None
        else:
            continue
        if seconds != 3:
            yield f"{pod.name} keeps the locks of killed clients"
