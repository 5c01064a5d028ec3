"""The pages without scripts, against the real services: people follow links and submit forms."""

import json
import re
from io import BytesIO
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

from common.ids import new_id
from services.web.tests.conftest import LAMP, Page, Visitors, in_effect, listed, ordered, shows
from tests.support.sessions import person
from tests.support.waiting import eventually


async def test_signing_up_says_what_is_wrong_beside_its_field_and_keeps_what_was_typed(visitors: Visitors) -> None:
    ada, email = await visitors.anybody(), person("ada").email
    page = await ada.get("/signup")

    page = await ada.send(page, "/signup", name="Ada", email="nonsense", password="short")
    assert page.status == 422
    assert set(page.errors) == {"email", "password"}
    typed = await ada.send(page, "/signup", name="A\x1bda", email=email, password="long enough")
    assert (typed.status, set(typed.errors)) == (422, {"name"})
    assert page.form("/signup").fields["name"] == "Ada"
    assert page.form("/signup").fields["password"] == ""

    page = await ada.send(page, "/signup", email=email, password="long enough")
    assert (page.status, page.path) == (200, "/")
    assert "Ada" in page.text

    page = await ada.send(page, "/signout")
    assert "Sign in" in page.text

    again = await ada.send(await ada.get("/signup"), "/signup", name="Ada", email=email, password="long enough")
    assert "already" in again.errors["email"]

    wrong = await ada.send(await ada.get("/signin"), "/signin", email=email, password="wrong guess")
    assert (wrong.status, set(wrong.errors)) == (401, {"form"})
    assert wrong.form("/signin").fields["email"] == email

    back = await ada.send(wrong, "/signin", password="long enough")
    assert (back.status, back.path) == (200, "/")


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"price": "a lot"}, "price"),
        ({"price": "1.005"}, "price"),
        ({"price": "0"}, "price"),
        ({"price": "1.5", "currency": "JPY"}, "price"),
        ({"currency": "XXX"}, "currency"),
        ({"quantity": "0"}, "quantity"),
        ({"quantity": "1.5"}, "quantity"),
        ({"quantity": "100001"}, "quantity"),
        ({"title": " "}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "A\x07lamp"}, "title"),
        ({"description": "Old\x1b[0m"}, "description"),
        ({"description": "x" * 10_001}, "description"),
    ],
)
async def test_selling_says_what_is_wrong_and_keeps_the_rest(
    visitors: Visitors, typed: dict[str, str], field: str
) -> None:
    seller = await visitors.new()

    page = await seller.send(await seller.get("/sell"), "/sell", **{**LAMP, "quantity": "5", **typed})

    assert page.status == 422
    assert set(page.errors) == {field}
    kept = {**LAMP, **typed}
    assert page.form("/sell").fields["description"] == kept["description"]
    assert page.form("/sell").fields["title"] == kept["title"]


