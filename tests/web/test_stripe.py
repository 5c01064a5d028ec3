"""Paying by card in Chromium. A fake Stripe takes the payments, and the page has a stand-in for Stripe.js."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Request, Route, expect

from infra.local.stack.stack import Stack
from infra.servers.process import free_port
from services.payments.tests.conftest import serving
from services.payments.tests.stripe_fake import SECRET_KEY, WEBHOOK_SECRET, FakeStripe
from tests.support.browsing import Open, accessible, bought, headline, listed, live, opening, signed_up

STRIPE_JS = "https://js.stripe.com/endive/stripe.js"

CARDS = {"4242": "card_visa", "0002": "card_visa_chargeDeclined", "3155": "card_authenticationRequired"}
"""Stripe's payment methods by the last digits of its test cards."""

IN_THE_PAGE = """
window.Stripe = (key) => ({
    elements: ({ mode, amount, currency, allowedPaymentMethodTypes }) => {
        if (mode !== "payment" || !(amount > 0 && currency)) throw new Error("nothing to pay");
        if (allowedPaymentMethodTypes.join() !== "card") throw new Error("we take cards only");
        const input = Object.assign(document.createElement("input"), { ariaLabel: "Card number" });
        return {
            create: () => ({
                on: (event, then) => event === "ready" && setTimeout(then),
                mount: (place) => place.append(input),
            }),
            submit: async () => (input.value ? {} : { error: { message: "Your card number is incomplete." } }),
            input,
        };
    },
    createConfirmationToken: async ({ elements }) => ({
        confirmationToken: { id: await window.tokenFor(key, elements.input.value) },
    }),
    handleNextAction: async ({ clientSecret }) => {
        const well = await window.bankAsks(clientSecret);
        return well ? { paymentIntent: {} } : { error: { message: "We are unable to authenticate your card." } };
    },
});
"""


@dataclass
class Shop:
    """Souk with Stripe behind it."""

    stack: Stack
    stripe: FakeStripe
    open: Open
    sent: list[str]
    """The requests that pages have sent to Souk."""
    confirmations: "asyncio.Queue[bool]"
    """For each coming confirmation with a bank, whether it succeeds."""

    async def buyer(self, name: str) -> Page:
        """A new user whose browser has the stand-in for Stripe.js."""
        page = await self.open("/signin")
        await page.context.expose_function("tokenFor", self._token_for)
        await page.context.expose_function("bankAsks", self._bank_asks)
        await page.context.route(STRIPE_JS, _stripe_js)
        page.context.on("request", self._note)
        await signed_up(page, name)
        return page

    async def _token_for(self, key: str, number: str) -> str:
        assert key == "pk_test_of_the_small_stripe"
        return f"ctoken_{CARDS[number[-4:]]}"

    async def _bank_asks(self, client_secret: str) -> bool:
        well = await self.confirmations.get()
        self.stripe.authenticate(client_secret, well=well)
        return well

    def _note(self, request: Request) -> None:
        if request.url.startswith(self.stack.url):
            self.sent.append(f"{request.url} {request.post_data or ''}")


async def _stripe_js(route: Route) -> None:
    await route.fulfill(content_type="text/javascript", body=IN_THE_PAGE)


@pytest_asyncio.fixture
async def shop(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """A Souk that is set up for Stripe."""
    stripe, port = FakeStripe(), free_port()
    payments = {
        "PAYMENT_GATEWAY": "stripe",
        "STRIPE_SECRET_KEY": SECRET_KEY,
        "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "STRIPE_API_URL": f"http://127.0.0.1:{port}",
    }
    web = {"SANDBOX": "false", "STRIPE_PUBLISHABLE_KEY": "pk_test_of_the_small_stripe"}
    stack = Stack(tmp_path_factory.mktemp("stripe"), env={"payments": payments, "web": web})
    async with serving(stripe.app, port), stack, opening(chromium, stack, "https://js.stripe.com/") as open_page:
        stripe.webhook_url = f"{stack.url}/api/payments/webhook"
        yield Shop(stack, stripe, open_page, [], asyncio.Queue())


async def pay(page: Page, number: str) -> None:
    """Type a card number into Stripe's element, and pay."""
    await page.get_by_label("Card number").fill(number)
    await page.get_by_role("button", name=re.compile("^Pay ")).click()


async def loads_stripe_only_to_pay(page: Page) -> None:
    """Check that only the page of an order may load Stripe, and that without scripts it says what is missing."""
    order, front = await page.request.get(page.url), await page.request.get("/")
    assert re.search(
        r"<noscript>[^/]*Paying by card needs JavaScript.*<button[^>]+ disabled>Pay", await order.text(), re.S
    )
    assert "https://js.stripe.com" in order.headers["content-security-policy"]
    assert "unsafe" not in order.headers["content-security-policy"]
    assert "stripe" not in front.headers["content-security-policy"]


@pytest.mark.servers
@pytest.mark.prove
async def test_stripe_takes_a_card_and_the_bank_asks_for_a_confirmation(shop: Shop) -> None:
    seller, buyer = await shop.buyer("Bo"), await shop.buyer("Ada")
    item = await listed(seller, "A seat at the opera")
    await bought(buyer, item)
    await live(buyer)
    second = await buyer.context.new_page()
    await second.goto(buyer.url)
    await live(second)
    await expect(buyer.get_by_text("Choose a test card")).to_have_count(0)
    await loads_stripe_only_to_pay(buyer)
    await accessible(buyer)

    await buyer.get_by_role("button", name=re.compile("^Pay ")).click()
    await expect(buyer.get_by_role("alert")).to_have_text("Your card number is incomplete.")
    await pay(buyer, "4000000000000002")
    await expect(headline(buyer, "The card was declined")).to_be_visible()

    for well, outcome in ((False, "The card was declined"), (True, "It is yours")):
        await pay(buyer, "4000002500003155")
        for window in (buyer, second):
            await expect(headline(window, "Your bank asks you to confirm")).to_be_visible()
        await expect(second.get_by_role("button", name="Confirm now")).to_be_enabled()
        shop.confirmations.put_nowait(well)
        for window in (buyer, second):
            await expect(headline(window, outcome)).to_be_visible()

    assert shop.stripe.balance() == 1250
    assert not [sent for sent in shop.sent if "4000002500003155" in sent]
