"""Operators see the security log."""

import re

from services.web.tests.conftest import Page, Visitors
from tests.support.waiting import eventually


async def test_an_operator_sees_who_was_denied_what_and_nobody_else_does(visitors: Visitors) -> None:
    operator, stranger = await visitors.new("Ola", "operator"), await visitors.new("Mallory")
    assert stranger.user
    assert (await stranger.get("/operator/security")).status == 403
    path = f"/operator/security?kind=denied&user_id={stranger.user.id}"

    async def shown() -> Page | None:
        page = await operator.get(path)
        return page if "operator_only" in page.text else None

    page = await eventually(shown)
    assert page.status == 200
    assert "Not allowed" in page.text
    assert "127.0.0.0/24" in page.text
    assert stranger.user.email not in page.text
    assert not re.search("<td>Signed in</td>", page.answer.text)
    assert "None." in (await operator.get(path.replace("kind=denied", "kind=exported"))).text
    assert (await operator.get("/operator/security?kind=everything")).status == 422
