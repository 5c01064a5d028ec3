"""Tickets to print: who mails them asks for them over the bus, by request and reply, so codes are stored nowhere."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pydantic import BaseModel, ConfigDict, ValidationError

from common.bus.connection import Bus

log = logging.getLogger(__name__)

PAPERS = "papers.tickets"
"""The subject of requests. Whoever may send them is in `infra.services`."""


class PapersQuery(BaseModel):
    """An order whose buyer wants its tickets, and the language that they read."""

    order_id: str
    item_id: str
    language: str


class Papers(BaseModel):
    """The tickets of an order that its buyer holds, as a PDF. None: there are none, or they are too large for a mail.

    `settled` is False as long as there may be some soon.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    settled: bool
    pdf: bytes | None = None


async def papers_of(bus: Bus, order_id: str, item_id: str, language: str) -> Papers:
    """Ask for the tickets of a paid order. Raises `Unavailable` if tickets does not answer."""
    query = PapersQuery(order_id=order_id, item_id=item_id, language=language)
    return Papers.model_validate_json(await bus.request(PAPERS, query.model_dump_json().encode()))


@asynccontextmanager
async def printing(bus: Bus, find: Callable[[PapersQuery], Awaitable[Papers]]) -> AsyncIterator[None]:
    """Answer these requests with what `find` finds. One that it cannot answer is to be asked again."""

    async def answer(request: bytes) -> bytes:
        try:
            papers = await find(PapersQuery.model_validate_json(request))
        except ValidationError:
            papers = Papers(settled=True)
        except Exception as error:
            log.warning("could not print tickets: %s", type(error).__name__)
            papers = Papers(settled=False)
        return papers.model_dump_json().encode()

    async with bus.answering(PAPERS, answer):
        yield
