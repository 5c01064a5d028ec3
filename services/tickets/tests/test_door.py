"""The door: who is let in, and who is not."""

import asyncio
import json
import time
from base64 import urlsafe_b64decode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from common.events import TicketAdmitted, UserErased
from common.http.network import network_of
from common.http.paging import EXAMPLE_ID
from common.http.sessions import Sessions
from common.http.write_limit import WINDOW, WriteLimit
from common.ids import new_id
from tests.support.sessions import Tokens, person
from tickets.codes import TicketCodes
from tickets.main import app

from .conftest import Venue


async def test_a_ticket_admits_once(venue: Venue) -> None:
    [ticket] = await venue.sold()
    north, south = await venue.gate("North"), await venue.gate("South")

    first = await venue.scan(ticket["code"], north)
    second = await venue.scan(ticket["code"], south)

    assert (first["result"], first["gate"], first["number"]) == ("admitted", "North", ticket["number"])
    assert second == first | {"result": "already_used"}
    assert [t["status"] for t in await venue.tickets(ticket["order_id"])] == ["used"]
    [admitted] = await venue.events.published(TicketAdmitted)
    assert (admitted.ticket_id, admitted.gate, admitted.again) == (ticket["id"], "North", False)


async def test_however_many_gates_scan_a_ticket_at_once_one_admits(venue: Venue) -> None:
    [ticket] = await venue.sold()
    gates = [await venue.gate(f"Gate {n}") for n in range(10)]

    answers = await asyncio.gather(
        *(venue.scan(ticket["code"], gate, f"phone {n}") for gate in gates for n in range(10))
    )

    results = [answer["result"] for answer in answers]
    assert (results.count("admitted"), results.count("already_used")) == (1, 99)
    assert len({(answer["gate"], answer["first_admitted_at"]) for answer in answers}) == 1
    assert len(await venue.events.published(TicketAdmitted)) == 1


async def test_the_tickets_of_an_order_that_are_scanned_at_once_are_all_admitted(venue: Venue) -> None:
    tickets = await venue.sold(10)
    gate = await venue.gate()

    answers = await asyncio.gather(*(venue.scan(ticket["code"], gate) for ticket in tickets))

    assert {answer["result"] for answer in answers} == {"admitted"}
    assert {t["status"] for t in await venue.tickets(tickets[0]["order_id"])} == {"used"}


async def test_a_scan_whose_answer_was_lost_is_sent_again_and_is_the_same(venue: Venue) -> None:
    [ticket] = await venue.sold()
    gate = await venue.gate()

    first = await venue.scan(ticket["code"], gate, seq=1)

    assert await venue.scan(ticket["code"], gate, seq=1) == first
    assert (await venue.scan(ticket["code"], gate, seq=2))["result"] == "already_used"


async def test_a_number_that_is_typed_admits_too(venue: Venue) -> None:
    [ticket] = await venue.sold()
    gate = await venue.gate()
    typed = (
        ticket["number"].lower().replace("-", " ").replace("0", "o").replace("1", "l", ticket["number"][:-1].count("1"))
    )

    assert (await venue.scan(typed, gate))["result"] == "admitted"
    assert (await venue.scan(ticket["number"], gate))["result"] == "already_used"


async def test_what_was_not_signed_here_is_unknown(venue: Venue) -> None:
    [ticket] = await venue.sold()
    gate = await venue.gate()
    claim = venue.codes.read(ticket["code"])
    assert claim is not None
    another_key = TicketCodes(Tokens(Ed25519PrivateKey.generate()).private_pem)
    code = ticket["code"]
    forged = [
        another_key.code(claim),
        *(code[:i] + ("A" if code[i] != "A" else "B") + code[i + 1 :] for i in (0, 2, 5, 20, 50, 62, 70, 163)),
        code[:-1],
        code + "A",
        "",
        "Ö" * 165,
        "1" * 165,
        "0000-0000-1",
        "x" * 500,
    ]

    for wrong in forged:
        answer = await venue.scan(wrong, gate)
        assert answer == {"result": "unknown", "first_admitted_at": None, "gate": None, "number": None}, wrong

    assert (await venue.scan(code.lower(), gate))["result"] == "admitted"


