"""A purchase that its buyer began before they signed in. It goes on where it was."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

from fastapi import Response

from common.errors import Unavailable
from common.events import Currency
from common.http.sessions import COOKIE, cookie_name
from web.clients.api import Api, Refused
from web.clients.models import Order
from web.pages.forms import Fields
from web.pages.visitor import Visitor, api_of, local

_AMOUNT = re.compile("[0-9]{1,14}")


@dataclass(frozen=True)
class Purchase:
    """What the form on an item's page says. `seen` is the price and currency at which the page showed the item."""

    item_id: str
    quantity: str
    key: str
    seen: str

    @classmethod
    def typed(cls, item_id: str, form: Fields) -> "Purchase":
        """The purchase that was typed on an item's page."""
        return cls(item_id, form.text("quantity")[:9], form.text("key")[:100], form.text("seen")[:20])

    @classmethod
    def kept(cls, visitor: Visitor, sealed: str) -> "Purchase | None":
        """The purchase that this visitor has begun, as `address` kept it. None for any other text."""
        words = visitor.unseal("purchase", sealed)
        return cls(*words) if words and len(words) == len(fields(cls)) else None

    def address(self, visitor: Visitor) -> str:
        """The page of the item, with this purchase in its address: no link of somebody else's can make one."""
        return f"/items/{self.item_id}?purchase={visitor.seal('purchase', astuple(self))}"

    async def place(self, api: Api) -> Order:
        """Place the order. Raises `Refused` or `Unavailable`."""
        amount, _, currency = self.seen.partition(" ")
        seen = (int(amount), currency) if _AMOUNT.fullmatch(amount) and currency in list(Currency) else None
        return await api.place_order(self.item_id, int(self.quantity), self.key, seen)


async def go_on(visitor: Visitor, after: str, cookies: Sequence[str]) -> Response:
    """Lead somebody who has just signed in to where they wanted to go.

    If that is a purchase, it is made. If it cannot be, the page of the item has what they had typed.
    """
    address = urlsplit(local(after))
    purchase = Purchase.kept(visitor, parse_qs(address.query).get("purchase", [""])[0])
    if purchase and (token := _access_token(visitor, cookies)):
        with suppress(Refused, Unavailable):
            order = await purchase.place(api_of(visitor.request, token))
            return visitor.redirect(f"/orders/{order.id}", cookies)
    return visitor.redirect(local(after), cookies)


def _access_token(visitor: Visitor, cookies: Sequence[str]) -> str | None:
    name = cookie_name(COOKIE, secure=visitor.settings.cookie_secure)
    found = [parsed[name].value for text in cookies if name in (parsed := SimpleCookie(text))]
    return found[0] if found else None
