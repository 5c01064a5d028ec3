"""Whatever is sent to Souk, it answers as its document says, and never with a 5xx."""

import logging
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import pytest

from common.http.sessions import OPERATOR
from infra.local.stack.stack import Stack
from tests.fuzzing.fuzz import fuzz
from tests.support.people import People
from tests.support.proving import some_in_test
from tests.support.sessions import Tokens
from tests.support.shopping import pay, place, sell

log = logging.getLogger(__name__)

LEAST_CASES = 25_000
"""Of the long run, over all sessions."""

SHORT = ("--phases", "examples,fuzzing", "--max-examples", "3", "--generation-deterministic", "--workers", "4")
LONG = ("--max-examples", "50", "--workers", "1")
"""One worker: what makes the cases parses source code, and Python 3.11.7 cannot do that in two threads at once."""


async def session_of(role: str, stack: Stack) -> dict[str, Any]:
    """The session of somebody, and the ids of an item, an order and a payment of theirs. Nothing for nobody."""
    if role == "nobody":
        return {}
    async with AsyncExitStack() as exits:
        people = People(stack, exits)
        somebody, seller = await people.new("Ada", *([OPERATOR] if role == "operator" else [])), await people.new("Sid")
        payment = await pay(somebody, (await place(somebody, await sell(seller, 5)))["id"])
        order = await place(somebody, await sell(seller, 5))
        known = {"item_id": await sell(somebody, 5), "order_id": order["id"], "payment_id": payment["id"]}
    return {"token": Tokens(stack.keys.private_key).token(somebody.user), "known": known}


@pytest.mark.parametrize("role", some_in_test(["nobody", "operator"], {"nobody"}))
async def test_answers_are_those_of_the_document(role: str, stack: Stack) -> None:
    found = await fuzz(stack.url, *SHORT, **await session_of(role, stack))
    assert not found.failures, found.failures
    assert found.cases > 100


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_25_000_answers_are_those_of_the_document(stack: Stack) -> None:
    cases = 0
    for seed in count(1):
        for role in ("nobody", "user", "operator"):
            found = await fuzz(stack.url, *LONG, "--seed", str(seed), **await session_of(role, stack))
            assert not found.failures, found.failures
            cases += found.cases
            log.info("%s: %d calls, %d in all", role, found.cases, cases)
        if cases >= LEAST_CASES:
            return
