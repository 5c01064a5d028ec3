"""A service's own state, page by page, for who checks it: request and reply over the bus, on `books.<service>.<kind>`.

Read only, and answered by any one replica (docs/decisions/reconciliation.md says why not over HTTP). The audit asks.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_json
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern

from common.bus.connection import Bus
from common.bus.consumers import arguments_of
from common.errors import SoukError
from common.mongo.client import Collection, Document

log = logging.getLogger(__name__)

Rows = list[Document]
Keeper = Callable[..., Awaitable[Rows]]

LIMIT = 500
"""Rows that a page may have; one that the bus could not carry has fewer."""


class Page(BaseModel):
    """Which rows: those of `ids` that there are, or the first `limit` of all; in both cases above the id `after`."""

    after: str = ""
    ids: Annotated[list[str], Field(max_length=LIMIT)] | None = None
    limit: Annotated[int, Field(ge=1, le=LIMIT)] = LIMIT


class Answer(BaseModel):
    """Rows by ascending id, and where the next page begins: None where there is none.

    `error` says what failed instead; `code` is that of a `SoukError`.
    """

    rows: list[dict[str, Any]] = []
    next: str | None = None
    error: str | None = None
    code: str | None = None


class Books:
    """What one service lets others read: by kind, a function from a `Page` to rows that have an `id`, in its order."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.keepers: dict[str, Keeper] = {}

    def on(self, kind: str) -> Callable[[Keeper], Keeper]:
        """Register who answers for `kind`. His further parameters are filled by their type."""

        def register(keeper: Keeper) -> Keeper:
            self.keepers[kind] = keeper
            return keeper

        return register

    @asynccontextmanager
    async def answering(self, bus: Bus, parts: Sequence[object]) -> AsyncIterator[None]:
        """Answer whoever asks, one question after the other: reading the books must not crowd out the work."""
        async with AsyncExitStack() as open_books:
            for kind, keeper in self.keepers.items():
                answer = _answer(keeper, arguments_of(keeper, parts), bus.largest_body)
                await open_books.enter_async_context(bus.answering(f"books.{self.service}.{kind}", answer))
            yield


def _answer(keeper: Keeper, arguments: Mapping[str, object], most: int) -> Callable[[bytes], Awaitable[bytes]]:
    async def answer(question: bytes) -> bytes:
        try:
            page = Page.model_validate_json(question)
            return _encoded(await keeper(page, **arguments), page, most)
        except ValidationError as error:
            return to_json({"error": f"this is no page: {error.errors()[0]['msg']}"})
        except Exception as error:
            log.warning("could not read the books: %s: %s", type(error).__name__, error)
            code = error.code if isinstance(error, SoukError) else None
            return to_json({"error": f"{type(error).__name__}: {error}"[:1_000], "code": code})

    return answer


def _encoded(rows: Rows, page: Page, most: int) -> bytes:
    """As many of the rows as `most` bytes hold, but at least one."""
    encoded: list[bytes] = []
    size = 100
    for row in rows:
        one = to_json(row)
        size += len(one) + 1
        if encoded and size > most:
            break
        encoded.append(one)
    cut = len(encoded) < len(rows)
    more = cut or (page.ids is None and len(rows) == page.limit)
    last = to_json(rows[len(encoded) - 1]["id"] if more else None)
    return b'{"rows":[' + b",".join(encoded) + b'],"next":' + last + b"}"


async def rows_of(collection: Collection, page: Page, *fields: str, session: AsyncClientSession | None = None) -> Rows:
    """A page of documents: `id`, the fields that are there, and how many events each has `pending`.

    Read as the majority has them, so that what a service has told of is there; or as a snapshot `session` does.
    """
    wanted: dict[str, Any] = {"$gt": page.after}
    if page.ids is not None:
        wanted["$in"] = page.ids
    shown: dict[str, Any] = dict.fromkeys(fields, 1)
    shown["pending"] = {"$size": {"$ifNull": ["$pending", []]}}
    if session is None:
        collection = collection.with_options(read_concern=ReadConcern("majority"))
    found = await collection.find({"_id": wanted}, shown, session=session).sort("_id", 1).limit(page.limit).to_list()
    return [{"id": document.pop("_id"), **document} for document in found]
