"""The servers of one stack, with a user for each service."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from infra.bus import BACKUP, PROVISIONER, backup_user, bus_users
from infra.local.stack.keys import Keys
from infra.local.stack.ports import Ports
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.process import Child
from infra.servers.redis import RedisServer
from infra.services import SERVICES


def make_servers(folder: Path, ports: Ports, keys: Keys) -> dict[str, Child]:
    """Return mongod, nats and redis by name, not started."""
    passwords = {service.name: keys.password(service.name) for service in SERVICES}
    owners = {service.name: passwords[service.name] for service in SERVICES if service.uses == "mongod"}
    users = [*bus_users({**passwords, PROVISIONER: keys.password(PROVISIONER)}), backup_user(keys.password(BACKUP))]
    return {
        "mongod": MongoServer(folder / "mongod", ports.of("mongod"), owners),
        "nats": NatsServer(folder / "nats", ports.of("nats"), users, ports.of("nats monitoring")),
        "redis": RedisServer(
            folder / "redis", ports.of("redis"), keys.password("redis"), keys.password("redis-expiration")
        ),
    }


def with_database(url: str, name: str) -> str:
    """Return a MongoDB URL for the database `name`, with the credentials unchanged."""
    parts = urlsplit(url)
    query = parts.query
    if parts.username and "authSource" not in parse_qs(query):
        source = f"authSource={parts.path.strip('/') or 'admin'}"
        query = f"{query}&{source}" if query else source
    return parts._replace(path=f"/{name}", query=query).geturl()
