"""The cases that every gateway passes. A new one joins by an entry in PROVIDERS."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import httpx
import pytest
import pytest_asyncio

from common.events import Currency
from common.ids import new_id
from common.mongo.client import Database
from payments.gateways.port import (
    BadSignature,
    Captured,
    Charge,
    Declined,
    Found,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    Processing,
)
from services.payments.tests.localstripe import localstripe
from services.payments.tests.providers import (
    PROVIDERS,
    SECRET,
    Place,
    Provider,
    finishes_slow_charges,
    honours_keys,
    loses_answers,
    tells_which_failed,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.payments.tests.conftest import Serve

__all__ = ["localstripe"]  # a fixture

T = TypeVar("T")


@pytest_asyncio.fixture(params=sorted(PROVIDERS))
async def provider(
    request: pytest.FixtureRequest, db: Database, serve: "Serve", localstripe: httpx.AsyncClient
) -> AsyncIterator[Provider]:
    async with PROVIDERS[request.param](Place(db, serve, localstripe)) as opened:
        yield opened


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer, as the leased work does: under a key that is in use there may be none."""

    async def answered() -> list[T] | None:
        try:
            return [await call()]
        except GatewayUnavailable:
            return None

    [answer] = await eventually(answered)
    return answer


def a_charge(method: str, payment_id: str | None = None, amount: int = 900) -> Charge:
    ends = datetime.now(UTC) + timedelta(minutes=15)
    return Charge(payment_id or new_id(), new_id(), amount, Currency.EUR, method, ends)


async def test_a_charge_takes_the_money_and_is_found_again(provider: Provider) -> None:
    charge = a_charge(provider.good)

    answer = await provider.gateway.charge(charge)

    assert isinstance(answer, Captured)
    assert await provider.gateway.retrieve(answer.reference) == Found(charge.payment_id, answer)
    assert await provider.balance() == 900


@honours_keys
async def test_a_charge_takes_the_money_once_however_often_it_is_asked_for(provider: Provider) -> None:
    charge = a_charge(provider.good)

    answers = await asyncio.gather(*(insist(lambda: provider.gateway.charge(charge)) for _ in range(8)))
    answers.append(await provider.gateway.charge(charge))

    assert isinstance(answers[0], Captured)
    assert set(answers) == {answers[0]}
    assert await provider.balance() == 900


async def test_a_declined_charge_takes_nothing(provider: Provider) -> None:
    answer = await provider.gateway.charge(a_charge(provider.declined))

    assert isinstance(answer, Declined)
    assert answer.reason == "card_declined"
    assert await provider.balance() == 0


@tells_which_failed
async def test_a_declined_charge_stays_declined(provider: Provider) -> None:
    charge = a_charge(provider.declined)

    answer = await provider.gateway.charge(charge)

    assert await provider.gateway.charge(charge) == answer
    assert await provider.gateway.retrieve(answer.reference) == Found(charge.payment_id, answer)


@finishes_slow_charges
async def test_a_slow_charge_is_processing_until_it_is_asked_for_again(provider: Provider) -> None:
    charge = a_charge(provider.slow)
    answer = await provider.gateway.charge(charge)
    assert isinstance(answer, Processing)

    async def captured() -> bool:
        found = await provider.gateway.retrieve(answer.reference)
        return found == Found(charge.payment_id, Captured(answer.reference))

    await provider.finish(answer)
    await eventually(captured)
    assert await provider.balance() == 900


@honours_keys
async def test_a_slow_charge_asked_for_again_is_the_same_charge(provider: Provider) -> None:
    charge = a_charge(provider.slow)

    assert await provider.gateway.charge(charge) == await provider.gateway.charge(charge)


@loses_answers
async def test_a_lost_answer_is_found_by_the_same_call_again(provider: Provider) -> None:
    charge = a_charge(provider.loses_the_answer)
    with pytest.raises(GatewayTimeout):
        await provider.gateway.charge(charge)

    assert isinstance(await provider.gateway.charge(charge), Captured)
    assert await provider.balance() == 900


@honours_keys
async def test_a_key_is_for_one_charge_only(provider: Provider) -> None:
    charge = a_charge(provider.good)
    await provider.gateway.charge(charge)

    for other in (replace(charge, amount=901), replace(charge, method=provider.declined)):
        with pytest.raises(GatewayRefused):
            await provider.gateway.charge(other)
    assert await provider.balance() == 900


async def test_a_refund_gives_the_money_back(provider: Provider) -> None:
    kept, returned = a_charge(provider.good, amount=70), a_charge(provider.good)
    await provider.gateway.charge(kept)
    answer = await provider.gateway.charge(returned)

    await provider.gateway.refund(returned.payment_id, answer.reference)

    assert await provider.balance() == 70


@honours_keys
async def test_a_refund_gives_the_money_back_once_however_often_it_is_asked_for(provider: Provider) -> None:
    kept, returned = a_charge(provider.good, amount=70), a_charge(provider.good)
    await provider.gateway.charge(kept)
    answer = await provider.gateway.charge(returned)

    def refund() -> Awaitable[None]:
        return provider.gateway.refund(returned.payment_id, answer.reference)

    await asyncio.gather(*(insist(refund) for _ in range(8)))
    await refund()

    assert await provider.balance() == 70
    assert await provider.gateway.charge(returned) == answer  # and the charge's key takes nothing again
    assert await provider.balance() == 70


async def test_there_is_nothing_to_give_back_of_a_charge_without_money(provider: Provider) -> None:
    charge = a_charge(provider.declined)
    answer = await provider.gateway.charge(charge)

    with pytest.raises(GatewayRefused):
        await provider.gateway.refund(charge.payment_id, answer.reference)
    with pytest.raises(GatewayRefused):
        await provider.gateway.refund(new_id(), "ch_unknown")


async def test_a_charge_that_is_not_ours_is_none(provider: Provider) -> None:
    assert await provider.gateway.retrieve("ch_unknown") is None


async def test_only_its_own_payment_methods_are_accepted(provider: Provider) -> None:
    assert provider.gateway.accepts(provider.good)
    assert not provider.gateway.accepts("cash")


async def test_a_signed_webhook_call_names_its_charge(provider: Provider) -> None:
    body, headers = provider.signed("ch_1", datetime.now(UTC), SECRET)

    assert provider.gateway.verify(body, headers) == "ch_1"


async def test_a_webhook_call_that_is_forged_changed_or_played_back_is_refused(provider: Provider) -> None:
    now = datetime.now(UTC)
    body, headers = provider.signed("ch_1", now, SECRET)
    name, value = next(iter(headers.items()))

    for forged in (
        (body, {}),
        (body, {name: ""}),
        (body, {name: value.split(",")[0]}),
        (body, {name: value.split(",")[1]}),
        (body, {name: "t=x,v1=y"}),
        (body, {name: value.replace("t=", "t=1")}),
        (body, {name: value[:-1] + ("0" if value[-1] != "0" else "1")}),
        (body, {name: value[:-1] + "é"}),
        (body.replace(b"ch_1", b"ch_2"), headers),
        (body + b" ", headers),
        provider.signed("ch_1", now, "another secret"),
        provider.signed("ch_1", now - timedelta(minutes=5, seconds=2), SECRET),
    ):
        with pytest.raises(BadSignature):
            provider.gateway.verify(*forged)


async def test_a_signature_holds_for_five_minutes(provider: Provider) -> None:
    signed = provider.signed("ch_1", datetime.now(UTC) - timedelta(minutes=4, seconds=58), SECRET)

    assert provider.gateway.verify(*signed) == "ch_1"
