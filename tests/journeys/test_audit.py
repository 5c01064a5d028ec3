"""What an operator sees of the whole of Souk, through the gateway: stories, dead letters, a log that was lost."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from auth import grant
from common.http.sessions import OPERATOR
from common.mongo.client import database
from infra.local.stack.stack import Stack
from tests.support.browsing import accessible, opening, refused, signed_in
from tests.support.late_money import bank_waiting
from tests.support.people import People, Person
from tests.support.shopping import Json, becomes, money, ok, pay, place, sell
from tests.support.stacks import events_of
from tests.support.waiting import eventually

FAILING = [sys.executable, "-m", "tests.support.failing"]


@pytest_asyncio.fixture(scope="module")
async def faulty_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Souk with holds of 10 seconds, whose orders can't finish what is paid until the file `mended` is there."""
    folder = tmp_path_factory.mktemp("faulty")
    mended = {"orders": {"MENDED": str(folder / "mended")}}
    async with Stack(folder, hold_seconds=10, commands={"orders": FAILING}, env=mended) as running:
        yield running


@pytest_asyncio.fixture
async def faulty_people(faulty_stack: Stack) -> AsyncIterator[People]:
    """People at `faulty_stack`."""
    async with AsyncExitStack() as exits:
        yield People(faulty_stack, exits)


@pytest_asyncio.fixture
async def operator(faulty_people: People) -> httpx.AsyncClient:
    """Somebody who may ask audit."""
    return (await faulty_people.new("Ola", OPERATOR)).http


async def story(operator: httpx.AsyncClient, order_id: str, holds: Callable[[Json], None]) -> Json:
    """Return audit's timeline of an order, once `holds` raises no AssertionError.

    Audit keeps each stream by itself: that it has one event does not mean that it has an earlier one of another stream.
    """

    async def complete() -> Json:
        shown = ok(await operator.get(f"/api/audit/orders/{order_id}"))
        holds(shown)
        return shown

    return await eventually(complete)


async def letter_about(operator: httpx.AsyncClient, order_id: str) -> Json:
    """The open dead letter about an order, once there is one."""

    async def listed() -> Json | None:
        open_letters = ok(await operator.get("/api/audit/dead-letters", params={"state": "open"}))["items"]
        return next((letter for letter in open_letters if letter["order_id"] == order_id), None)

    return await eventually(listed, why=f"no dead letter about {order_id}")


@pytest.mark.prove
async def test_a_dead_letter_is_replayed_after_its_cause_is_mended_and_the_order_is_finished(
    faulty_people: People, faulty_stack: Stack, operator: httpx.AsyncClient, chromium: Browser
) -> None:
    seller, buyer = await faulty_people.new("Sid"), await faulty_people.new("Bea")
    placed = await place(buyer, await sell(seller, 1))
    await pay(buyer, placed["id"])
    letter = await letter_about(operator, placed["id"])
    assert (letter["handler"], letter["subject"]) == ("finish_paid_order", "payments.captured")
    assert letter["error"] == "RuntimeError: not today"

    async with opening(chromium, faulty_stack) as opened:
        page = await opened("/signin")
        await signed_in(page, await faulty_people.new("Olga", OPERATOR))
        await page.goto("/operator/dead-letters")
        await page.get_by_label("payments.captured → orders, finish_paid_order").check()
        await page.get_by_role("button", name="Discard").click()
        await refused(page, "Or discard, with a reason", "Enter a reason. Other operators will read it.")
        await accessible(page)

        (faulty_stack.data_dir / "mended").touch()
        await page.get_by_role("button", name="Replay").click()

        await expect(page.locator(".note")).to_have_text("The messages are with their handlers again.")
        await expect(page.get_by_text("None. Every message was processed.")).to_be_visible()
        await page.get_by_role("link", name="Replayed").click()
        await expect(page.locator(".letter")).to_contain_text("RuntimeError: not today")
        await accessible(page)

    await becomes(buyer, placed["id"], "paid")

    def is_told(shown: Json) -> None:
        kinds = [line["kind"] for line in shown["story"] if line["kind"] not in {"event", "provider_call"}]
        assert kinds == ["retry", "dead_letter", "replayed"]
        events = [line for line in shown["story"] if line["kind"] == "event"]
        captured, paid = [[one for one in events if one["subject"] == s] for s in ("payments.captured", "orders.paid")]
        assert (len(captured), len(paid)) == (1, 1)
        assert paid[0]["caused_by"] == captured[0]["id"] == letter["about"]
        assert shown["order"]["status"] == "paid"

    await story(operator, placed["id"], is_told)


