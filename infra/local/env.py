"""The environment variables of the laptop stack and of the commands that work on a running one."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.telemetry import LogFormat

E = TypeVar("E", bound=BaseSettings)


class Unusable(RuntimeError):
    """A variable has a value that cannot be used. The message names the variable and says what it should be."""


class Env(BaseSettings):
    """Which stack is meant. An empty variable counts as not set."""

    model_config = SettingsConfigDict(env_ignore_empty=True, populate_by_name=True)

    port: Annotated[int, Field(ge=1024, le=65_000)] = 8080
    """The gateway's port, from which all others are counted."""
    data_dir: Path = Path(".data")
    """Where the stack keeps everything."""
    mongo_url: str | None = None
    nats_url: str | None = None
    redis_url: str | None = None

    @property
    def servers(self) -> dict[str, str]:
        """The URLs of servers that run already, by name: mongod, nats, redis."""
        urls = {"mongod": self.mongo_url, "nats": self.nats_url, "redis": self.redis_url}
        return {name: url for name, url in urls.items() if url}


class StackEnv(Env):
    """What `make dev` reads."""

    hold_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: LogFormat | None = None
    """By default `text` on a terminal, else `json`."""
    traces: bool = False
    """Whether the page /dev/traces shows what each request leads to."""


def read(kind: type[E]) -> E:
    """Return the variables from the environment. Raises `Unusable` with a sentence for each bad one."""
    try:
        return kind()
    except ValidationError as error:
        raise Unusable("\n".join(_sentence(**problem) for problem in error.errors())) from None


def _sentence(*, type: str, loc: tuple[int | str, ...], input: object, msg: str, **_: object) -> str:  # noqa: A002 - pydantic's
    name = str(loc[0]).upper()
    if type == "missing":  # Its `input` would be all the others, also those that are secret.
        return f"{name} is missing"
    return f"{name} is {input!r}, but {msg.removeprefix('Input ')}"
