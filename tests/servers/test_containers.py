"""Servers in containers. That they work is shown by every other test, with BACKEND=docker."""

from pathlib import Path

import pytest
import yaml

from infra.servers.containers import recipe
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.redis import RedisServer

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.test.yml").read_text())["services"]


@pytest.mark.parametrize(("name", "kind"), [("mongo", MongoServer), ("nats", NatsServer), ("redis", RedisServer)])
def test_the_compose_file_and_testcontainers_start_the_same(
    name: str, kind: type[MongoServer] | type[NatsServer] | type[RedisServer], tmp_path: Path
) -> None:
    made, written = recipe(kind(tmp_path)), COMPOSE[name]

    assert (made.image, [made.data]) == (written["image"], written["tmpfs"])
    assert settings(written["command"]) == settings(made.command)


def settings(command: list[str]) -> set[str]:
    """Its words without what says where it listens, which is for the backend to choose."""
    return {word for word in command if "port" not in word and not word.isdecimal()}