@pytest.mark.prove
async def test_money_that_came_too_late_and_went_back_is_one_story(
    faulty_people: People, faulty_stack: Stack, operator: httpx.AsyncClient
) -> None:
    (faulty_stack.data_dir / "mended").touch()
    seller, slow, fast = [await faulty_people.new(name) for name in ("Sid", "Sue", "Flo")]
    item = await sell(seller, 1)
    late = await place(slow, item)
    async with bank_waiting(faulty_stack, await pay(slow, late["id"], "pm_bank_late")):
        await becomes(slow, late["id"], "expired")
        await pay(fast, (await place(fast, item))["id"])
    [payment] = await money(slow, late["id"], "refunded")

    def is_told(shown: Json) -> None:
        lines: list[Any] = [line for line in shown["story"] if not is_aside(line)]
        assert [(line["subject"], line["fields"].get("outcome") or line["fields"].get("reason")) for line in lines] == [
            ("orders.placed", None),
            ("payments.provider_called", "processing"),
            ("payments.processing", None),
            ("expiration.elapsed", None),
            ("orders.cancelled", "expired"),
            ("payments.provider_called", "captured"),
            ("payments.captured", None),
            ("orders.payment_rejected", "sold_out"),
            ("payments.provider_called", "refunded"),
            ("payments.refunded", "sold_out"),
        ]
        by_subject = {line["subject"]: line for line in lines}
        for effect, cause in {
            "orders.cancelled": "expiration.elapsed",
            "orders.payment_rejected": "payments.captured",
            "payments.refunded": "orders.payment_rejected",
        }.items():
            assert by_subject[effect]["caused_by"] == by_subject[cause]["id"]
        last = shown["states"][-1]
        assert (last["order"]["status"], last["order"]["late_payment"]) == ("expired", "rejected")
        assert [(one["id"], one["status"]) for one in last["payments"]] == [(payment["id"], "refunded")]
        assert last["stock"]["available"] == 0

    await story(operator, late["id"], is_told)
    assert ok(await operator.get(f"/api/audit/payments/{payment['id']}"))["order_id"] == late["id"]


def is_aside(line: Json) -> bool:
    """Whether a line may come at any time: about the stock, or that Souk has asked a bank that has not agreed yet."""
    asked = (line["fields"].get("operation"), line["fields"].get("outcome"))
    return line["subject"] == "orders.stock_changed" or asked == ("retrieve", "processing")


async def test_a_log_that_was_lost_is_read_again_from_the_streams(
    faulty_people: People, faulty_stack: Stack, operator: httpx.AsyncClient
) -> None:
    await place(await faulty_people.new("Bo"), await sell(await faulty_people.new("Sella"), 1))
    async with events_of(faulty_stack) as events:
        await events.handled()
    async with database(faulty_stack.mongo_url("audit")) as db:
        before = await db.events.find().sort("_id").to_list()
        assert before
        newest = {one["stream"]: one["sequence"] for one in sorted(before, key=lambda one: int(one["sequence"]))}
        for name in await db.list_collection_names():
            await db.drop_collection(name)

        await faulty_stack.kill("audit")

        async def filled() -> bool:
            return bool(await db.marks.find_one({"_id": "filled"}))

        await eventually(filled, 60)
        after = await db.events.find().sort("_id").to_list()
    # What the orders of other tests still cause comes later.
    assert [one for one in after if one["sequence"] <= newest.get(one["stream"], 0)] == before


async def test_an_operator_is_made_by_command_alone_and_counts_from_the_next_sign_in_on(
    faulty_people: People, faulty_stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in faulty_stack.env("auth").items():
        monkeypatch.setenv(name, value)
    ola = await faulty_people.signed_up("Ola")

    assert await grant.change(ola.user.email.upper(), revoke=False)
    assert await audit_answers(ola) in {401, 403}, "her session says nothing of it, and is outdated once that is known"
    await sign_in(ola)
    assert await audit_answers(ola) == 200

    assert await grant.change(ola.user.email, revoke=True)
    await sign_in(ola)
    assert await audit_answers(ola) == 403
    assert await grant.change("nobody@souk.test", revoke=False) is None


async def sign_in(somebody: Person) -> None:
    """Sign in again."""
    body = {"email": somebody.user.email, "password": "correct horse"}
    ok(await somebody.http.post("/api/users/signin", json=body))


async def audit_answers(somebody: Person) -> int:
    """The status of the list of dead letters."""
    return (await somebody.http.get("/api/audit/dead-letters")).status_code
