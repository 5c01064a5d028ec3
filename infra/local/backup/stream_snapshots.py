"""Snapshots of JetStream streams with their consumers, by the server's own API; nats-py has no call for it.

The server sends a snapshot in chunks, some of which must be acknowledged before it goes on; the last one is empty.
Restoring sends the same chunks back.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from common.bus.address import connected_to
from infra.local.backup.archive import NoBackup, Say, private
from infra.servers.nats import NatsServer

ANSWER_SECONDS = 10.0
"""How long the server may take for one chunk."""

CHUNK = 128 * 1024
"""Bytes; below the server's largest payload."""

TRIES = 20

_COMPLETE = "204"
"""The status of the last, empty chunk, if any full one went before it. Another is that of an error."""


@asynccontextmanager
async def connected(bus: NatsServer, user: str) -> AsyncIterator[Client]:
    """Connect without reconnecting: when the connection breaks, so does the copy. `OSError` if nothing answers."""
    await bus.answers()  # nats-py would keep trying
    async with connected_to(bus.url_for(user), "backup") as client:
        yield client


async def save_streams(client: Client, folder: Path, say: Say) -> dict[str, dict[str, Any]]:
    """Write a snapshot of every stream into the new `folder` and return their `config` and `state`, by name."""
    await asyncio.to_thread(folder.mkdir, mode=0o700)
    saved: dict[str, dict[str, Any]] = {}
    # Dead letters last: a message that was acknowledged because it became one must be among them.
    names = [info.config.name or "" for info in await client.jetstream().streams_info()]
    for name in sorted(names, key=lambda name: (name == "DEAD_LETTERS", name)):
        saved[name] = await save_stream(client, name, folder / name)
        say(f"stream {name} copied: {saved[name]['state']['messages']} events")
    return saved


async def save_stream(client: Client, name: str, file: Path) -> dict[str, Any]:
    """Write a snapshot to `file` and return the stream's `config` and `state`.

    No consumer in the snapshot is ahead of its messages: new messages would get sequences that the consumer believes
    it has seen. The caller has locked the writes, so only a few late events can interfere. Raises `NoBackup`.
    """
    js = client.jetstream()
    for _ in range(TRIES):
        last = (await js.stream_info(name)).state.last_seq
        snapshot = await _snapshot(client, name, file)
        durable = [consumer for consumer in await js.consumers_info(name) if consumer.config.durable_name]
        if all(consumer.delivered and consumer.delivered.stream_seq <= last for consumer in durable):
            return snapshot
    raise NoBackup(f"stream {name} kept changing; try again")


async def _snapshot(client: Client, name: str, file: Path) -> dict[str, Any]:
    inbox = client.new_inbox()
    chunks = await client.subscribe(inbox)
    try:
        request = {"deliver_subject": inbox, "chunk_size": CHUNK, "jsck": True}
        answer = await _ask(client, f"$JS.API.STREAM.SNAPSHOT.{name}", request)
        with private(file) as content:
            while (chunk := await chunks.next_msg(ANSWER_SECONDS)).data:
                content.write(chunk.data)
                if chunk.reply:
                    await chunk.respond(b"")
        if chunk.headers and chunk.headers.get("Status") != _COMPLETE:
            raise NoBackup(f"the bus aborted the snapshot of {name}: {chunk.headers}")
    finally:
        await chunks.unsubscribe()
    return {"config": answer["config"], "state": answer["state"]}


async def unused(client: Client, names: Iterable[str]) -> list[str]:
    """Return which of these streams are there. Raises `NoBackup` if one of them has ever had an event."""
    there = {info.config.name: info.state.last_seq for info in await client.jetstream().streams_info()}
    found = [name for name in names if name in there]
    for name in found:
        if there[name]:
            raise NoBackup(f"stream {name} has been in use, and nothing is written over it")
    return found


async def load_streams(
    client: Client, folder: Path, streams: dict[str, dict[str, Any]], say: Say, replace: Collection[str] = ()
) -> None:
    """Restore every stream, with its consumers and what each has acknowledged, on one server.

    `provision` then makes the copies that it should have. Streams to `replace` are deleted one at a time, each right
    before it is restored: a server that has none left removes the folder that the next one needs.
    """
    for name, stream in streams.items():
        if name in replace:
            await client.jetstream().delete_stream(name)
        await load_stream(client, name, folder / name, {**stream, "config": {**stream["config"], "num_replicas": 1}})
        say(f"stream {name}: {stream['state']['messages']} events")


async def load_stream(client: Client, name: str, file: Path, snapshot: dict[str, Any]) -> None:
    """Restore a stream and its consumers from a snapshot. Raises `NoBackup` if the result differs from `snapshot`."""
    target = (await _ask(client, f"$JS.API.STREAM.RESTORE.{name}", snapshot))["deliver_subject"]
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            _checked(name, await client.request(target, chunk, timeout=ANSWER_SECONDS))
    _checked(name, await client.request(target, b"", timeout=ANSWER_SECONDS))
    state = (await client.jetstream().stream_info(name)).state
    if (state.messages, state.last_seq) != (snapshot["state"]["messages"], snapshot["state"]["last_seq"]):
        restored = f"{state.messages} events up to {state.last_seq}"
        raise NoBackup(f"stream {name} was restored with {restored} instead of {snapshot['state']}")


async def _ask(client: Client, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    return _checked(subject, await client.request(subject, json.dumps(body).encode(), timeout=ANSWER_SECONDS))


def _checked(what: str, answer: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(answer.data or b"{}")
    if error := body.get("error"):
        raise NoBackup(f"the bus refused {what}: {error.get('description')}")
    return body
