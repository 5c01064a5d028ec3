"""The stream of server-sent events behind every page that changes by itself."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from common.errors import Unavailable
from common.http.dependencies import Provided
from web.clients.api import Api, Refused
from web.live.updates import Hub, Watcher
from web.security.visitor import Here

router = APIRouter()

HEARTBEAT = 15.0
"""Seconds after which a silent stream says that it is there."""

PAUSE = 0.1
"""Seconds between two messages of a stream; what happens meanwhile becomes one."""

RETRY = (1_000, 4_000)
"""Milliseconds, from and to, after which a browser that lost its stream comes back: not all at once."""

MOST_ITEMS = 100
"""Items on one page that are live."""

ItemIds = Annotated[list[str], Query(max_length=MOST_ITEMS)]
Which = Literal["bought", "sold"]


@router.get("/live")
async def live(
    visitor: Here,
    hub: Annotated[Hub, Provided(Hub)],
    item: ItemIds = [],  # noqa: B006 - FastAPI copies it
    order: str | None = None,
    orders: Which | None = None,
) -> Response:
    """What a page shows, now and whenever it changes: these items, one order, or the visitor's list of orders.

    `clock` carries the server's time in milliseconds. `news` carries `html`, elements that replace those with the same
    id, and `orders`, pairs of an order's id and version that a page which shows less asks for again.
    """
    watcher = Watcher(visitor.user_id if order or orders else None, visitor.words, frozenset(item))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _stream(hub, watcher, visitor.api, order, orders), media_type="text/event-stream", headers=headers
    )


async def _stream(hub: Hub, watcher: Watcher, api: Api, order: str | None, orders: Which | None) -> AsyncIterator[str]:
    with hub.watching(watcher):
        yield f"retry: {random.randint(*RETRY)}\n\n{_message('clock', time.time_ns() // 1_000_000)}"  # noqa: S311
        try:
            await _begin(hub, watcher, api, order, orders)
        except Refused:
            yield _message("gone", None)  # Not the visitor's, or not any more: no use in coming back.
            return
        except Unavailable:
            return  # The browser comes back.
        while not hub.closed:
            if await _woken(watcher):
                yield _news(hub, watcher)
                await asyncio.sleep(PAUSE)
            else:
                yield ":\n\n"


async def _begin(hub: Hub, watcher: Watcher, api: Api, order: str | None, orders: Which | None) -> None:
    """Everything counts as changed: it may have, since the page was made. There is a first message in any case."""
    watcher.wake.set()
    await hub.fetch(watcher.items)
    for item_id in watcher.items:
        watcher.tell_item(item_id)
    found = []
    if order:
        found = [await api.order(order)]
    elif orders:
        found = (await (api.orders() if orders == "bought" else api.sales())).items
    for each in found:
        watcher.tell_order(each.id, each.version)


async def _woken(watcher: Watcher) -> bool:
    try:
        async with asyncio.timeout(HEARTBEAT):
            await watcher.wake.wait()
    except TimeoutError:
        return False
    watcher.wake.clear()
    return True


def _news(hub: Hub, watcher: Watcher) -> str:
    news = {"html": hub.html(watcher.changed, watcher.words), "orders": list(watcher.orders.items())}
    watcher.changed.clear()
    watcher.orders.clear()
    return _message("news", news)


def _message(event: str, data: object) -> str:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n"