async def test_what_was_signed_but_never_issued_is_unknown(venue: Venue) -> None:
    [ticket] = await venue.sold()
    gate = await venue.gate()
    claim = venue.codes.read(ticket["code"])
    assert claim is not None

    for never in (replace(claim, unit=0), replace(claim, unit=2), replace(claim, order_id=new_id())):
        assert (await venue.scan(venue.codes.code(never), gate))["result"] == "unknown"


async def test_a_ticket_of_another_event_is_told_apart(venue: Venue) -> None:
    [ticket] = await venue.sold()
    other = new_id()
    await venue.events.deliver(venue.item(item_id=other))
    gate = await venue.gate(item_id=other)

    assert (await venue.scan(ticket["code"], gate))["result"] == "wrong_event"
    assert (await venue.scan(ticket["number"], gate))["result"] == "unknown"
    assert [t["status"] for t in await venue.tickets(ticket["order_id"])] == ["valid"]


async def test_a_revoked_ticket_admits_nobody(venue: Venue) -> None:
    await venue.events.deliver(venue.item())
    order = venue.paid()
    await venue.events.deliver(order)
    [ticket] = await venue.tickets(order.order_id)
    await venue.events.deliver(venue.refund_of(order))

    for code in (ticket["code"], ticket["number"]):
        assert (await venue.scan(code, await venue.gate()))["result"] == "revoked"


async def test_a_gate_of_an_event_that_is_not_known_here_yet_is_not_refused_for_good(venue: Venue) -> None:
    answer = await venue.call("POST", "/gates", venue.seller, json={"item_id": new_id(), "name": "North"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    answer = await venue.call("POST", "/gates", venue.seller, json={"item_id": EXAMPLE_ID, "name": "North"})
    assert (answer.status_code, answer.json()["code"]) == (404, "event_not_found")


async def test_an_event_that_a_replica_that_hangs_has_in_hand_gets_a_gate(venue: Venue) -> None:
    listing = await venue.events.in_hand("tickets", "follow_event", lambda: venue.item(item_id=new_id()))

    assert await venue.gate(item_id=listing.item_id)


async def test_a_closed_gate_admits_nobody(venue: Venue) -> None:
    [ticket] = await venue.sold()
    made = (await venue.call("POST", "/gates", venue.seller, json={"item_id": venue.item_id, "name": "North"})).json()
    assert made["link"] == f"/gate#{made['token']}"
    stored = await venue.db.gates.find_one({})
    assert stored is not None
    assert made["token"] not in str(stored)

    closed = await venue.call("DELETE", f"/gates/{made['id']}", venue.seller)

    assert closed.status_code == 200
    for gate in (made["token"], "nonsense", made["id"]):
        for path, body in (
            ("/scan", venue.scanned(ticket["code"], gate)),
            ("/scans", {"scans": [venue.scanned(ticket["code"], gate)]}),
            ("/gates/sign", {"gate": gate}),
            ("/gates/list", {"gate": gate}),
        ):
            answer = await venue.call("POST", path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "gate_closed"), path
    assert [t["status"] for t in await venue.tickets(ticket["order_id"])] == ["valid"]


async def test_gates_are_their_sellers(venue: Venue) -> None:
    await venue.sold()
    gate_id = (
        await venue.call("POST", "/gates", venue.seller, json={"item_id": venue.item_id, "name": "North"})
    ).json()["id"]
    mallory = person("Mallory")

    answers = [
        await venue.call("POST", "/gates", mallory, json={"item_id": venue.item_id, "name": "Mine"}),
        await venue.call("GET", f"/gates?item_id={venue.item_id}", mallory),
        await venue.call("DELETE", f"/gates/{gate_id}", mallory),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "not_seller")] * 3
    assert (
        await venue.call("POST", "/gates", venue.seller, json={"item_id": EXAMPLE_ID, "name": "x"})
    ).status_code == 404
    assert (await venue.call("DELETE", "/gates/nothing", venue.seller)).status_code == 404
    assert (await venue.call("POST", "/gates", json={"item_id": venue.item_id, "name": "x"})).status_code == 401


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("code", "x" * 501),
        ("gate", ""),
        ("device", "x" * 65),
        ("device", "a\nb"),
        ("seq", -1),
        ("seq", 1.5),
        ("at", "now"),
    ],
)
async def test_a_wrong_field_of_a_scan_is_named(venue: Venue, field: str, value: object) -> None:
    answer = await venue.call("POST", "/scan", json=venue.scanned("x", "y") | {field: value})

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


