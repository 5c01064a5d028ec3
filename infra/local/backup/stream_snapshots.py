"""Snapshots of JetStream streams with their consumers, by the server's own API; nats-py has no call for it.

The server sends a snapshot in chunks, some of which it wants answered before it goes on; an empty one is the last.
Restoring is the same the other way round.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

from infra.local.backup.archive import NoBackup, private
from infra.servers.nats import NatsServer

ANSWER_SECONDS = 10.0
"""How long the server may take for one chunk."""

CHUNK = 128 * 1024
"""Bytes; below the server's largest payload."""

TRIES = 20


@asynccontextmanager
async def connected(bus: NatsServer, user: str) -> AsyncIterator[Client]:
    """A connection that is not kept up: when it breaks, so does the copy. `OSError` where nothing answers."""
    await bus.answers()  # nats-py would try again and again
    client = await nats.connect(bus.url_for(user), allow_reconnect=False, max_reconnect_attempts=1, error_cb=_ignore)
    try:
        yield client
    finally:
        await client.close()


async def _ignore(_: Exception) -> None:
    """Whatever goes wrong is raised where it was asked for, too."""


async def save_stream(client: Client, name: str, file: Path) -> dict[str, Any]:
    """Write a snapshot to `file` and return what the server says of the stream: its `config` and `state`.

    No consumer in it is ahead of its messages: what came between would take sequences that the consumer believes it
    has seen. The caller has stopped the writes, so only a few late events can be in the way. Raises `NoBackup`.
    """
    js = client.jetstream()
    for _ in range(TRIES):
        last = (await js.stream_info(name)).state.last_seq
        said = await _snapshot(client, name, file)
        durable = [consumer for consumer in await js.consumers_info(name) if consumer.config.durable_name]
        if all(consumer.delivered and consumer.delivered.stream_seq <= last for consumer in durable):
            return said
    raise NoBackup(f"stream {name} did not hold still; try again")


async def _snapshot(client: Client, name: str, file: Path) -> dict[str, Any]:
    inbox = client.new_inbox()
    chunks = await client.subscribe(inbox)
    try:
        wanted = {"deliver_subject": inbox, "chunk_size": CHUNK, "jsck": True}
        said = await _ask(client, f"$JS.API.STREAM.SNAPSHOT.{name}", wanted)
        with private(file) as content:
            while (chunk := await chunks.next_msg(ANSWER_SECONDS)).data:
                content.write(chunk.data)
                if chunk.reply:
                    await chunk.respond(b"")
        if chunk.headers:
            raise NoBackup(f"the bus broke off the snapshot of {name}: {chunk.headers}")
    finally:
        await chunks.unsubscribe()
    return {"config": said["config"], "state": said["state"]}


async def load_stream(client: Client, name: str, file: Path, said: dict[str, Any]) -> None:
    """Make a stream, with its consumers, from a snapshot. Raises `NoBackup` where it is not what it was."""
    target = (await _ask(client, f"$JS.API.STREAM.RESTORE.{name}", said))["deliver_subject"]
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            _checked(name, await client.request(target, chunk, timeout=ANSWER_SECONDS))
    _checked(name, await client.request(target, b"", timeout=ANSWER_SECONDS))
    state = (await client.jetstream().stream_info(name)).state
    if (state.messages, state.last_seq) != (said["state"]["messages"], said["state"]["last_seq"]):
        raise NoBackup(f"stream {name} came back with {state.messages} events up to {state.last_seq}: {said['state']}")


async def _ask(client: Client, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    return _checked(subject, await client.request(subject, json.dumps(body).encode(), timeout=ANSWER_SECONDS))


def _checked(what: str, answer: Any) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(answer.data or b"{}")
    if error := said.get("error"):
        raise NoBackup(f"the bus refused {what}: {error.get('description')}")
    return said
