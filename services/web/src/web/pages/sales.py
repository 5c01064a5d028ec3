"""What a seller has sold: a list to choose from, totals, a chart, and a file for spreadsheets."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import StreamingResponse

from common.errors import Unavailable
from common.http.paging import KnownId, Page
from common.i18n import major_units
from web.clients import sales
from web.clients.api import Api, Refused
from web.clients.models import Item
from web.clients.sales import Chosen, Sale
from web.pages.forms import Form, expected
from web.pages.search import or_none
from web.pages.visitor import CurrentVisitor, Visitor
from web.rendering.chart import charts_of
from web.rendering.i18n import I18n
from web.rendering.order_summary import STATUS, status_of, tone_of
from web.rendering.spreadsheet import BOM, row

router = APIRouter()

ROWS = 100
"""Orders that are asked for at a time when they are written to a file."""

_ID = re.compile("[0-9a-f]{32}")


def _chosen(visitor: CurrentVisitor) -> Chosen:
    """What the address of a page chooses. What nobody can choose there is ignored."""
    asked = visitor.request.query_params
    item_id, status = asked.get("item_id", ""), asked.get("status", "")
    return Chosen(
        item_id if _ID.fullmatch(item_id) else None,
        status if status in STATUS else None,
        or_none(date.fromisoformat, asked.get("from", "")),
        or_none(date.fromisoformat, asked.get("to", "")),
        asked.get("number", "").strip()[:64] or None,
    )


ChosenSales = Annotated[Chosen, Depends(_chosen)]


@router.get("/my/sales")
async def my_sales(visitor: CurrentVisitor, chosen: ChosenSales, cursor: str | None = None) -> Response:
    """Orders on the visitor's items, and what they come to."""
    visitor.require_user()
    found, totals = await asyncio.gather(
        sales.sales(visitor.api, chosen, cursor or None), sales.totals(visitor.api, chosen)
    )
    return visitor.render(
        "my_sales.html",
        found=found,
        totals=totals,
        event=await _event(visitor, chosen.item_id),
        charts=charts_of(totals, visitor.i18n),
        chosen=chosen,
        statuses=STATUS,
        first=not cursor,
        moving=any(order.refund_under_way for order in found.items),
        status_of=status_of,
        tone_of=tone_of,
    )


async def _event(visitor: Visitor, item_id: str | None) -> Item | None:
    """The event whose orders are shown, if they are those of one."""
    try:
        item = await visitor.api.item(item_id) if item_id else None
    except (Refused, Unavailable):
        return None
    return item if item and item.is_event else None


@router.get("/my/sales.csv")
async def sales_file(visitor: CurrentVisitor, chosen: ChosenSales) -> Response:
    """The chosen orders as CSV. A file that breaks off is not complete."""
    visitor.require_user()
    found = await sales.sales(visitor.api, chosen, limit=ROWS)  # Who cannot answer says so in time.
    headers = {"Content-Disposition": 'attachment; filename="sales.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(
        _written(visitor.api, chosen, found, visitor.i18n), media_type="text/csv; charset=utf-8", headers=headers
    )


async def _written(api: Api, chosen: Chosen, found: Page[Sale], i18n: I18n) -> AsyncIterator[str]:
    _ = i18n.gettext
    heads = (_("Order"), _("Ordered at"), _("Item"), _("Buyer"), _("Quantity"), _("Price of one"), _("Total"))
    yield BOM + row((*heads, _("Currency"), _("Status"), _("Id")))
    while True:
        yield "".join(row(_cells(order, i18n)) for order in found.items)
        if not found.next:
            return
        found = await sales.sales(api, chosen, found.next, ROWS)


def _cells(order: Sale, i18n: I18n) -> tuple[object, ...]:
    return (
        order.number,
        order.placed_at.isoformat(timespec="seconds"),
        order.item_title,
        order.buyer_name or "",
        order.quantity,
        major_units(order.unit_price, order.currency),
        major_units(order.total, order.currency),
        order.currency,
        status_of(order, i18n),
        order.id,
    )


@router.post("/my/sales/{order_id}/refund")
async def refund_sale(order_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """Refund an order in full."""
    visitor.require_user()
    with expected("order_not_paid"):
        await visitor.api.refund(order_id)
    return visitor.redirect("/my/sales")
