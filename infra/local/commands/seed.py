"""`python -m infra.local.commands.seed`: fill a running Souk with a catalogue, through its HTTP API."""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import httpx

from infra.local.commands.catalogue import SELLERS, Kind, Seller, items_of, subject_of
from infra.local.commands.posters import poster

PASSWORD = "market day"  # noqa: S105 - of people who do not exist, on a laptop
POSTERS = 32
"""Items that get a picture: the newest, which the front page shows."""

_AT_ONCE = 8


class Work(NamedTuple):
    """An item to list in the name of a seller."""

    session: str
    kind: Kind
    item: dict[str, str | int]


class Refused(RuntimeError):
    """Souk answered, but not with what was asked for."""


async def seed(url: str) -> None:
    """Sign the sellers up and list their items; sellers who have items already are left alone."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        work: list[Work] = []
        for seller in SELLERS:
            session, seller_id = await sign_in(client, seller)
            if await has_items(client, seller_id):
                print(f"{seller.name} has items already")
            else:
                work += [Work(session, seller.kind, item) for item in items_of(seller)]
        # By title, so that the newest items on the front page come from many sellers.
        await list_items(client, sorted(work, key=lambda one: str(one.item["title"])[::-1]))


async def sign_in(client: httpx.AsyncClient, seller: Seller) -> tuple[str, str]:
    """Return the seller's session token and user id; opens the account where there is none."""
    account = {"email": seller.email, "password": PASSWORD}
    answer = await client.post("/api/users/signup", json={**account, "name": seller.name})
    if answer.status_code == httpx.codes.CONFLICT:
        answer = await client.post("/api/users/signin", json=account)
    user = expect(answer)
    session = answer.cookies["session"]
    client.cookies.clear()
    return session, str(user["id"])


async def has_items(client: httpx.AsyncClient, seller_id: str) -> bool:
    """Return whether the seller has listed anything."""
    page = expect(await client.get("/api/items", params={"seller_id": seller_id, "limit": 1}))
    return bool(page["items"])


async def list_items(client: httpx.AsyncClient, work: Sequence[Work]) -> None:
    """List every item in the name of its seller, a few at a time, and show how far it is."""
    places = asyncio.Semaphore(_AT_ONCE)
    uploads = {one.session: asyncio.Lock() for one in work}  # Items takes only two at a time from a seller.
    done = 0

    async def list_one(number: int, one: Work) -> None:
        nonlocal done
        session = {"Authorization": f"Bearer {one.session}"}
        async with places:
            item = expect(await client.post("/api/items", json=one.item, headers=session))
            if number >= len(work) - POSTERS:
                title = str(one.item["title"])
                content = await asyncio.to_thread(poster, one.kind, subject_of(one.kind, title), title)
                headers = session | {"Content-Type": "image/jpeg"}
                async with uploads[one.session]:
                    expect(await client.post(f"/api/items/{item['id']}/pictures", content=content, headers=headers))
        done += 1
        if done % 50 == 0 or done == len(work):
            print(f"{done} of {len(work)} items listed", flush=True)

    await asyncio.gather(*(list_one(number, one) for number, one in enumerate(work)))


def expect(answer: httpx.Response) -> dict[str, object]:
    """Return the body of an answer that is a success. `Refused` otherwise."""
    if not answer.is_success:
        raise Refused(f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text}")
    return dict(answer.json())


def main() -> int:
    """Return the exit code: 1 with a sentence where nothing runs."""
    url = f"http://localhost:{os.environ.get('PORT') or 8080}"
    try:
        asyncio.run(seed(url))
    except httpx.TransportError:
        print(f"nothing answers on {url}: start Souk with `make dev`, or name its port with PORT=...", file=sys.stderr)
        return 1
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    print(f"sign in at {url} as {SELLERS[0].email} with the password: {PASSWORD}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
