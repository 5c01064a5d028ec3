"""The one step that creates and changes streams and durables: `python -m common.bus.provision`.

It may run at any time, as often as you like, and changes nothing that is right. No service has its rights.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import nats
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import StreamConfig, StreamInfo
from nats.js.errors import NotFoundError
from pydantic import ByteSize

from common.bus.address import address
from common.bus.durables import Durable, create, remove_push_durables
from common.bus.streams import EVERY_STREAM, differences, stream_config
from common.settings import Settings, load

log = logging.getLogger(__name__)

LIMITS = ("max_age", "max_msgs", "max_msgs_per_subject")

NEARLY = 0.9
"""Part of a budget above which a stream would soon refuse: then it does not get that budget."""

TIMEOUT = 10.0
"""Seconds until a change that the server does not confirm fails."""


class Refused(RuntimeError):
    """The step would make a stream keep less than it does. The message says what, and what to do."""


class ProvisionSettings(Settings):
    """Settings of the step: `nats_url` is that of the privileged user."""

    durables: Path
    """The table of durables, as `write_table` writes it."""
    bus_room: ByteSize | None = None
    """What JetStream may store in all, as its `max_file_store`: each stream gets its budget. None: no budgets."""


def read_table(text: str) -> list[Durable]:
    """The durables in a table."""
    return [Durable(**row) for row in json.loads(text)]


def write_table(durables: Sequence[Durable]) -> str:
    """A table of durables: JSON with one durable a line."""
    rows = (json.dumps(asdict(durable)) for durable in durables)
    return "[\n  " + ",\n  ".join(rows) + "\n]\n"


async def provision(url: str, durables: Sequence[Durable] = (), replicas: int = 1, *, room: int | None = None) -> None:
    """Make every stream and these durables what they should be, as a user who may. Raises `Refused`, `NatsError`.

    With a `room` each stream gets its budget of it; else a stream keeps the budget that it has.
    """
    client = await nats.connect(**address(url), name="provisioner", connect_timeout=5, max_reconnect_attempts=3)
    try:
        js = client.jetstream(timeout=TIMEOUT)
        for name in EVERY_STREAM:
            await _keep_stream(js, stream_config(name, replicas, room))
        for durable in durables:
            await create(js, durable)
        await remove_push_durables(js, durables)
    finally:
        await client.close()


async def _keep_stream(js: JetStreamContext, wanted: StreamConfig) -> None:
    name = wanted.name or ""
    try:
        info = await js.stream_info(name)
    except NotFoundError:
        await js.add_stream(wanted)
        log.info("created the stream %s", name)
        return
    found = info.config
    wanted = wanted.evolve(metadata=found.metadata, max_bytes=_budget(info, wanted))
    if lost := list(_losses(found, wanted)):
        raise Refused(f"stream {name} stays as it is, because it would keep less: {'; '.join(lost)}")
    if differences(found, wanted):
        await js.update_stream(wanted)
        log.info("changed the stream %s: %s", name, "; ".join(differences(found, wanted)))


def _losses(found: StreamConfig, wanted: StreamConfig) -> list[str]:
    """What a stream would lose: copies, subjects, or messages that a new limit drops."""
    lost = [
        f"{field} would become {after}, it is {before or 'unlimited'}"
        for field in LIMITS
        for before, after in [(max(getattr(found, field) or 0, 0), max(getattr(wanted, field) or 0, 0))]
        if after and (not before or after < before)
    ]
    copies, fewer = found.num_replicas or 1, wanted.num_replicas or 1
    if fewer < copies:
        lost.append(f"it has {copies} copies and would have {fewer}: set NATS_REPLICAS={copies}")
    gone = set(found.subjects or []) - set(wanted.subjects or [])
    return [*lost, *(f"it would keep {subject} no longer" for subject in sorted(gone))]


def _budget(found: StreamInfo, wanted: StreamConfig) -> int | None:
    """The budget to give to a stream: the one it has, if it already holds almost more than it would get."""
    if wanted.max_bytes and found.state.bytes < NEARLY * wanted.max_bytes:
        return wanted.max_bytes
    if wanted.max_bytes and wanted.max_bytes != found.config.max_bytes:
        log.warning(
            "the stream %s has %s bytes and its budget would be %s: archive its old events, or give the bus more room",
            wanted.name,
            found.state.bytes,
            wanted.max_bytes,
        )
    return found.config.max_bytes


def main() -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    settings = load(ProvisionSettings)
    logging.basicConfig(level=settings.log_level, format="%(message)s")
    durables = read_table(settings.durables.read_text())
    try:
        url = settings.nats_url.get_secret_value()
        asyncio.run(provision(url, durables, settings.nats_replicas, room=settings.bus_room))
    except (Refused, NatsError, OSError) as error:
        print(error or type(error).__name__, file=sys.stderr)  # noqa: T201
        return 1
    print(f"ready: {len(EVERY_STREAM)} streams and {len(durables)} durables")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
