"""Audit stores every message once, and operators decide about dead letters."""

import asyncio
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from audit.consumers import consumers
from audit.main import app
from common.events import DeadLetterDiscarded, DeadLetterReplayed, HoldElapsed, UserRegistered
from common.ids import new_id
from tests.support.serving import running

if TYPE_CHECKING:
    from services.audit.tests.conftest import World


async def test_an_event_that_comes_twice_is_kept_once_as_it_came_first(audit: "World") -> None:
    first, later = HoldElapsed(order_id="first"), HoldElapsed(order_id="later")
    await audit.publish(first, event_id="elapsed")
    [before] = (await audit.kept())["events"]
    await audit.events.js.purge_stream("EXPIRATION", keep=0)  # The server no longer knows that it had it.

    headers = {"ce-id": "elapsed", "ce-time": "2026-11-22T12:00:00+00:00"}
    await audit.events.js.publish("expiration.elapsed", later.model_dump_json().encode(), headers=headers)
    await audit.events.handled("EXPIRATION")

    assert (await audit.kept())["events"] == [before]


async def test_an_invalid_event_is_kept_and_makes_no_dead_letter_here(audit: "World") -> None:
    half = b'{"order_id": "half", "email": "\\ud800"}'
    deep = b'{"order_id": "deep", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for body in (b'{"order_id": "order", \xff', b'{"order_id": "order"}', half, deep, b"[]", b""):
        await audit.events.deliver_raw("payments.captured", body)
    await audit.events.handled("PAYMENTS")

    kept = (await audit.kept())["events"]
    assert [one["_id"] for one in kept] == [f"PAYMENTS:{number}" for number in range(1, 7)]
    assert [one.get("order_id") for one in kept] == [None, "order", "half", None, None, None]
    assert (await audit.get("/orders/order"))["story"][0]["fields"] == {"order_id": "order"}
    assert (await audit.get("/orders/half"))["story"][0]["fields"] == {"body": half.decode()}
    assert await audit.events.dead_letters(0) == []


async def test_a_letter_is_listed_with_what_an_operator_needs(audit: "World") -> None:
    letter_id = await audit.dead_letter(b'{"order_id": "order", "amount": \xff}')

    listed = await audit.get("/dead-letters", state="open")

    assert listed["open"] == 1
    [letter] = listed["items"]
    assert letter == {
        "id": letter_id,
        "state": "open",
        "service": "orders",
        "handler": "finish_paid_order",
        "subject": "payments.captured",
        "error": "ValidationError: broken",
        "deliveries": 1,
        "failed_at": "2026-11-22T12:00:00Z",
        "about": "event-17",
        "order_id": None,
        "item_id": None,
        "payment_id": None,
        "body": '{"order_id": "order", "amount": \\xff}',
        "decided_by": None,
        "decided_at": None,
        "reason": None,
    }


async def test_letters_come_in_pages_newest_first(audit: "World") -> None:
    ids = [await audit.dead_letter(sequence=number) for number in range(1, 4)]

    first = await audit.get("/dead-letters", limit=2)
    rest = await audit.get("/dead-letters", limit=2, cursor=first["next"])

    assert [one["id"] for one in (*first["items"], *rest["items"])] == ids[::-1]
    assert rest["next"] is None
    assert (await audit.get("/dead-letters", limit=3))["next"] is None, "there are three"


async def test_replaying_at_once_and_again_is_one_replay(audit: "World") -> None:
    letter_id = await audit.dead_letter()

    answers = await asyncio.gather(*(audit.post("/dead-letters/replay", ids=[letter_id, letter_id]) for _ in range(5)))
    late = await audit.post("/dead-letters/discard", ids=[letter_id], reason="too late")

    assert {answer.status_code for answer in answers} == {202}
    assert late.json()["items"][0]["state"] == "replayed"
    [replayed] = await audit.events.published(DeadLetterReplayed)
    assert (replayed.letter_id, replayed.service, replayed.handler) == (letter_id, "orders", "finish_paid_order")
    assert (replayed.source_stream, replayed.source_sequence, replayed.by) == ("PAYMENTS", 17, audit.operator.email)
    assert await audit.events.published(DeadLetterDiscarded, 0) == []
    assert (await audit.get("/dead-letters", state="open"))["items"] == []


async def test_discarding_keeps_who_and_why(audit: "World") -> None:
    letter_id = await audit.dead_letter()

    answer = await audit.post("/dead-letters/discard", ids=[letter_id], reason="settled by hand")

    letter = await audit.letter(letter_id)
    assert answer.json()["items"] == [letter]
    assert (letter["state"], letter["decided_by"], letter["reason"]) == (
        "discarded",
        audit.operator.email,
        "settled by hand",
    )
    [discarded] = await audit.events.published(DeadLetterDiscarded)
    assert (discarded.by, discarded.reason) == (audit.operator.email, "settled by hand")


@pytest.mark.parametrize(("path", "more"), [("replay", {}), ("discard", {"reason": "settled by hand"})])
async def test_a_decision_needs_a_fresh_proof_of_who_has_a_passkey(
    audit: "World", path: str, more: dict[str, object]
) -> None:
    letter_id = await audit.dead_letter()

    async def decide(proved_at: float) -> httpx.Response:
        headers = audit.tokens.headers(audit.operator, has_passkey=True, proved_at=int(proved_at))
        body = {"ids": [letter_id], **more}
        return await audit.http.post(f"/api/audit/dead-letters/{path}", json=body, headers=headers)

    late = await decide(time.time() - 301)
    assert (late.status_code, late.json()["code"], late.json()["by"]) == (403, "proof_needed", ["passkey"])
    assert (await audit.letter(letter_id))["state"] == "open"
    assert (await decide(time.time())).is_success


async def test_with_one_letter_that_does_not_exist_nothing_is_decided(audit: "World") -> None:
    letter_id = await audit.dead_letter()

    answer = await audit.post("/dead-letters/replay", ids=[letter_id, "no-such-letter"])

    assert (answer.status_code, answer.json()["code"]) == (404, "letter_not_found")
    assert "no-such-letter" in answer.json()["detail"]
    assert (await audit.letter(letter_id))["state"] == "open"


@pytest.mark.parametrize("body", [{"ids": []}, {"ids": ["x"] * 101}, {"ids": ["x" * 301]}, {"ids": "x"}])
async def test_a_choice_has_bounds(audit: "World", body: dict[str, object]) -> None:
    assert (await audit.http.post("/api/audit/dead-letters/replay", json=body)).status_code == 401
    assert (await audit.post("/dead-letters/replay", **body)).status_code == 422


async def test_a_database_that_was_lost_is_the_same_again(audit: "World") -> None:
    lamp = audit.item()
    order = audit.placed(lamp)
    cause = await audit.publish(order)
    for event in (lamp, UserRegistered(user_id=new_id(), email="Bea@souk.test", name="Bea")):
        await audit.publish(event, because=cause)
    await audit.publish(HoldElapsed(order_id=order.order_id), event_id="elapsed")
    await audit.events.deliver_raw("orders.paid", b"{broken")
    await audit.events.js.publish("retries.orders.finish_paid_order", b"", headers={"ce-id": cause})
    discarded, open_letter = await audit.dead_letter(sequence=1), await audit.dead_letter(sequence=2)
    await audit.post("/dead-letters/discard", ids=[discarded], reason="no matter")
    await audit.events.published(DeadLetterDiscarded)
    await audit.events.handled()
    before = await audit.kept()

    for name in (*before, "marks"):
        await audit.db.drop_collection(name)
    async with running(app):
        after = await audit.kept()

    assert after == before
    assert [len(kept) for kept in after.values()] == [5, 1, 2]
    assert {letter["_id"]: letter["state"] for letter in after["letters"]} == {
        discarded: "discarded",
        open_letter: "open",
    }


def test_the_durable_consumers_keep_their_names() -> None:
    names = {stream: handler.__name__ for handler, stream in consumers.stream_handlers}
    assert (
        names.items()
        >= {
            "USERS": "keep_users",
            "ITEMS": "keep_items",
            "ORDERS": "keep_orders",
            "EXPIRATION": "keep_deadlines",
            "PAYMENTS": "keep_payments",
            "RETRIES": "keep_retry",
            "DEAD_LETTERS": "keep_letter",
        }.items()
    )
