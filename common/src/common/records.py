"""A service shows its own state for reconciliation: read only, page by page, by request and reply over the bus.

Audit sends a `RecordsQuery` on `books.<service>.<kind>`; one replica sends a `RecordsPage`. The subject keeps the
word "books" from before this module was called records: the bus users' permissions name it, and services of different
versions talk to each other. docs/decisions/reconciliation.md says why this does not go over HTTP.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_json

from common.bus.connection import Bus
from common.bus.consumers import arguments_of
from common.errors import Conflict, SoukError

log = logging.getLogger(__name__)

Record = dict[str, Any]
Reader = Callable[..., Awaitable[list[Record]]]

MAX_RECORDS = 500
"""Records on one page. A page that would be too large for the bus has fewer."""


class RecordsQuery(BaseModel):
    """Which records: those of `ids` that exist, or the first `limit` of all. Either way only ids above `after`."""

    after: str = ""
    ids: Annotated[list[str], Field(max_length=MAX_RECORDS)] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_RECORDS)] = MAX_RECORDS


class RecordsPage(BaseModel):
    """Records (`rows`) by ascending id. `next` is the id after which the next page starts, None on the last page.

    `error` says what failed instead; `code` is the code of a `SoukError`.
    """

    rows: list[Record] = []
    next: str | None = None
    error: str | None = None
    code: str | None = None


class ChangesLost(Conflict):
    """Nobody can tell any more what was written since a mark: everything has to be read."""

    code = "changes_lost"


class Records:
    """The kinds of records that one service shows.

    Each kind has a reader: an async function from a `RecordsQuery` to records with an `id`, by ascending id.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.readers: dict[str, Reader] = {}

    def on(self, kind: str) -> Callable[[Reader], Reader]:
        """Register the reader of `kind`. Its further parameters are filled by their type."""

        def register(reader: Reader) -> Reader:
            self.readers[kind] = reader
            return reader

        return register

    @asynccontextmanager
    async def answering(self, bus: Bus, parts: Sequence[object]) -> AsyncIterator[None]:
        """Answer queries, one after the other per kind, so that reconciliation does not slow down the service."""
        async with AsyncExitStack() as subscriptions:
            for kind, reader in self.readers.items():
                answer = _answer(reader, arguments_of(reader, parts), bus.largest_body)
                await subscriptions.enter_async_context(bus.answering(f"books.{self.service}.{kind}", answer))
            yield


def _answer(reader: Reader, arguments: Mapping[str, object], max_bytes: int) -> Callable[[bytes], Awaitable[bytes]]:
    async def answer(request: bytes) -> bytes:
        try:
            query = RecordsQuery.model_validate_json(request)
            return _encoded(await reader(query, **arguments), query, max_bytes)
        except ValidationError as error:
            return to_json({"error": f"not a valid query: {error.errors()[0]['msg']}"})
        except Exception as error:
            log.warning("could not read records: %s: %s", type(error).__name__, error)
            code = error.code if isinstance(error, SoukError) else None
            return to_json({"error": f"{type(error).__name__}: {error}"[:1_000], "code": code})

    return answer


def _encoded(records: Sequence[Record], query: RecordsQuery, max_bytes: int) -> bytes:
    """As many of the records as fit into `max_bytes`, but at least one."""
    encoded: list[bytes] = []
    size = 100
    for record in records:
        one = to_json(record)
        size += len(one) + 1
        if encoded and size > max_bytes:
            break
        encoded.append(one)
    cut = len(encoded) < len(records)
    more = cut or (query.ids is None and len(records) == query.limit)
    last = to_json(records[len(encoded) - 1]["id"] if more else None)
    return b'{"rows":[' + b",".join(encoded) + b'],"next":' + last + b"}"
