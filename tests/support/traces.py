"""Looks for words in everything that a stack keeps: databases, streams, Redis, files, and what its processes said."""

import base64
import json
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from email.header import Header
from quopri import encodestring
from typing import Any
from urllib.parse import quote

import nats
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from redis.asyncio import Redis

from common.bus.stream_reader import read_all
from infra.bus import PROVISIONER
from infra.local.stack.stack import Stack
from infra.servers.mongo import MongoServer

RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)

SERVERS_OWN = {"admin", "config", "local"}
"""Databases of MongoDB itself. `local` has the oplog, whose oldest writes make room for new ones."""


def spellings(word: str) -> set[str]:
    """A word as it may be written in JSON, an address of a page, a mail, or base64, in lower case."""
    encoded = word.encode()
    inside = {base64.b64encode(b"-" * pad + encoded).decode()[4 if pad else 0 : -4] for pad in range(3)}
    forms = {unicodedata.normalize(form, word) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    written = {json.dumps(word)[1:-1], quote(word), quote(word, safe=""), encodestring(encoded).decode().strip()}
    return {one.casefold() for one in {*forms, *written, Header(word, "utf-8").encode(), *inside}}


async def traces(stack: Stack, said: Sequence[str], *words: str) -> list[str]:
    """The places that have one of the words, however it is spelled. `said` are log lines as `process: line`."""
    wanted = {spelling for word in words for spelling in spellings(word)}
    found = set[str]()
    async for place, content in _everything(stack, said):
        text = content.decode("utf-8", "replace").casefold()
        if any(spelling in text for spelling in wanted):
            found.add(place)
    return sorted(found)


async def _everything(stack: Stack, said: Sequence[str]) -> AsyncIterator[tuple[str, bytes]]:
    for line in list(said):
        yield f"log of {line.partition(':')[0]}", line.encode()
    async for place in _documents(stack):
        yield place
    async for place in _messages(stack):
        yield place
    async with Redis.from_url(stack.redis_url) as redis:
        async for key in redis.scan_iter():
            yield "redis", key + (await redis.dump(key) or b"")
    for file in stack.data_dir.rglob("*"):
        # MongoDB's files have old pages and journals, compressed: what it would show is looked at above.
        if file.is_file() and "mongod" not in file.relative_to(stack.data_dir).parts:
            with suppress(FileNotFoundError):
                yield f"file {file.relative_to(stack.data_dir)}", file.read_bytes()


async def _documents(stack: Stack) -> AsyncIterator[tuple[str, bytes]]:
    mongo = stack.servers["mongod"]
    assert isinstance(mongo, MongoServer)
    async with mongo.administrator() as client:
        for name in set(await client.list_database_names()) - SERVERS_OWN:
            for collection in await client[name].list_collection_names():
                documents: Any = client[name].get_collection(collection, RAW).find()
                async for document in documents:
                    yield f"{name}.{collection}", document.raw


async def _messages(stack: Stack) -> AsyncIterator[tuple[str, bytes]]:
    client = await nats.connect(stack.nats_url(PROVISIONER))
    try:
        js = client.jetstream()
        for info in await js.streams_info():
            async with aclosing(read_all(client, js, info.config.name or "", ())) as messages:
                async for message in messages:
                    yield f"stream {info.config.name}", json.dumps(dict(message.headers)).encode() + message.body
    finally:
        await client.close()
