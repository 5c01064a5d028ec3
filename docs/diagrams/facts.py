"""The facts in the diagrams, read from the code and the route map, so that no diagram goes out of date unnoticed."""

import importlib
from dataclasses import dataclass
from pathlib import Path

import yaml

from common.bus.consumers import RETRY_DELAYS, Consumers
from common.events import EVENTS, DeadLetterReplayed, Event
from common.http.sessions import ANNOUNCED
from infra.services import SERVICES

ROOT = Path(__file__).parents[2]
ROUTE_MAP = ROOT / "infra/k8s/base/ingress.yaml"
STORES = {"mongod": "MongoDB", "redis": "Redis"}


@dataclass(frozen=True)
class Reader:
    """A durable consumer: a handler of a service."""

    service: str
    handler: str


def routes() -> dict[str, list[str]]:
    """The path prefixes by the service that answers them."""
    [rule] = yaml.safe_load(ROUTE_MAP.read_text())["spec"]["rules"]
    paths: dict[str, list[str]] = {}
    for path in rule["http"]["paths"]:
        paths.setdefault(path["backend"]["service"]["name"], []).append(path["path"])
    return paths


def stores() -> dict[str, str | None]:
    """The server that holds each service's data; None for a service without data."""
    return {service.name: STORES.get(service.uses or "") for service in SERVICES}


def owners() -> dict[str, str]:
    """The service that publishes each stream, by the first word of their subjects."""
    return {service.publishes: service.name for service in SERVICES if service.publishes}


def readers(event: type[Event]) -> list[Reader]:
    """Every durable consumer of an event."""
    found = []
    for service in SERVICES:
        try:
            consumers: Consumers = importlib.import_module(f"{service.name}.consumers").consumers
        except ModuleNotFoundError:
            continue  # auth reads no event, web only listens
        handlers = [handler.__name__ for handler, events in consumers.handlers if event in events]
        handlers += [handler.__name__ for handler, stream in consumers.stream_handlers if stream == event.stream]
        if event is DeadLetterReplayed:
            handlers.append("replays")
        found += [Reader(service.name, handler) for handler in handlers]
    return found


def listeners(event: type[Event]) -> list[str]:
    """The services of which every replica listens to an event: for open pages, or because sessions depend on it."""
    if event in ANNOUNCED:
        return [service.name for service in SERVICES if event.stream in service.listens]
    shown = importlib.import_module("web.live.updates").LISTENED
    return ["web"] if any(event in events for events in shown) else []


def events() -> list[type[Event]]:
    """Every event, those of one stream together."""
    return list(EVENTS.values())


def delays() -> str:
    """The growing pauses before a failed message is delivered again, in words."""
    return f"{RETRY_DELAYS[0]:g} s, {RETRY_DELAYS[1]:g} s, ... {RETRY_DELAYS[-1]:g} s"
