"""The streams of the bus, as they should be."""

import sys
from collections.abc import Mapping

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RePublish, RetentionPolicy, StorageType, StreamConfig

from common.bus.durables import until_there
from common.bus.subscription import FAILURE_STREAMS, RETRIES
from common.bus.tries import TRIES
from common.events import EVENTS
from common.settings import EX_CONFIG

SECURITY = "SECURITY"

STREAMS = (*dict.fromkeys(event.stream for event in EVENTS.values()), *FAILURE_STREAMS, SECURITY)
"""One stream per service that owns events, one for dead letters, one for reports of retries, one for the security log.

Stream ORDERS keeps `orders.>`. A new event in `common.events` brings its stream with it.
"""

EVERY_STREAM = (*STREAMS, TRIES)
"""These, and the stream of the counts of tries."""

RETRIES_MAX_AGE = 7 * 24 * 3600
"""Seconds that a report of a retry is kept, and the count of a message's tries."""

RETRIES_MAX_COUNT = 200_000
"""Reports of retries that are kept, and counts. The oldest go first: nothing is lost with them."""

SECURITY_MAX_AGE = 90 * 24 * 3600
"""Seconds that an entry of the security log is kept."""

SECURITY_MAX_COUNT = 20_000
"""Entries of one kind from one service that are kept: a flood of one kind pushes no other out."""

FORGETFUL: Mapping[str, Mapping[str, int]] = {
    RETRIES: {"max_age": RETRIES_MAX_AGE, "max_msgs": RETRIES_MAX_COUNT},
    TRIES: {"max_age": RETRIES_MAX_AGE, "max_msgs": RETRIES_MAX_COUNT, "max_msgs_per_subject": 1},
    SECURITY: {"max_age": SECURITY_MAX_AGE, "max_msgs_per_subject": SECURITY_MAX_COUNT},
}
"""Streams that drop their oldest messages, and when."""

SHARES: Mapping[str, int] = {
    "ORDERS": 28,
    "PAYMENTS": 22,
    "ITEMS": 10,
    "TICKETS": 8,
    "DEAD_LETTERS": 6,
    "EXPIRATION": 5,
    "USERS": 5,
    RETRIES: 3,
    TRIES: 3,
    SECURITY: 3,
    "LETTERS": 1,
}
"""Percent of the bus's room that each stream may fill. The server reserves it: no other stream gets it."""

SHARE = 5
"""Percent for a stream that is not named there."""

COMPARED = (
    *("subjects", "storage", "retention", "discard", "max_age", "max_msgs", "max_bytes", "max_msgs_per_subject"),
    *("duplicate_window", "allow_atomic", "allow_direct", "republish", "mirror", "sources", "subject_transform"),
    *("sealed", "no_ack", "deny_delete", "deny_purge", "allow_rollup_hdrs"),
)
"""The settings of a stream on which a promise depends. Of copies there may be more."""


def byte_budget(name: str, room: int) -> int:
    """How many of the bytes that JetStream may store in all are for this stream."""
    return room * SHARES.get(name, SHARE) // 100


def stream_config(name: str, replicas: int = 1, room: int | None = None) -> StreamConfig:
    """Streams keep everything, to be read again: one that is full refuses new messages.

    Only those in `FORGETFUL` drop the oldest. What any other has stored it passes on under `news.`, to whoever listens.
    With a `room`, the bytes that JetStream may store, each has its budget of it (docs/decisions/years.md).
    """
    subjects = f"{name.lower()}.>"
    config = StreamConfig(
        name=name,
        subjects=[subjects],
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        num_replicas=replicas,
        discard=DiscardPolicy.NEW,
        duplicate_window=120,
        allow_atomic=True,
        allow_direct=True,
        max_bytes=None if room is None else byte_budget(name, room),
    )
    if limits := FORGETFUL.get(name):
        return config.evolve(discard=DiscardPolicy.OLD, **limits)
    return config.evolve(republish=RePublish(src=subjects, dest=f"news.{subjects}"), deny_delete=True)


def differences(found: StreamConfig, wanted: StreamConfig) -> list[str]:
    """A sentence for each setting of a stream that is other than it should be. Where no budget is wanted, any will do.

    A service does not know the budgets: too small a one refuses events, which wait in the outbox, and loses none.
    """
    wrong = [
        f"{field} is {_set(found, field)!r} and should be {_set(wanted, field)!r}"
        for field in COMPARED
        if _set(found, field) != _set(wanted, field) and not (field == "max_bytes" and wanted.max_bytes is None)
    ]
    if (found.num_replicas or 1) < (wanted.num_replicas or 1):
        wrong.append(f"num_replicas is {found.num_replicas} and should be {wanted.num_replicas}")
    return wrong


def _set(config: StreamConfig, field: str) -> object:
    """The value of a setting; None where there is no limit, or nothing special."""
    value = getattr(config, field)
    return value if value not in (None, 0, -1, []) else None


async def as_expected(js: JetStreamContext, replicas: int) -> None:
    """Wait until every stream is there. Exit with status 78 if one is other than it should be: who changed it?"""
    for name in EVERY_STREAM:
        info = await until_there(lambda name=name: js.stream_info(name), f"stream {name}")  # type: ignore[misc]
        if wrong := differences(info.config, stream_config(name, replicas)):
            sentence = f"stream {name} is not as it should be: {'; '.join(wrong)}. Find out who changed it; the"
            print(sentence, "provisioning step sets it right, or says why it does not", file=sys.stderr)  # noqa: T201
            raise SystemExit(EX_CONFIG)
