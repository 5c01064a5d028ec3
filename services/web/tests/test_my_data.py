"""People take their data along, and delete their account."""

from services.web.tests.conftest import LAMP, Visitors, listed
from tests.support.sessions import person
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
            "sessions",
            "events",
            "mails",
            "items",
            "favourites",
            "orders",
            "sales",
            "payments",
        ),
    }
    refused = await (await visitors.anybody()).http.get("/api/users/me/export")
    assert (refused.status_code, refused.json()["code"]) == (401, "not_signed_in")


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
