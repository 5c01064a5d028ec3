"""The stream of server-sent events behind every page that changes by itself."""

import asyncio
import json
import math
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from common.errors import NotFound, TooMany, Unavailable
from common.http.dependencies import Provided
from common.http.network import network_of
from common.http.paging import EXAMPLE_ID, KnownId
from common.http.problems import problems
from web.clients.api import Api, Refused
from web.clients.models import Order
from web.clients.sales import Chosen, sales
from web.live.updates import LiveUpdates, OpenPage
from web.pages.visitor import CurrentVisitor

router = APIRouter()

HEARTBEAT = 15.0
"""Seconds without a message after which a stream sends a comment: proxies close silent connections."""

PAUSE = 0.1
"""Seconds between two messages of a stream. Changes in between go into one message."""

RETRY = (1_000, 4_000)
"""Least and most milliseconds after which a browser reconnects. Random, so that they do not all come at once."""

MAX_ITEMS = 100
"""Items on one page that are live."""

ItemIds = Annotated[list[KnownId], Query(max_length=MAX_ITEMS, description="The items that the page shows.")]
OrderId = Annotated[KnownId | None, Query(description="The order that it shows.", examples=[EXAMPLE_ID])]
OrderList = Literal["bought", "sold"]
ShownList = Annotated[OrderList | None, Query(description="The list of the visitor's orders that it shows.")]


@router.get(
    "/live",
    responses=problems(NotFound, TooMany)
    | {200: {"description": "Server-sent events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def live(
    visitor: CurrentVisitor,
    updates: Annotated[LiveUpdates, Provided(LiveUpdates)],
    item: ItemIds = [],  # noqa: B006 - FastAPI copies it
    order: OrderId = None,
    orders: ShownList = None,
) -> Response:
    """The state of what a page shows, now and after every change: items, one order, or a list of the visitor's orders.

    `clock` carries the server's time in milliseconds. `news` carries `html`, elements that replace those with the same
    id, and `orders`, pairs of an order's id and version: a page that shows an older version fetches the order again.
    `gone` says that there is no such order, or that the session has ended.
    """
    page = OpenPage(
        visitor.user_id if order or orders else None,
        visitor.i18n,
        frozenset(item),
        visitor=visitor.user_id or visitor.visit or "",
        address="" if visitor.user_id else visitor.address or "",
        network=network_of(visitor.address or ""),
        session_id=visitor.session.id if visitor.session else None,
        expires_at=visitor.session.expires_at if visitor.session else math.inf,
    )
    room = ExitStack()
    room.enter_context(updates.open(page))  # Before anything is awaited: so many at once do not get in either.
    return _LiveResponse(_stream(updates, page, visitor.api, order, orders), room)


class _LiveResponse(StreamingResponse):
    """A stream that gives its room back at its end, also when it never begins."""

    def __init__(self, content: AsyncIterator[str], room: ExitStack) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._room:
            await super().__call__(scope, receive, send)


async def _stream(
    updates: LiveUpdates, page: OpenPage, api: Api, order: str | None, orders: OrderList | None
) -> AsyncIterator[str]:
    yield f"retry: {random.randint(*RETRY)}\n\n{_message('clock', time.time_ns() // 1_000_000)}"  # noqa: S311
    try:
        await _read_state(updates, page, api, order, orders)
    except (Refused, NotFound):
        yield _message("gone", None)  # Reconnecting would not help: there is nothing that the visitor may see.
        return
    except Unavailable:
        return  # The browser reconnects.
    while True:
        changed = await _changed(page)
        if updates.closed or time.time() >= page.expires_at:
            return  # The browser reconnects, with a new access token if the session goes on.
        if changed:
            yield _news(updates, page)
            await asyncio.sleep(PAUSE)
        else:
            yield ":\n\n"


async def _read_state(
    updates: LiveUpdates, page: OpenPage, api: Api, order: str | None, orders: OrderList | None
) -> None:
    """Mark everything on the page as changed: it may have changed since the page was rendered."""
    page.wake.set()  # There is a first message even if the page shows nothing.
    await updates.fetch(page.items)
    for item_id in page.items:
        page.item_changed(item_id)
    found: Sequence[Order] = []
    if order:
        found = [await api.order(order)]
    elif orders:
        found = (await (api.orders() if orders == "bought" else sales(api, Chosen()))).items
    for each in found:
        page.order_changed(each.id, each.version)


async def _changed(page: OpenPage) -> bool:
    """Wait for a change on the page. Return False if there was none for `HEARTBEAT` seconds, or its token expires."""
    try:
        async with asyncio.timeout(min(HEARTBEAT, page.expires_at - time.time())):
            await page.wake.wait()
    except TimeoutError:
        return False
    page.wake.clear()
    return True


def _news(updates: LiveUpdates, page: OpenPage) -> str:
    news = {"html": updates.html(page.changed, page.i18n), "orders": list(page.orders.items())}
    page.changed.clear()
    page.orders.clear()
    return _message("news", news)


def _message(event: str, data: object) -> str:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n"