# What was done offline


async def test_every_admission_made_offline_that_was_one_too_many_is_named_with_both_gates(venue: Venue) -> None:
    copied, other = await venue.sold(2)
    north, south = await venue.gate("North"), await venue.gate("South")
    assert (await venue.scan(copied["code"], north))["result"] == "admitted"

    batch = {
        "scans": [
            venue.scanned(copied["code"], south, "S", 1),
            venue.scanned(other["code"], south, "S", 2),
            venue.scanned(other["code"], south, "S", 3),  # the same device, offline, twice
            venue.scanned("forged", south, "S", 4),
        ]
    }
    answer = await venue.call("POST", "/scans", json=batch)

    assert answer.status_code == 200, answer.text
    assert [(a["seq"], a["result"], a["extra"], a["gate"]) for a in answer.json()] == [
        (1, "already_used", True, "North"),
        (2, "admitted", False, "South"),
        (3, "already_used", True, "South"),
        (4, "unknown", False, None),
    ]
    door = (await venue.call("GET", f"/gates?item_id={venue.item_id}", venue.seller)).json()
    assert (door["admitted"], door["tickets"]) == (2, 2)
    assert sorted((e["number"], e["first_gate"], e["second_gate"]) for e in door["extras"]) == sorted(
        [(copied["number"], "North", "South"), (other["number"], "South", "South")]
    )
    admitted = await venue.events.published(TicketAdmitted, 4)
    assert sorted(event.again for event in admitted) == [False, False, True, True]


async def test_who_was_let_in_offline_with_a_code_that_was_given_away_is_named(venue: Venue) -> None:
    [ticket] = await venue.sold()
    north, south, cleo = await venue.gate("North"), await venue.gate("South"), person("Cleo")
    listed_at = json.loads((await venue.call("POST", "/gates/list", json={"gate": south})).json()["content"])["at"]
    await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json={"email": "cleo@souk.test"})
    held = (await venue.call("POST", "/accept", cleo, json={"token": await venue.link_token()})).json()
    old = venue.scanned(ticket["code"], south, "S", 1) | {"list_at": listed_at}

    before = [await venue.call("POST", "/scans", json={"scans": [old]}) for _ in range(2)]
    alone = await extras(venue)
    assert (await venue.scan(held["code"], north))["result"] == "admitted"  # The ticket is still its holder's.

    for answer in before:
        assert [(a["result"], a["extra"], a["reason"], a["number"]) for a in answer.json()] == [
            ("revoked", True, "given_away", ticket["number"])
        ]
    assert [(e["reason"], e["first_gate"], e["second_gate"]) for e in alone] == [("given_away", "South", "South")]
    [both] = await extras(venue)
    assert (both["number"], both["first_gate"], both["second_gate"]) == (ticket["number"], "North", "South")
    assert listed_at[:23] == both["listed_at"][:23] < both["void_since"]  # This phone could not know.
    admitted = await venue.events.published(TicketAdmitted, 2)
    assert [(event.generation, event.gate, event.again) for event in admitted] == [
        (1, "South", True),
        (2, "North", False),
    ]