async def test_an_item_is_sold_edited_found_and_withdrawn(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.anybody()
    item = await listed(seller, title="Quincunx lamp")

    assert "Quincunx lamp" in (await buyer.get("/?q=quincunx")).text
    page = await buyer.get(item)
    assert ("€12.50" in page.text, "5 left" in page.text) == (True, True)

    page = await seller.send(await seller.get(f"{item}/edit"), f"{item}/edit", price="13", currency="GBP")
    assert page.status == 200
    assert "£13.00" in (await buyer.get(item)).text
    assert "Quincunx lamp" in (await seller.get("/my/items")).text

    page = await seller.send(page, f"{item}/withdraw")
    assert (page.path, "Off sale" in page.text) == ("/my/items", True)
    assert "Nothing found" in (await buyer.get("/?q=quincunx")).text


def jpeg() -> bytes:
    """A picture."""
    content = BytesIO()
    Image.new("RGB", (800, 600), "teal").save(content, "JPEG")
    return content.getvalue()


async def test_an_item_has_pictures_and_says_why_it_takes_no_other_file(visitors: Visitors) -> None:
    seller = await visitors.new("Sella")
    fields = {**(await seller.get("/sell")).form("/sell").fields, **LAMP, "quantity": "5"}
    del fields["pictures"]
    two = [("pictures", (f"{n}.jpg", jpeg(), "image/jpeg")) for n in range(2)]

    sold = Page(await seller.http.post("/sell", data=fields, files=two))
    html = (await seller.http.get(sold.path)).text
    pictures = re.findall(r'<img src="(/api/items/[^"]+/large)"', html)
    assert len(pictures) == 2
    assert (await seller.http.get(pictures[0])).headers["content-type"].startswith("image/")
    assert f'<meta property="og:image" content="{seller.http.base_url}{pictures[0]}">' in html

    edit, add = await seller.get(f"{sold.path}/edit"), f"{sold.path}/pictures"
    token = {"form_token": edit.form(add).fields["form_token"]}
    for name, content, why in (
        ("notes.txt", b"words", "not a JPEG"),
        ("broken.jpg", b"\xff\xd8\xff", "JPEG"),
        ("large.jpg", jpeg() + bytes(5 * 1024 * 1024), "up to 5 MB"),
    ):
        refused = Page(await seller.http.post(add, data=token, files={"pictures": (name, content, "image/jpeg")}))
        assert why in refused.errors["pictures"], name

    [first, _] = [form.action for form in edit.forms if form.action.endswith("/remove")]
    left = await seller.send(edit, first)
    assert sum(form.action.endswith("/remove") for form in left.forms) == 1


async def test_the_sell_form_sent_twice_lists_one_item_with_its_pictures_once(visitors: Visitors) -> None:
    seller = await visitors.new("Sella")
    fields = {**(await seller.get("/sell")).form("/sell").fields, **LAMP, "quantity": "5"}
    del fields["pictures"]
    two = [("pictures", (f"{n}.jpg", jpeg(), "image/jpeg")) for n in range(2)]

    first, second = [Page(await seller.http.post("/sell", data=fields, files=two)) for _ in range(2)]
    html = (await seller.http.get(first.path)).text

    assert first.path == second.path
    assert len(re.findall(r'<img src="[^"]+/large"', html)) == 2
    another = Page(await seller.http.post("/sell", data={**fields, "title": "Another"}))
    assert "already put this on sale" in another.errors["form"]
    again = await seller.send(another, "/sell", currency="EUR")
    assert again.path not in ("/sell", first.path)


async def test_an_order_is_paid_seen_by_its_seller_and_refunded(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    item = await listed(seller)

    order = await ordered(buyer, item)
    assert "We hold it for you" in order.text
    assert "€25.00" in order.text
    await shows(buyer, item, "3 left")
    assert (await buyer.get(f"{order.path}/receipt")).status == 404  # It is not paid.

    pay = f"{order.path}/pay"

    async def declined() -> bool:
        page = await buyer.send(await buyer.get(order.path), pay, payment_method="pm_card_declined")
        return "The card was declined" in page.text

    await eventually(declined)  # Payments receives the order a moment later.
    await buyer.send(await buyer.get(order.path), pay, payment_method="pm_card_visa")
    await shows(buyer, order.path, "It is yours")
    assert "Paid" in (await buyer.get("/my/orders")).text
    paid = await buyer.get(order.path)
    assert "What next?" in paid.text
    assert "body=http%3A%2F%2F127.0.0.1" in paid.answer.text
    receipt = await buyer.get(f"{order.path}/receipt")
    assert ("Desk lamp" in receipt.text, "€25.00" in receipt.text, "Paid" in receipt.text) == (True, True, True)
    assert (await seller.get(f"{order.path}/receipt")).status == 404

    sales = await shows(seller, "/my/sales", "for Bo")
    assert "Send €25.00 back to Bo" in sales.text
    await seller.send(sales, f"/my/sales/{order.path.rpartition('/')[2]}/refund")
    await shows(seller, "/my/sales", "Refunded")
    await shows(buyer, order.path, "Your money is back")


async def test_the_same_form_sent_twice_is_one_order(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    item = await listed(seller)
    await ordered(buyer, item, quantity="1")

    page = await buyer.get(item)
    first = await buyer.send(page, f"{item}/order", quantity="1")
    second = await buyer.send(page, f"{item}/order", quantity="1")
    another = await buyer.send(page, f"{item}/order", quantity="2")

    assert first.path == second.path
    assert "already ordered from this page" in another.errors["quantity"]


async def test_why_an_order_is_refused_is_on_the_page(visitors: Visitors) -> None:
    seller, buyer, late = await visitors.new("Sella"), await visitors.new("Bo"), await visitors.new("Leo")
    item = await listed(seller, quantity="3")

    page = await late.get(item)
    await ordered(buyer, item, quantity="2")
    await shows(late, item, "Only 1 left")
    few = await late.send(page, f"{item}/order", quantity="2")
    assert (few.status, few.errors["quantity"]) == (409, "Only 1 is left.")
    assert few.form(f"{item}/order").fields["quantity"] == "2"

    page = await late.get(item)
    await ordered(buyer, item, quantity="1")
    await shows(late, item, "Reserved, may come back")
    none = await late.send(page, f"{item}/order", quantity="1")
    assert "all of it is reserved" in none.errors["quantity"]

    wrong = await late.send(page, f"{item}/order", quantity="none")
    assert (wrong.status, set(wrong.errors)) == (422, {"quantity"})


async def test_a_seller_limits_what_one_person_gets(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    item = await listed(seller, limit_per_buyer="2")
    page = await buyer.get(item)
    assert "At most 2 per person." in page.text

    refused = await buyer.send(page, f"{item}/order", quantity="3")
    assert (refused.status, refused.errors["quantity"]) == (409, "The seller sells at most 2 to one person.")

    wrong = await seller.send(await seller.get(f"{item}/edit"), f"{item}/edit", limit_per_buyer="0", currency="EUR")
    assert (wrong.status, set(wrong.errors)) == (422, {"limit_per_buyer"})
    await seller.send(await seller.get(f"{item}/edit"), f"{item}/edit", limit_per_buyer="", currency="EUR")
    assert "per person" not in (await buyer.get(item)).text
    await ordered(buyer, item, quantity="3")


async def test_who_holds_something_again_and_again_is_told_when_they_can_next(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    item = await listed(seller)
    for _ in range(2):
        order = await ordered(buyer, item, quantity="1")
        await buyer.send(order, f"{order.path}/cancel")

    page = await buyer.send(await buyer.get(item), f"{item}/order", quantity="1")

    assert (page.status, page.answer.headers["content-type"]) == (429, "text/html; charset=utf-8")
    assert "You can hold it again in 1 minute." in page.errors["quantity"]


async def test_a_buyer_is_asked_when_the_price_has_changed_since_the_page_was_shown(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    item = await listed(seller)
    await ordered(buyer, item, quantity="1")
    seen = await buyer.get(item)
    assert "€12.50" in seen.text

    await seller.send(await seller.get(f"{item}/edit"), f"{item}/edit", price="13", currency="GBP")
    await in_effect(seller, item)
    asked = await buyer.send(seen, f"{item}/order", quantity="2")

    assert (asked.status, asked.path) == (409, f"{item}/order")
    assert "One now costs £13.00. Nothing has been ordered yet" in asked.errors["quantity"]
    agreed = await buyer.send(asked, f"{item}/order")
    assert (agreed.path.startswith("/orders/"), "£26.00" in agreed.text) == (True, True)


async def test_a_cancelled_order_gives_back_what_it_held(visitors: Visitors) -> None:
    seller, buyer = await visitors.new("Sella"), await visitors.new("Bo")
    item = await listed(seller)
    order = await ordered(buyer, item)

    page = await buyer.send(order, f"{order.path}/cancel")

    assert "You cancelled this order" in page.text
    await shows(buyer, item, "5 left")


async def test_visitors_who_are_not_signed_in_sign_in_first_and_then_continue(visitors: Visitors) -> None:
    for path in ("/sell", "/my/items", "/my/orders", "/my/sales", f"/orders/{new_id()}"):
        anybody = await visitors.anybody()
        page = await anybody.get(path)
        assert (page.status, page.path) == (200, "/signin")
        assert page.form("/signin").fields["next"] == path


async def test_a_purchase_goes_on_after_signing_up_or_in(visitors: Visitors) -> None:
    seller, anybody = await visitors.new(), await visitors.anybody()
    item, ada = await listed(seller), person("ada")
    await ordered(await visitors.new(), item, quantity="1")  # Orders has heard of the item.

    page = await anybody.send(await anybody.get(item), f"{item}/order", quantity="2")
    page = await anybody.get(f"/signup?next={quote(page.form('/signin').fields['next'], safe='')}")
    order = await anybody.send(page, "/signup", name="Ada", email=ada.email, password="quincunx lamp")
    assert (order.status, order.path[:8]) == (200, "/orders/")
    assert "2 × €12.50" in order.text

    await anybody.send(order, "/signout")
    page = await anybody.send(await anybody.get(item), f"{item}/order", quantity="4")
    page = await anybody.send(page, "/signin", email=ada.email, password="quincunx lamp")
    assert page.path == item, "two are left: the page of the item says so, and nothing was ordered"
    assert page.form(f"{item}/order").fields["quantity"] == "4"


async def test_every_way_around_the_sign_in_keeps_where_one_was(visitors: Visitors) -> None:
    anybody = await visitors.anybody()
    wanted = "/items/x?purchase=sealed"
    way = f"?next={quote(wanted)}"
    links = {
        f"/signin{way}": ("/signup", "/signin/recovery-code", "/forgot-password"),
        f"/signup{way}": ("/signin",),
        f"/signin/recovery-code{way}": ("/signin", "/signup"),
        f"/forgot-password{way}": ("/signin", "/signup"),
        "/categories/music?sort=price": ("/signin", "/signup"),
    }
    for path, others in links.items():
        html = (await anybody.http.get(path)).text
        next_to = way if "next" in path else f"?next={quote('/categories/music?sort=price')}"
        for other in others:
            led = re.findall(f'href="({other}[?][^"]*|{other})"', html)
            assert set(led) == {f"{other}{next_to}"}, (path, other)

    page = await anybody.get(f"/forgot-password{way}")
    page = await anybody.send(page, "/forgot-password", email=person("ada").email)
    assert (page.path, page.form("/signin").fields["next"]) == ("/signin", wanted)


async def test_a_link_of_somebody_else_makes_no_purchase(visitors: Visitors) -> None:
    item, evil, ada = await listed(await visitors.new()), await visitors.anybody(), person("ada")
    await ordered(await visitors.new(), item, quantity="1")
    begun = await evil.send(await evil.get(item), f"{item}/order", quantity="2")
    link = f"/signup?next={quote(begun.form('/signin').fields['next'], safe='')}"

    victim = await visitors.anybody()
    page = await victim.send(await victim.get(link), "/signup", name="Ada", email=ada.email, password="quincunx lamp")

    assert (page.path, page.form(f"{item}/order").fields["quantity"]) == (item, "1")
    assert "Nothing yet." in (await victim.get("/my/orders")).text


async def test_search_engines_find_items_and_what_they_cost(visitors: Visitors) -> None:
    seller, anybody = await visitors.new("Sella"), await visitors.anybody()
    item = await listed(seller, title="A </script> lamp", description="**Old**, and\nrewired.")
    site = str(seller.http.base_url).rstrip("/")

    html = (await anybody.http.get(item)).text
    [data] = re.findall(r'<script type="application/ld\+json">(.*?)</script>', html)
    found = json.loads(data)
    assert (found["name"], found["description"]) == ("A </script> lamp", "Old, and rewired.")
    assert (found["offers"]["price"], found["offers"]["priceCurrency"]) == ("12.50", "EUR")
    assert f'<link rel="canonical" href="{site}{item}">' in html
    assert '<meta name="description" content="Old, and rewired.">' in html

    assert f"Sitemap: {site}/sitemap.xml" in (await anybody.http.get("/robots.txt")).text
    assert f"<loc>{site}{item}</loc>" in (await anybody.http.get("/sitemap.xml")).text
    assert (await anybody.http.get("/favicon.ico")).headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize("elsewhere", ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)"])
async def test_nobody_is_sent_elsewhere_after_signing_in(visitors: Visitors, elsewhere: str) -> None:
    somebody = await visitors.new()

    answer = await somebody.http.get("/signup", params={"next": elsewhere}, follow_redirects=False)
    page = Page(await somebody.http.get("/signin", params={"next": elsewhere}))

    assert answer.headers["location"] == "/"
    assert page.form("/signin").fields["next"] == "/"


async def test_what_belongs_to_somebody_else_or_does_not_exist_is_a_page(visitors: Visitors) -> None:
    seller, buyer, other = await visitors.new("Sella"), await visitors.new("Bo"), await visitors.new("Eve")
    item = await listed(seller)
    order = await ordered(buyer, item)

    for path in (order.path, "/nowhere", "/items/none", "/orders/sales", "/items/none/edit"):
        page = await other.get(path)
        assert (page.status, "There is nothing here" in page.text) == (404, True), path
    page = await other.get(f"{item}/edit")
    assert (page.status, "This is not yours" in page.text) == (403, True)
    page = await seller.send(await seller.get(item), "/language", language="de", back="//evil.test")
    assert page.path == "/"


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.test"}]
)
async def test_a_form_from_another_site_changes_nothing(visitors: Visitors, headers: dict[str, str]) -> None:
    seller = await visitors.new()
    item = await listed(seller)
    fields = (await seller.get(f"{item}/edit")).form(f"{item}/withdraw").fields

    answer = await seller.http.post(f"{item}/withdraw", data=fields, headers=headers)

    assert answer.status_code == 403
    assert "5 left" in (await seller.get(item)).text


async def test_a_form_needs_a_token_of_its_own_visit(visitors: Visitors) -> None:
    seller, thief = await visitors.new(), await visitors.new("Eve")
    item = await listed(seller)
    stolen = (await thief.get("/")).form("/signout").fields["form_token"]

    for token in ("", "forged", stolen):
        answer = await seller.http.post(f"{item}/withdraw", data={"form_token": token})
        assert (answer.status_code, "open for too long" in answer.text) == (403, True)
    assert "5 left" in (await seller.get(item)).text


@pytest.mark.parametrize("path", ["/", "/signin", "/nowhere", "/live", "/static/none.js"])
async def test_every_answer_forbids_what_no_page_needs(visitors: Visitors, path: str) -> None:
    anybody = await visitors.anybody()

    async with anybody.http.stream("GET", path) as answer:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "strict-transport-security" not in answer.headers


async def test_a_page_has_no_script_or_style_of_its_own_and_asks_nobody_else(visitors: Visitors) -> None:
    seller = await visitors.new()
    item = await listed(seller)

    for path in ("/", item, "/sell", f"{item}/edit", "/my/items", "/my/orders", "/my/sales"):
        html = (await seller.http.get(path)).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\s(?:src=|type=.application/ld))", html), path
        html = html.replace(str(seller.http.base_url).rstrip("/"), "")  # The canonical address is the site's own.
        assert set(re.findall(r'(?:src|href)="(\w+:)?//', html)) == set()


async def test_pages_are_in_german_for_germans(visitors: Visitors) -> None:
    seller, german = await visitors.new(), await visitors.anybody("de-DE,de;q=0.9,en;q=0.5")
    item = await listed(seller)

    page = await german.get(item)
    assert page.answer.headers["content-language"] == "de-DE"
    assert "12,50 €" in page.text
    assert "noch 5" in page.text
    assert "Hier ist nichts" in (await german.get("/nowhere")).text

    page = await german.send(page, "/language", language="en")
    assert (page.path, "5 left" in page.text) == (item, True)


async def test_what_was_typed_is_shown_as_text(visitors: Visitors) -> None:
    seller = await visitors.new("<b>Sella</b>")
    item = await listed(seller, title="<script>alert(1)</script>", description='"><img src=x onerror=alert(1)>')

    for path in (item, f"{item}/edit", "/my/items", "/?q=%22%3E%3Cscript%3E"):
        html = (await seller.http.get(path)).text
        assert "<script>" not in html
        assert "<img src=x" not in html
        assert "<b>" not in html


async def test_static_files_are_cached_for_ever_and_compressed(visitors: Visitors) -> None:
    anybody = await visitors.anybody()
    html = (await anybody.http.get("/")).text
    [style] = re.findall(r'href="(/static/souk\.\w+\.css)"', html)
    plain = await anybody.http.get(style, headers={"Accept-Encoding": "identity"})

    for encoding in (*("br", "gzip", "identity"), "br"):  # The second time, it is there already.
        async with anybody.http.stream("GET", style, headers={"Accept-Encoding": encoding}) as answer:
            assert await answer.aread() == plain.content
            assert answer.headers.get("content-encoding", "identity") == encoding
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert answer.headers["content-type"].startswith("text/css")


async def test_a_form_that_is_too_large_is_refused_with_a_page(visitors: Visitors) -> None:
    seller = await visitors.new()
    fields = (await seller.get("/sell")).form("/sell").fields

    answer = await seller.http.post("/sell", data={**fields, "description": "x" * 200_000})
    assert (answer.status_code, "too much at once" in answer.text) == (413, True)


async def test_the_page_of_an_item_has_open_graph_metadata(visitors: Visitors) -> None:
    seller = await visitors.new()
    item = await listed(seller)

    html = (await seller.http.get(item)).text

    assert '<meta property="og:title" content="Desk lamp">' in html
    assert re.search(r'<meta property="og:url" content="http://127.0.0.1:\d+/items/\w+">', html)
    assert '<meta name="description" content="Rewired. Stays where you put it.">' in html


async def test_a_broken_request_is_a_page_not_a_trace(visitors: Visitors) -> None:
    anybody: httpx.AsyncClient = (await visitors.anybody()).http
    for answer in (
        await anybody.post("/signin", content=b"\xff\xfe", headers={"Content-Type": "multipart/form-data"}),
        await anybody.post("/signin", json={"email": 1}),
        await anybody.get("/?cursor=" + "x" * 500),
        await anybody.delete("/"),
    ):
        assert 400 <= answer.status_code < 500, answer.text
        assert "Traceback" not in answer.text
        assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["allow"] == "GET, HEAD"


async def test_head_of_a_page_has_its_headers_and_no_body(visitors: Visitors) -> None:
    anybody: httpx.AsyncClient = (await visitors.anybody()).http
    for path in ("/", "/signin", "/nowhere", "/sell", "/readyz"):
        got, head = await anybody.get(path, follow_redirects=False), await anybody.head(path, follow_redirects=False)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        same = ("content-type", "content-encoding", "location", "content-security-policy")
        assert [head.headers.get(name) for name in same] == [got.headers.get(name) for name in same]
