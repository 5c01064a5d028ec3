"""Who may do what on the bus, on a laptop and on a cluster: derived from the registry and the table of durables.

The table stands beside the manifests; `make manifests` writes it from the handlers of the services.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from common.bus.archive import ARCHIVED, archive_subject
from common.bus.durables import Durable
from common.bus.provision import read_table
from common.bus.streams import EVERY_STREAM
from common.bus.tries import TRIES
from infra.servers.nats import STREAMS_ACCOUNT, Administrator, NatsUser
from infra.services import SERVICES, Service

TABLE = Path(__file__).parent / "k8s/base/nats/durables.json"

PROVISIONER = "provisioner"
"""The user that creates and changes streams and durables."""

ARCHIVIST = "audit"
"""The service that answers for what has left the streams. Who may read a stream may read its archive."""

BACKUP = "backup"
"""The user that takes snapshots of streams."""

BACKUP_ASKS = (
    *(f"$JS.API.STREAM.{what}.*" for what in ("INFO", "SNAPSHOT")),
    *("$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.LIST.*", "$JS.SNAPSHOT.ACK.>"),
)


def durables() -> list[Durable]:
    """Return every durable consumer of every service."""
    return read_table(TABLE.read_text())


def service_user(service: Service, password: str) -> NatsUser:
    """Return a service as a user of the bus."""
    name = service.name
    return NatsUser(
        name,
        password,
        asks=tuple(_asks(service, [durable for durable in durables() if durable.service == name])),
        hears=tuple(f"news.{stream.lower()}.>" for stream in service.listens),
        answers=tuple(_answers(service)),
    )


def _answers(service: Service) -> Iterator[str]:
    if service.shows_records:
        yield f"books.{service.name}.>"
    yield from service.answers
    if service.name == ARCHIVIST:
        yield from (archive_subject(stream) for stream in ARCHIVED)


def _asks(service: Service, own: list[Durable]) -> Iterator[str]:
    if service.publishes:
        yield f"{service.publishes}.>"
    yield from (f"{told}.{service.name}.>" for told in ("dead_letters", "retries", "tries", "security"))
    if service.name == "audit":
        yield from (f"books.{other.name}.>" for other in SERVICES if other.shows_records)
        yield from (f"$JS.API.CONSUMER.LIST.{stream}" for stream in EVERY_STREAM)
    yield from service.looks_up
    yield "$JS.API.INFO"
    yield from (f"$JS.API.STREAM.INFO.{stream}" for stream in EVERY_STREAM)
    yield f"$JS.API.STREAM.MSG.GET.{TRIES}"
    for stream in _read(service, own):
        yield f"$JS.API.STREAM.MSG.GET.{stream}"
        yield f"$JS.API.DIRECT.GET.{stream}"
        if stream in ARCHIVED:
            yield archive_subject(stream)
    for durable in own:
        yield f"$JS.API.CONSUMER.INFO.{durable.stream}.{durable.name}"
        yield f"$JS.API.CONSUMER.MSG.NEXT.{durable.stream}.{durable.name}"
        yield f"$JS.ACK.{durable.stream}.{durable.name}.>"


def _read(service: Service, own: Iterable[Durable]) -> list[str]:
    """Return the streams whose messages a service reads: its own, and those that it listens to or has durables of."""
    published = [service.publishes.upper()] if service.publishes else []
    return sorted({*published, *service.listens, *(durable.stream for durable in own)})


def bus_users(passwords: dict[str, str]) -> list[NatsUser]:
    """Return the services, and the user that provisions, with their passwords by name."""
    users = [service_user(service, passwords[service.name]) for service in SERVICES]
    return [*users, Administrator(PROVISIONER, passwords[PROVISIONER])]


def backup_user(password: str) -> NatsUser:
    """Return the user that takes snapshots; it restores nothing."""
    return NatsUser(BACKUP, password, asks=BACKUP_ASKS, account=STREAMS_ACCOUNT)
