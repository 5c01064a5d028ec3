"""`python -m infra.local.commands.seed`: fill the running stack with people, items and orders, through its HTTP API."""

import asyncio
import contextlib
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import httpx

from infra.local.commands.api import Api, Json, Refused, SignedIn
from infra.local.commands.catalogue import SELLERS, Kind, items_of, subject_of
from infra.local.commands.orders import Buying, hasty_orders
from infra.local.commands.posters import poster
from infra.local.commands.running import NothingRuns, run_as, running_stack
from infra.local.commands.trade import BUYERS, OPERATOR, PASSWORD, how_to_sign_in, sales
from infra.local.env import Unusable
from infra.local.stack.stack import Stack
from infra.servers.process import StartFailed

POSTERS = 32
"""Items that get a picture: the newest, which the front page shows."""

MAIL_SECONDS = 20
"""How long the mail that welcomes somebody may take."""

_LINK = re.compile(r"/verify-email\?token=([\w.-]+)")

People = Mapping[str, SignedIn]
"""By email."""


class Listing(NamedTuple):
    """An item to list in the name of a seller."""

    session: str
    kind: Kind
    item: dict[str, str | int]


async def seed(stack: Stack) -> None:
    """Fill a stack; what it holds already is left alone. Raises `Refused`, `StartFailed` or `httpx.TransportError`."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=30, trust_env=False) as client:
        api = Api(client)
        people = await sign_in_everybody(api)
        if not people[OPERATOR.email].roles:
            await asyncio.to_thread(run_as, "auth", "auth.grant", OPERATOR.email, stack=stack)
        await asyncio.gather(*(verify(api, email) for email, person in people.items() if not person.verified))
        await list_items(api, await missing_items(api, people))
        await make_sales(stack, api, people)


async def sign_in_everybody(api: Api) -> People:
    """Sign in every seller, every buyer and the operator."""
    names = {email: name for name, email in (*((seller.name, seller.email) for seller in SELLERS), *BUYERS, OPERATOR)}
    signed_in = await asyncio.gather(*(api.sign_in(name, email, PASSWORD) for email, name in names.items()))
    return dict(zip(names, signed_in, strict=True))


async def verify(api: Api, email: str) -> None:
    """Follow the link in the mail that welcomes somebody, if it comes in time."""
    for _ in range(MAIL_SECONDS):
        for mail in (await api.send("GET", "/dev/mail.json", params={"to": email}))["messages"]:
            if link := _LINK.search(mail["text"]):
                await api.send("POST", "/api/users/verify-email", json={"token": link[1]})
                return
        await asyncio.sleep(1)
    print(f"no mail has come to {email}: the address is not confirmed", flush=True)


async def missing_items(api: Api, people: People) -> list[Listing]:
    """Return the items of the sellers who have none."""
    missing: list[Listing] = []
    for seller in SELLERS:
        session, seller_id, *_ = people[seller.email]
        if not (await api.send("GET", "/api/items", params={"seller_id": seller_id, "limit": 1}))["items"]:
            missing += [Listing(session, seller.kind, item) for item in items_of(seller)]
    # By title read backwards, so that the newest items, on the front page, come from many sellers.
    return sorted(missing, key=lambda one: str(one.item["title"])[::-1])


async def list_items(api: Api, listings: Sequence[Listing]) -> None:
    """List the items, with pictures of the last ones, and show the progress."""
    uploads = {one.session: asyncio.Lock() for one in listings}  # Items takes only two at a time from a seller.
    done = 0

    async def list_one(number: int, one: Listing) -> None:
        nonlocal done
        item = await api.send("POST", "/api/items", one.session, json=one.item)
        if number >= len(listings) - POSTERS:
            title = str(one.item["title"])
            content = await asyncio.to_thread(poster, one.kind, subject_of(one.kind, title), title)
            async with uploads[one.session]:
                path, headers = f"/api/items/{item['id']}/pictures", {"Content-Type": "image/jpeg"}
                await api.send("POST", path, one.session, content=content, headers=headers)
        done += 1
        if done % 50 == 0 or done == len(listings):
            print(f"{done} of {len(listings)} items listed", flush=True)

    await asyncio.gather(*(list_one(number, one) for number, one in enumerate(listings)))


async def make_sales(stack: Stack, api: Api, people: People) -> None:
    """Let the buyers order, and print how many orders there are in each status."""
    planned = list(sales())
    items: dict[tuple[str, str], str] = {}
    for seller in SELLERS:
        for item in await api.all_of("/api/items", seller_id=people[seller.email].id):
            items[seller.email, item["title"]] = item["id"]
    orders = await orders_of_buyers(api, people)
    late = any(sale.outcome == "expired" and (sale.buyer.email, sale.title) not in orders for sale in planned)
    async with hasty_orders(stack) if late else contextlib.nullcontext(api) as hasty:
        sessions = {email: person.session for email, person in people.items()}
        buying = Buying(api, hasty, sessions, items, orders)
        await asyncio.gather(*(buying.make(sale) for sale in planned))
    statuses = Counter(order["status"] for order in (await orders_of_buyers(api, people)).values())
    print("orders:", ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in statuses.most_common()))


async def orders_of_buyers(api: Api, people: People) -> dict[tuple[str, str], Json]:
    """Return the newest order of each buyer on each title."""
    newest: dict[tuple[str, str], Json] = {}
    for buyer in BUYERS:
        for order in await api.all_of("/api/orders", people[buyer.email].session):
            newest.setdefault((buyer.email, order["item_title"]), order)
    return newest


def main() -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    try:
        stack = running_stack()
        asyncio.run(seed(stack))
    except httpx.TransportError:
        port = stack.gateway.port
        print(f"nothing answers on http://localhost:{port}: name the port of the stack with PORT=...", file=sys.stderr)
        return 1
    except (NothingRuns, Refused, StartFailed, Unusable) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"ready: http://localhost:{stack.gateway.port}", *how_to_sign_in(), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
