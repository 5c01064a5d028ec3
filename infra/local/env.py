"""What the commands of the laptop stack are told by the environment."""

import os
from pathlib import Path

_SERVERS = {"mongod": "MONGO_URL", "nats": "NATS_URL", "redis": "REDIS_URL"}


class Unusable(RuntimeError):
    """A variable that makes no sense."""


def number(name: str, default: int, least: int, most: int) -> int:
    """Return a variable as a whole number. `Unusable` where it is none between `least` and `most`."""
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise Unusable(f"{name} is {text!r}, but must be a number from {least} to {most}")
    return int(text)


def gateway_port() -> int:
    """The port of the gateway, from which all others are counted. `Unusable` where PORT is none."""
    return number("PORT", 8080, least=1024, most=65_000)


def data_dir() -> Path:
    """Where the stack keeps everything."""
    return Path(os.environ.get("DATA_DIR") or ".data").resolve()


def servers() -> dict[str, str]:
    """The URLs of servers that run already, by name: mongod, nats, redis."""
    return {name: os.environ[variable] for name, variable in _SERVERS.items() if os.environ.get(variable)}
