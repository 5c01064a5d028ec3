"""People take their data along, and delete their account."""

from typing import Any

from infra.local.stack.stack import Stack
from services.web.tests.conftest import LAMP, Visitors, listed, ordered, paid
from tests.support.authenticator import Authenticator
from tests.support.sessions import person
from tests.support.waiting import eventually
from web.pages.my_data import PAGE


async def test_a_file_has_everything_and_only_of_whoever_asks(visitors: Visitors) -> None:
    ada, email = await visitors.anybody(), person("ada").email
    await ada.send(await ada.get("/signup"), "/signup", name="Ada", email=email, password="long enough")
    await listed(ada)
    await listed(await visitors.new("Sella"))

    page = await ada.get("/my/data")
    assert "/api/users/me/export" in page.answer.text
    file = await ada.http.get("/api/users/me/export")

    assert file.headers["content-disposition"] == 'attachment; filename="souk-my-data.json"'
    data = file.json()
    assert (data["account"]["email"], data["account"]["name"]) == (email, "Ada")
    assert [item["title"] for item in data["items"]] == [LAMP["title"]]
    assert set(data) == {
        *(
            "exported_at",
            "account",
            "recovery_codes",
            "security",
            "sessions",
            "passkeys",
            "events",
            "mails",
            "items",
            "favourites",
            "orders",
            "sales",
            "payments",
            "tickets",
            "gates",
        ),
    }
    assert data["recovery_codes"] == {"left": 0}

    async def noted() -> bool:
        entries: list[dict[str, Any]] = (await ada.http.get("/api/users/me/export")).json()["security"]
        assert {entry["user_id"] for entry in entries} <= {data["account"]["id"]}
        return {entry["kind"] for entry in entries if entry["network"]} >= {"signed_in", "exported"}

    await eventually(noted, 60)
    refused = await (await visitors.anybody()).http.get("/api/users/me/export")
    assert (refused.status_code, refused.json()["code"]) == (401, "not_signed_in")


async def test_passkeys_and_tickets_are_in_the_file_and_no_key_is(stack: Stack, visitors: Visitors) -> None:
    ada, email = await visitors.anybody(), person("ada").email
    await ada.send(await ada.get("/signup"), "/signup", name="Ada", email=email, password="long enough")
    device = Authenticator(stack.public_url)
    options = (await ada.http.post("/api/users/passkeys/options")).json()
    added = {"credential": device.create(options), "name": "Ada's phone"}
    assert (await ada.http.post("/api/users/passkeys", json=added)).status_code == 201
    concert = {"kind": "event", "starts_at": "2030-06-07T20:00", "timezone": "Europe/Berlin"}
    order = await ordered(ada, await listed(await visitors.new("Sella"), **concert))
    await paid(ada, order)

    async def taken_along() -> dict[str, Any]:
        data: dict[str, Any] = (await ada.http.get("/api/users/me/export")).json()
        return data if data["tickets"] else {}

    data = await eventually(taken_along, 60)
    [passkey] = data["passkeys"]
    assert (passkey["name"], passkey["last_used_at"]) == ("Ada's phone", None)
    assert set(passkey) == {"id", "name", "created_at", "last_used_at"}
    assert [ticket["order_id"] for ticket in data["tickets"]] == [order.path.rpartition("/")[2]] * 2


async def test_the_gates_of_a_seller_are_in_the_file_without_what_is_in_their_links(visitors: Visitors) -> None:
    sella, email = await visitors.anybody(), person("sella").email
    await sella.send(await sella.get("/signup"), "/signup", name="Sella", email=email, password="long enough")
    concert = {"kind": "event", "starts_at": "2030-06-07T20:00", "timezone": "Europe/Berlin"}
    item_id = (await listed(sella, **concert)).rpartition("/")[2]

    async def opened() -> dict[str, Any] | None:
        made = await sella.http.post("/api/tickets/gates", json={"item_id": item_id, "name": "North"})
        return made.json() if made.status_code == 201 else None  # Tickets may not know the event yet.

    token = (await eventually(opened, 30))["token"]
    file = await sella.http.get("/api/users/me/export")

    [gate] = file.json()["gates"]
    assert (gate["name"], gate["item_id"], gate["closed_at"]) == ("North", item_id, None)
    assert token not in file.text


async def test_a_list_that_is_longer_than_a_page_is_complete(visitors: Visitors) -> None:
    ada = await visitors.anybody()
    email = person("ada").email
    await ada.send(await ada.get("/signup"), "/signup", name="Ada", email=email, password="long enough")
    for number in range(PAGE + 1):
        lamp = {"title": f"Lamp {number}", "price": 1000, "currency": "EUR", "quantity": 1}
        assert (await ada.http.post("/api/items", json=lamp)).status_code == 201

    items = (await ada.http.get("/api/users/me/export")).json()["items"]

    assert [item["title"] for item in items] == [f"Lamp {number}" for number in reversed(range(PAGE + 1))]


async def test_an_account_is_deleted_by_who_knows_its_password(visitors: Visitors) -> None:
    ada, email = await visitors.anybody(), person("ada").email
    await ada.send(await ada.get("/signup"), "/signup", name="Ada", email=email, password="long enough")

    for wrong in ("", "wrong guess"):
        page = await ada.send(await ada.get("/my/data"), "/my/data/delete", password=wrong)
        assert (page.status, set(page.errors)) == (401, {"password"})
    page = await ada.send(page, "/my/data/delete", password="long enough")

    assert (page.path, "Your account is deleted" in page.text) == ("/", True)
    assert "Sign in" in page.text
    assert (await ada.get("/my/orders")).path == "/signin"
