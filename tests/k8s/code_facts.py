"""Facts of the code that the manifests must agree with: settings, consumers, the route map."""

import importlib
from collections.abc import Iterator
from typing import Any

from common.bus.consumers import REPLAYS, Consumers
from common.events import EVENTS
from common.settings import Settings
from infra.local.stack.gateway import read_routes
from infra.services import SERVICES


def settings_of(service: str) -> type[Settings]:
    """The settings class of a service."""
    module = importlib.import_module(f"{service}.settings")
    [own] = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Settings) and kind.__module__ == module.__name__
    ]
    return own


def fields_of(service: str) -> dict[str, Any]:
    """The fields of a service's settings, by name."""
    return dict(settings_of(service).model_fields)


def consumers_of(service: str) -> set[tuple[str, str]]:
    """The stream and the name of each durable consumer of a service that brings it work."""
    try:
        consumers: Consumers = importlib.import_module(f"{service}.consumers").consumers
    except ModuleNotFoundError:
        return set()  # auth reads no event, web only listens
    return {(durable.stream, durable.name) for durable in consumers.durables if durable.handler != REPLAYS}


def on_the_bus() -> Iterator[str]:
    """Each service that owns an event, reads one, or listens."""
    owners = {subject.partition(".")[0] for subject in EVENTS}
    for service in SERVICES:
        if service.publishes in owners or consumers_of(service.name) or service.name == "web":
            yield service.name


def routed() -> set[str]:
    """The services that the route map leads to."""
    return {route.service for route in read_routes()}