async def test_who_was_let_in_offline_with_a_refunded_ticket_is_named(venue: Venue) -> None:
    await venue.events.deliver(venue.item())
    order = venue.paid()
    await venue.events.deliver(order)
    [ticket] = await venue.tickets(order.order_id)
    gate = await venue.gate("South")
    await venue.events.deliver(venue.refund_of(order))

    scans = [
        venue.scanned(ticket["code"], gate, "S", 1),
        venue.scanned(ticket["code"], gate, "S", 2) | {"admitted": False},
    ]
    answer = await venue.call("POST", "/scans", json={"scans": scans})

    assert [(a["result"], a["extra"], a["reason"]) for a in answer.json()] == [
        ("revoked", True, "revoked"),
        ("revoked", False, None),
    ]
    [extra] = await extras(venue)
    assert (extra["reason"], extra["first_gate"], extra["second_gate"]) == ("revoked", "South", "South")
    assert extra["void_since"] is not None
    assert extra["listed_at"] is None


async def extras(venue: Venue) -> list[dict[str, Any]]:
    """What the seller is told of admissions that should not have been."""
    door = (await venue.call("GET", f"/gates?item_id={venue.item_id}", venue.seller)).json()
    found: list[dict[str, Any]] = door["extras"]
    return found


async def test_what_was_scanned_before_its_gate_was_closed_is_taken(venue: Venue) -> None:
    early, late = await venue.sold(2)
    made = (await venue.call("POST", "/gates", venue.seller, json={"item_id": venue.item_id, "name": "North"})).json()
    before = venue.scanned(early["code"], made["token"], "S", 1)
    await venue.call("DELETE", f"/gates/{made['id']}", venue.seller)

    taken = await venue.call("POST", "/scans", json={"scans": [before]})
    online = await venue.call("POST", "/scan", json=before)
    after = await venue.call("POST", "/scans", json={"scans": [venue.scanned(late["code"], made["token"], "S", 2)]})
    closed_at = datetime.now(UTC) - timedelta(days=8)
    await venue.db.gates.update_one({}, {"$set": {"closed_at": closed_at}})
    long_ago = before | {"seq": 3, "at": (closed_at - timedelta(hours=1)).isoformat()}
    too_late = await venue.call("POST", "/scans", json={"scans": [long_ago]})

    assert (taken.status_code, [a["result"] for a in taken.json()]) == (200, ["admitted"])
    assert [(a.status_code, a.json()["code"]) for a in (online, after, too_late)] == [(403, "gate_closed")] * 3
    assert [t["status"] for t in await venue.tickets(early["order_id"])] == ["used", "valid"]


async def test_scans_that_have_not_arrived_are_counted_until_they_do(venue: Venue) -> None:
    tickets = await venue.sold(6)
    gate, other = await venue.gate("North"), await venue.gate("South")

    async def missing() -> list[tuple[str, str, int]]:
        door = (await venue.call("GET", f"/gates?item_id={venue.item_id}", venue.seller)).json()
        return [(one["device"], one["gate"], one["count"]) for one in door["missing"]]

    await venue.scan(tickets[0]["code"], gate, "P", 1)
    assert await missing() == []
    await venue.scan(tickets[1]["code"], gate, "P", 5)
    await venue.scan("nothing", other, "Q", 2)
    assert sorted(await missing()) == [("P", "North", 3), ("Q", "South", 1)]
    batch = [venue.scanned(tickets[n]["code"], gate, "P", n) for n in (3, 2, 3)]
    await venue.call("POST", "/scans", json={"scans": batch})
    assert sorted(await missing()) == [("P", "North", 1), ("Q", "South", 1)]
    await asyncio.gather(venue.scan("nothing", gate, "P", 4), venue.scan("nothing", other, "Q", 1))
    assert await missing() == []
    await asyncio.gather(*(venue.scan("nothing", gate, "P", seq) for seq in range(20, 5, -1)))
    assert await missing() == []


