"""What `make seed` fills a Souk with: the catalogue, its posters, and orders in every state."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from io import BytesIO

import httpx
import pytest
import pytest_asyncio
from PIL import Image

from audit.reconciliation.checker import reconcile
from infra.local.commands.api import Api
from infra.local.commands.catalogue import SELLERS, items_of, subject_of
from infra.local.commands.posters import HEIGHT, WIDTH, poster
from infra.local.commands.seed import seed
from infra.local.commands.trade import BUYERS, OPERATOR, PASSWORD, sales
from infra.local.next_steps import next_steps
from infra.local.stack.stack import Stack

STATUSES = {"awaiting_payment", "paid", "cancelled", "expired", "refunded"}


def test_what_a_title_is_about_is_found_in_every_title() -> None:
    for seller in SELLERS:
        subjects = {subject.partition("{")[0] for subject, _ in seller.kind.subjects}
        for item in items_of(seller):
            subject = subject_of(seller.kind, str(item["title"]))
            assert any(subject.startswith(known) for known in subjects), item["title"]


def test_each_kind_has_its_poster_always_the_same_and_no_two_alike() -> None:
    kinds = list(dict.fromkeys(seller.kind for seller in SELLERS))

    first, again = [[poster(kind, "A subject", "A subject, A place, 1 May") for kind in kinds] for _ in range(2)]

    assert first == again
    assert len(set(first)) == len(kinds)
    for content in first:
        image = Image.open(BytesIO(content))
        assert (image.format, image.size) == ("JPEG", (WIDTH, HEIGHT))


def test_no_buyer_orders_a_title_twice() -> None:
    planned = list(sales())
    assert len({(sale.buyer, sale.title) for sale in planned}) == len(planned)


@pytest_asyncio.fixture(scope="module")
async def seeded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A Souk with holds of 15 minutes that was seeded once."""
    async with Stack(tmp_path_factory.mktemp("seeded"), say=lambda *_: None) as stack:
        await seed(stack)
        yield stack


async def orders_by_status(api: Api, sessions: Sequence[str]) -> list[Counter[str]]:
    """How many orders in each status each buyer has."""
    return [Counter(order["status"] for order in await api.all_of("/api/orders", session)) for session in sessions]


async def stock(api: Api) -> list[int]:
    """How much is left of each item."""
    return [item["available"] for item in await api.all_of("/api/items")]


@pytest.mark.timeout(400)  # some 60 passwords are hashed and 32 pictures drawn, on a machine that may be busy
@pytest.mark.servers
@pytest.mark.prove
async def test_a_seeded_souk_has_orders_in_every_state_and_nothing_is_made_twice(seeded: Stack) -> None:
    async with httpx.AsyncClient(base_url=seeded.url, timeout=30) as client:
        api = Api(client)
        people = [await api.sign_in(name, email, PASSWORD) for name, email in BUYERS]
        assert all(person.verified for person in people)
        sessions = [person.session for person in people]
        orders, left = await orders_by_status(api, sessions), await stock(api)
        assert all(set(statuses) == STATUSES for statuses in orders)
        assert 0 in left
        report = await reconcile(seeded.nats_url("audit"), seeded.mongo_url("audit"), grace=5)
        assert report.violations == []

        await seed(seeded)

        assert (await orders_by_status(api, sessions), await stock(api)) == (orders, left)


@pytest.mark.servers
@pytest.mark.prove
async def test_the_seed_makes_an_operator_who_can_open_the_operators_pages(seeded: Stack) -> None:
    async with httpx.AsyncClient(base_url=seeded.url, timeout=30) as client:
        operator = await Api(client).sign_in(OPERATOR.name, OPERATOR.email, PASSWORD)
        cookies = {"Cookie": f"session={operator.session}"}
        pages = [await client.get(path, headers=cookies) for path in ("/operator", "/operator/dead-letters")]
    assert [page.status_code for page in pages] == [200, 200]


@pytest.mark.servers
@pytest.mark.prove
async def test_a_seeded_souk_says_whom_to_sign_in_as(seeded: Stack) -> None:
    lines = "\n".join(await next_steps(seeded))
    assert "make seed PORT" not in lines
    assert all(word in lines for word in (SELLERS[0].email, BUYERS[0].email, OPERATOR.email, PASSWORD))
