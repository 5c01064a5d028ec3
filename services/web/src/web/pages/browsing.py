"""Find items: the front page, a search with filters, and the pages of a category, a city and a seller."""

from urllib.parse import urlencode

from fastapi import APIRouter, Response

from common.errors import NotFound
from common.events import Category, Currency
from common.http.dependencies import Now
from common.http.paging import KnownId
from web.clients.models import FoundItems, Item, Sale
from web.pages.catalogue import shown
from web.pages.search import KINDS, SORTS, Search, strip, today, weekend
from web.pages.visitor import CurrentVisitor, Visitor
from web.rendering.categories import CATEGORIES
from web.rendering.i18n import I18n

router = APIRouter()

TYPED = ("from", "to", "price_min", "price_max")
"""Fields of the form with more filters, but the currency."""

CITIES = 8
"""Cities to choose from at a glance: those with most."""


@router.get("/")
async def front(visitor: CurrentVisitor, now: Now) -> Response:
    """The newest items, or the results of a search with filters."""
    return await _results(visitor, Search.of(visitor.request.query_params), now)


@router.get("/categories/{category}")
async def show_category(category: str, visitor: CurrentVisitor, now: Now) -> Response:
    """What is on sale in a category."""
    if category not in list(Category):
        raise NotFound("there is no such category")
    return await _results(visitor, Search.of({**visitor.request.query_params, "category": category}), now)


@router.get("/cities/{city:path}")
async def show_city(city: str, visitor: CurrentVisitor, now: Now) -> Response:
    """What takes place in a city."""
    return await _results(visitor, Search.of({**visitor.request.query_params, "city": city}), now)


@router.get("/sellers/{seller_id}")
async def show_seller(seller_id: KnownId, visitor: CurrentVisitor) -> Response:
    """What a seller has on sale. Raises `NotFound` for everybody who has not."""
    cursor = visitor.request.query_params.get("cursor", "")
    found = await visitor.api.items(seller_id=seller_id, cursor=cursor or None)
    on_sale, kept = await shown(visitor, [item for item in found.items if item.listed and item.sale is not Sale.ENDED])
    if not on_sale and not cursor:
        raise NotFound("nobody with this id sells anything")
    name = next((item.seller_name for item in on_sale if item.seller_name), None)
    onward = f"/sellers/{seller_id}?{urlencode({'cursor': found.next})}" if found.next else ""
    return visitor.render(
        "seller.html", name=name, seller_id=seller_id, items=on_sale, kept=kept, onward=onward, first=not cursor
    )


async def _results(visitor: Visitor, search: Search, now: Now) -> Response:
    cursor = visitor.request.query_params.get("cursor", "")
    filters, errors = search.asks(visitor.i18n)
    found = await visitor.api.items(cursor=cursor or None, **filters)
    if search.city and found.items:
        search = search.but(city=found.items[0].city or search.city)  # As its name is written, not as it was typed.
    items, kept = await shown(visitor, found.items)
    day = today(now, visitor.i18n)
    return visitor.render(
        "front.html",
        q=search.q,
        search=search,
        headline=headline(search, visitor.i18n),
        count=count(found, visitor.i18n),
        items=left_first(items) if search.sold_out_last else items,
        kept=kept,
        onward=search.address(found.next) if found.next else "",
        facets={name: found.facets.get(name, {}) for name in ("category", "kind")},
        cities=_cities(found, search),
        categories=CATEGORIES,
        kinds=KINDS,
        sorts=SORTS,
        currencies=sorted(Currency),
        today=day,
        weekend=weekend(day),
        days=strip(day),
        typed={**dict.fromkeys(TYPED, ""), **search.parameters, "currency": filters["currency"] or ""},
        errors=errors,
        first=not cursor,
        plain=not search.parameters and not cursor,
    )


def headline(search: Search, i18n: I18n) -> str:
    """What a page shows, in a few words."""
    category = i18n.gettext(CATEGORIES[search.category]) if search.category else ""
    if search.q:
        return i18n.gettext("Results for “%(q)s”") % {"q": search.q}
    if category and search.city:
        return i18n.gettext("%(category)s in %(city)s") % {"category": category, "city": search.city}
    if search.city:
        return i18n.gettext("On in %(city)s") % {"city": search.city}
    if category:
        return category
    return i18n.gettext("What fits your filters") if search.parameters else i18n.gettext("New on the market")


def count(found: FoundItems, i18n: I18n) -> str:
    """How many items there are."""
    number = i18n.number(found.total)
    if found.total_is_bound:
        return i18n.gettext("%(number)s or more") % {"number": number}
    return i18n.ngettext("%(number)s offer", "%(number)s offers", found.total) % {"number": number}


def left_first(items: list[Item]) -> list[Item]:
    """A page that ends with what can't be ordered now: also what is not on sale yet, or no longer."""
    return sorted(items, key=lambda item: not item.left)


def _cities(found: FoundItems, search: Search) -> dict[str, int]:
    most = sorted(found.facets.get("city", {}).items(), key=lambda city: -city[1])[:CITIES]
    shown = {name.casefold() for name, _ in most}
    return {**({search.city: 0} if search.city and search.city.casefold() not in shown else {}), **dict(most)}
