"""The security log of a process: what it says of a flood, and how its entries get onto the bus."""

import asyncio
import json
import logging
from contextlib import suppress
from typing import Any

import pytest
from nats.js.api import PubAck

from common import security_log
from common.bus.security import publishing
from common.ids import new_id
from common.security_log import DISTINCT, MOST_WAITING, SecurityLog
from tests.support.bus import Events
from tests.support.waiting import eventually


def said(log: SecurityLog) -> list[tuple[str, str | None, str | None, int]]:
    """What the entries that wait say."""
    return [(entry.kind, entry.user_id, entry.network, entry.count) for entry in log.waiting]


def test_what_repeats_itself_is_said_once_and_then_counted() -> None:
    log = SecurityLog()
    for _ in range(1_000):
        log.note("sign_in_failed", "ada", "192.0.2.0/24")
    log.note("sign_in_failed", "ada", "198.51.100.0/24")

    assert said(log) == [
        ("sign_in_failed", "ada", "192.0.2.0/24", 1),
        ("sign_in_failed", "ada", "198.51.100.0/24", 1),
    ]
    log.close_window(early=True)
    assert said(log)[2:] == [("sign_in_failed", "ada", "192.0.2.0/24", 999)]
    log.close_window(early=True)
    assert len(log.waiting) == 3, "the next window has nothing to say"


def test_a_flood_from_everywhere_makes_a_bounded_number_of_entries_and_hides_nothing_of_another_kind() -> None:
    log = SecurityLog()
    for number in range(10_000):
        log.note("sign_in_failed", f"user {number}", f"10.0.{number}.0/24")
    log.note("roles_changed", "mallory", detail="operator granted")
    log.close_window(early=True)

    assert ("roles_changed", "mallory", None, 1) in said(log)
    assert len(log.waiting) == DISTINCT + 3
    assert sum(entry.count for entry in log.waiting if entry.kind == "sign_in_failed") == 10_000


def test_the_window_closes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    log, clock = SecurityLog(), [1_000.0]
    monkeypatch.setattr("common.security_log.time.monotonic", lambda: clock[0])
    for _ in range(3):
        log.note("denied", "ada")
    clock[0] += security_log.WINDOW - 1
    log.close_window()
    assert said(log) == [("denied", "ada", None, 1)]
    clock[0] += 1
    log.note("denied", "ada")
    assert said(log) == [("denied", "ada", None, 1), ("denied", "ada", None, 2), ("denied", "ada", None, 1)]


def test_entries_that_the_bus_does_not_take_do_not_pile_up_without_end() -> None:
    log = SecurityLog()
    for _ in range(MOST_WAITING):
        log.note("exported", new_id())
        log.close_window(early=True)
    log.note("erased", "ada")
    assert len(log.waiting) == MOST_WAITING
    assert log.waiting[-1].kind == "erased"


def test_an_entry_is_a_line_of_its_own_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "souk.security"):
        SecurityLog().note("denied", "ada", "2001:db8::/64", "POST /api/items: cross_site")

    [line] = caplog.records
    assert (line.name, line.getMessage()) == ("souk.security", "denied")
    assert (vars(line)["user_id"], vars(line)["network"]) == ("ada", "2001:db8::/64")


async def test_entries_are_published_in_order_and_the_last_ones_at_the_end(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.bus.security.PATIENCE", 30.0)
    log, user_id = SecurityLog(), new_id()

    async def published() -> list[str]:
        found = [json.loads(message.data) for message in await events.messages("SECURITY", "security.test.>")]
        return [f"{entry['kind']} {entry.get('count')}" for entry in found if entry.get("user_id") == user_id]

    log.note("signed_in", user_id)
    async with publishing(log, events.js, "test"):
        await eventually(published)
        for _ in range(5):
            log.note("exported", user_id)
    assert await published() == ["signed_in 1", "exported 1", "exported 4"]
    assert not log.waiting


async def test_leaving_ends_although_a_cancellation_is_lost_that_comes_with_an_answer(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, answers, right = SecurityLog(), asyncio.Event(), events.js.publish

    async def lose_a_cancellation(*args: Any, **kwargs: Any) -> PubAck:
        """As `asyncio.wait_for` on Python 3.11, by which the client waits for the answer."""
        answer = await right(*args, **kwargs)
        answers.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.1)
        return answer

    monkeypatch.setattr(events.js, "publish", lose_a_cancellation)
    log.note("denied", "ada")
    async with asyncio.timeout(30):
        async with publishing(log, events.js, "auth"):
            await answers.wait()

    assert not log.waiting