async def test_a_batch_that_is_sent_again_counts_once(venue: Venue) -> None:
    tickets = await venue.sold(3)
    gate = await venue.gate()
    batch = {"scans": [venue.scanned(ticket["code"], gate, "phone", n) for n, ticket in enumerate(tickets)]}

    first = await venue.call("POST", "/scans", json=batch)
    again = await asyncio.gather(*(venue.call("POST", "/scans", json=batch) for _ in range(5)))

    assert {answer["result"] for answer in first.json()} == {"admitted"}
    assert all(answer.json() == first.json() for answer in again)
    assert len(await venue.events.published(TicketAdmitted, 3)) == 3
    door = (await venue.call("GET", f"/gates?item_id={venue.item_id}", venue.seller)).json()
    assert (door["admitted"], door["extras"]) == (3, [])


async def test_a_batch_of_too_many_is_refused_whole(venue: Venue) -> None:
    [ticket] = await venue.sold()
    gate = await venue.gate()

    answer = await venue.call("POST", "/scans", json={"scans": [venue.scanned(ticket["code"], gate)] * 501})

    assert answer.status_code in {413, 422}
    assert [t["status"] for t in await venue.tickets(ticket["order_id"])] == ["valid"]


async def test_one_scan_that_is_refused_refuses_the_list_and_nothing_of_it_is_stored(venue: Venue) -> None:
    early, late = await venue.sold(2)
    made = (await venue.call("POST", "/gates", venue.seller, json={"item_id": venue.item_id, "name": "North"})).json()
    before = venue.scanned(early["code"], made["token"], "S", 1)
    await venue.call("DELETE", f"/gates/{made['id']}", venue.seller)
    scans = [before, venue.scanned(late["code"], made["token"], "S", 2)]

    refused = await venue.call("POST", "/scans", json={"scans": scans})

    assert (refused.status_code, refused.json()["code"]) == (403, "gate_closed")
    assert [t["status"] for t in await venue.tickets(early["order_id"])] == ["valid", "valid"]
    taken = await venue.call("POST", "/scans", json={"scans": scans[:1]})
    assert [a["result"] for a in taken.json()] == ["admitted"]


async def test_scans_are_taken_and_answered_in_the_order_of_the_list(venue: Venue) -> None:
    tickets = [ticket for _ in range(10) for ticket in await venue.sold(2)]
    gate = await venue.gate("North")
    codes = [ticket[way] for way in ("code", "number", "code") for ticket in tickets] + ["forged", "7Q4K-M2XD-1"]
    scans = [venue.scanned(code, gate, "S", seq) for seq, code in enumerate(codes, 1)]

    answer = await venue.call("POST", "/scans", json={"scans": scans})

    assert answer.status_code == 200, answer.text
    said = [(one["seq"], one["result"], one["number"]) for one in answer.json()]
    numbers = [ticket["number"] for ticket in tickets] * 3 + [None, None]
    results = ["admitted"] * 20 + ["already_used"] * 40 + ["unknown"] * 2
    assert said == list(zip(range(1, 63), results, numbers, strict=True))
    named = [(one["number"], one["first_gate"], one["second_gate"]) for one in await extras(venue)]
    assert sorted(named) == sorted([(number, "North", "North") for number in numbers[:40]])


async def test_whom_a_device_turned_away_is_stored_and_changes_nothing(venue: Venue) -> None:
    used, unused = await venue.sold(2)
    north = await venue.gate("North")
    await venue.scan(used["code"], north)

    scans = [venue.scanned(t["code"], north, "S", n) | {"admitted": False} for n, t in enumerate([used, unused])]
    for _ in range(2):
        answer = await venue.call("POST", "/scans", json={"scans": scans})
        assert [(a["result"], a["extra"]) for a in answer.json()] == [("already_used", False), ("unknown", False)]

    assert [t["status"] for t in await venue.tickets(used["order_id"])] == ["used", "valid"]
    booking = await venue.db.bookings.find_one({}) or {}
    assert [[made["seq"] for made in ticket["refusals"]] for ticket in booking["tickets"]] == [[0], [1]]
    many = [venue.scanned(unused["code"], north, "S", 9 + n) | {"admitted": False} for n in range(30)]
    await venue.call("POST", "/scans", json={"scans": many})
    booking = await venue.db.bookings.find_one({}) or {}
    assert len(booking["tickets"][1]["refusals"]) == 20


