"""The pages about the API: they read the documents, and load nothing from elsewhere."""

import httpx
import pytest
from playwright.async_api import expect

from infra.documents.openapi import operations
from infra.local.stack.stack import Stack
from tests.support.browsing import PHONE, Open, accessible, headline

pytestmark = pytest.mark.prove


async def test_the_documents_are_served_as_they_are_in_the_repository(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as anybody:
        openapi = (await anybody.get("/api/openapi.json")).json()
        asyncapi = (await anybody.get("/api/asyncapi.json")).json()
    assert "POST /api/orders" in operations(openapi)
    assert asyncapi["asyncapi"].startswith("3.")


async def test_calls_can_be_read_and_tried(opened: Open) -> None:
    page = await opened("/api/docs")
    await expect(headline(page, "The API")).to_be_visible()
    operation = page.locator("#operations-users-sign_out_api_users_signout_post")
    await operation.locator(".opblock-summary-control").click()
    await operation.get_by_role("button", name="Try it out").click()
    await operation.get_by_role("button", name="Execute").click()
    await expect(operation.locator(".live-responses-table")).to_contain_text("204")


async def test_events_can_be_read(opened: Open) -> None:
    page = await opened("/api/docs/events", **PHONE)
    placed = page.locator("[id='orders.placed']")
    await placed.locator("summary").tap()
    await expect(placed).to_contain_text("Published by orders, read by audit, expiration, payments, web")
    await expect(placed.get_by_role("row", name="expires_at")).to_contain_text("date-time")
    await accessible(page)
