"""Events of revisions that named people name nobody any more: in the log, in their stream, as dead letters."""

import pytest

from audit.settings import AuditSettings
from audit.unname import run
from common.bus.provision import provision
from common.events import EmailChanged, TicketTransferOffered, UserErased, UserRegistered, VerificationRequested
from common.settings import load

from .conftest import World
from .test_refill import printed, stored

WORDS = ("quux", "Ad\u00e6la")


async def test_old_events_name_nobody_any_more_and_nothing_else_of_them_changes(
    audit: World, bus_url: str, environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    events = (
        UserRegistered(user_id="u1", email="quux@souk.test", name=WORDS[1]),
        VerificationRequested(user_id="u1", request_id="r1", email="quux@souk.test", welcome=True),
        EmailChanged(user_id="u1", account_version=2, email_version=2, email="quux@b.c", old_email="quux@souk.test"),
        UserErased(user_id="u1", account_version=3),
        TicketTransferOffered(
            ticket_id="o1-1",
            order_id="o1",
            tickets_version=2,
            item_id="i1",
            generation=1,
            holder_id="u1",
            request_id="o1-1-cafe",
            email="quux@souk.test",
            item_title="A concert",
        ),
    )
    for event in events:
        await audit.publish(event)
    before = await stored(audit.events, "USERS")
    assert any(word in entry.body for entry in before for word in WORDS)

    await run(load(AuditSettings), bus_url)
    assert printed(capsys, "any more") == [
        "USERS: 3 events name nobody any more",
        "TICKETS: 1 events name nobody any more",
        "DEAD_LETTERS: 0 name nobody any more",
    ]

    after = await stored(audit.events, "USERS")
    assert [(one.id, one.sequence, one.subject, one.time) for one in after] == [
        (one.id, one.sequence, one.subject, one.time) for one in before
    ]
    [offered] = await stored(audit.events, "TICKETS")
    assert "email" not in offered.body
    assert "o1-1-cafe" in offered.body
    logged = [document async for document in audit.db.events.find()]
    for word in WORDS:
        assert not any(word in entry.body for entry in after)
        assert word not in str(logged)
    assert after[1].body == '{"user_id": "u1", "request_id": "r1", "welcome": true, "email_version": 1}'
    await provision(bus_url)  # It accepts what it finds.
    await run(load(AuditSettings), bus_url)
    assert printed(capsys, "any more")[0] == "USERS: 0 events name nobody any more"
    assert await stored(audit.events, "USERS") == after


async def test_an_event_that_audit_had_not_kept_yet_is_not_lost(audit: World, bus_url: str, environment: None) -> None:
    await audit.publish(UserRegistered(user_id="u1", email="quux@souk.test", name="Quux"))
    await audit.db.events.delete_many({})

    await run(load(AuditSettings), bus_url)

    [registered] = await stored(audit.events, "USERS")
    assert UserRegistered.model_validate_json(registered.body) == UserRegistered(user_id="u1")