async def test_the_list_of_a_gate_is_signed_and_says_what_every_ticket_is_worth(venue: Venue) -> None:
    used, given = await venue.sold(2)
    refunded = venue.paid()
    await venue.events.deliver(refunded)
    await venue.events.deliver(venue.refund_of(refunded))
    gate, cleo = await venue.gate(), person("Cleo")
    await venue.scan(used["code"], gate)
    await venue.call("POST", f"/{given['id']}/transfer", venue.buyer, json={"email": "cleo@souk.test"})
    await venue.call("POST", "/accept", cleo, json={"token": await venue.link_token()})

    answer = (await venue.call("POST", "/gates/list", json={"gate": gate})).json()

    keys = {kid: Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key)) for kid, key in answer["keys"].items()}
    keys[answer["kid"]].verify(urlsafe_b64decode(answer["signature"]), answer["content"].encode())
    listed = json.loads(answer["content"])
    assert listed["item_id"] == venue.item_id
    assert sorted((one["id"], one["generation"], one["status"]) for one in listed["tickets"]) == sorted(
        [(used["id"], 1, "used"), (given["id"], 2, "valid"), (f"{refunded.order_id}-1", 1, "revoked")]
    )


async def test_gates_that_share_a_network_do_not_wait_for_each_other(venue: Venue) -> None:
    [ticket] = await venue.sold()
    north, south = await venue.gate("North"), await venue.gate("South")
    limits = app.state.parts

    used_up(limits[Sessions].writes, network_of("127.0.0.1"))
    assert (await venue.call("POST", "/accept", json={"token": "x"})).status_code == 429
    assert (await venue.scan("x", north))["result"] == "unknown"
    used_up(limits[WriteLimit], sha256(north.encode()).hexdigest())
    for path, body in (("/scan", venue.scanned("x", north)), ("/scans", {"scans": [venue.scanned("x", north)]})):
        answer = await venue.call("POST", path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
        assert int(answer.headers["retry-after"]) > 0

    assert (await venue.scan(ticket["code"], south))["result"] == "admitted"


def used_up(limit: WriteLimit, caller: str) -> None:
    """Let a caller have no change left for a minute."""
    limit._until[caller] = time.monotonic() + 2 * WINDOW


async def test_the_gates_of_a_seller_who_is_erased_still_let_in_who_has_paid(venue: Venue) -> None:
    [ticket] = await venue.sold()
    gate = await venue.gate()

    await venue.events.deliver(UserErased(user_id=venue.seller.id, account_version=2))

    assert (await venue.scan(ticket["code"], gate))["result"] == "admitted"


async def test_a_seller_takes_along_every_gate_of_their_events_and_no_other(venue: Venue) -> None:
    await venue.sold()
    another, of_somebody_else = new_id(), new_id()
    await venue.events.deliver(venue.item(item_id=another))
    await venue.gate("North")
    await venue.gate("South")
    token = await venue.gate("Garden", another)
    rival = person("Rivka")
    await venue.events.deliver(venue.item(item_id=of_somebody_else, seller_id=rival.id))
    made = await venue.call("POST", "/gates", rival, json={"item_id": of_somebody_else, "name": "Theirs"})
    assert made.status_code == 201

    gates, cursor = [], None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await venue.call("GET", "/gates/mine", venue.seller, params=params)).json()
        gates += page["items"]
        if not (cursor := page["next"]):
            break

    assert sorted((gate["name"], gate["item_id"]) for gate in gates) == [
        ("Garden", another),
        ("North", venue.item_id),
        ("South", venue.item_id),
    ]
    assert token not in json.dumps(gates)
    assert (await venue.call("GET", "/gates/mine", venue.buyer)).json() == {"items": [], "next": None}
    assert (await venue.call("GET", "/gates/mine")).status_code == 401
    assert (await venue.call("GET", "/gates/mine", venue.seller, params={"cursor": "me"})).status_code == 422
