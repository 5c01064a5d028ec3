"""The cases that every gateway passes. A new one joins by an entry in PROVIDERS."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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
    Authorized,
    BadSignature,
    Captured,
    Charge,
    Declined,
    Found,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    Processing,
    Refunds,
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
    refunds_the_rest,
    refuses_captures,
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


async def authorized(provider: Provider, charge: Charge) -> str:
    """The reference of the charge, once it is authorized."""
    answer = await provider.gateway.charge(charge)
    assert isinstance(answer, Authorized)
    return answer.reference


async def captured(provider: Provider, charge: Charge) -> str:
    """The reference of the charge, once its money is here."""
    reference = await authorized(provider, charge)
    assert await provider.gateway.capture(charge.payment_id, reference) == Captured(reference)
    return reference


async def test_a_charge_is_authorized_and_found_again_and_nothing_has_moved(provider: Provider) -> None:
    charge = a_charge(provider.good)

    answer = await provider.gateway.charge(charge)

    assert isinstance(answer, Authorized)
    assert await provider.gateway.retrieve(answer.reference) == Found(charge.payment_id, answer)
    assert await provider.balance() == 0


@honours_keys
async def test_a_charge_is_one_charge_however_often_it_is_asked_for(provider: Provider) -> None:
    charge = a_charge(provider.good)

    answers = await asyncio.gather(*(insist(lambda: provider.gateway.charge(charge)) for _ in range(8)))
    answers.append(await provider.gateway.charge(charge))

    assert isinstance(answers[0], Authorized)
    assert set(answers) == {answers[0]}


async def test_a_capture_takes_the_money_once_however_often_it_is_asked_for(provider: Provider) -> None:
    charge = a_charge(provider.good)
    reference = await authorized(provider, charge)

    async def capture() -> object:
        return await provider.gateway.capture(charge.payment_id, reference)

    answers = await asyncio.gather(*(insist(capture) for _ in range(4)))
    answers.append(await capture())

    assert set(answers) == {Captured(reference)}
    assert await provider.gateway.retrieve(reference) == Found(charge.payment_id, Captured(reference))
    assert await provider.balance() == 900


@refuses_captures
async def test_a_capture_that_the_bank_refuses_takes_nothing_and_never_will(provider: Provider) -> None:
    charge = a_charge(provider.refuses_the_capture)
    reference = await authorized(provider, charge)

    answers = [await provider.gateway.capture(charge.payment_id, reference) for _ in range(2)]

    assert isinstance(answers[0], Declined)
    assert answers[0].reason
    assert answers[1] == answers[0]
    found = await provider.gateway.retrieve(reference)
    assert found
    assert isinstance(found.answer, Declined)
    assert await provider.balance() == 0


async def test_what_is_released_is_never_captured(provider: Provider) -> None:
    charge = a_charge(provider.good)
    reference = await authorized(provider, charge)

    answers = [await provider.gateway.release(reference) for _ in range(2)]

    assert all(isinstance(answer, Declined) for answer in answers)
    assert isinstance(await provider.gateway.capture(charge.payment_id, reference), Declined)
    found = await provider.gateway.retrieve(reference)
    assert found
    assert isinstance(found.answer, Declined)
    assert await provider.balance() == 0


async def test_what_is_captured_cannot_be_released(provider: Provider) -> None:
    reference = await captured(provider, a_charge(provider.good))

    assert await provider.gateway.release(reference) == Captured(reference)
    assert await provider.balance() == 900


async def test_a_release_and_a_capture_at_once_agree(provider: Provider) -> None:
    charge = a_charge(provider.good)
    reference = await authorized(provider, charge)

    took, gave = await asyncio.gather(
        insist(lambda: provider.gateway.capture(charge.payment_id, reference)),
        insist(lambda: provider.gateway.release(reference)),
    )

    assert type(took) is type(gave)
    assert await provider.balance() == (900 if isinstance(took, Captured) else 0)


@honours_keys
async def test_a_charge_that_is_abandoned_first_is_never_made(provider: Provider) -> None:
    charge = a_charge(provider.good)

    ended = await provider.gateway.abandon(charge)

    assert isinstance(ended, Declined)
    assert await provider.gateway.charge(charge) == ended
    assert await provider.gateway.abandon(charge) == ended
    assert await provider.gateway.retrieve(ended.reference) == Found(charge.payment_id, ended)
    assert await provider.balance() == 0


@honours_keys
async def test_a_charge_that_is_abandoned_later_is_not_captured(provider: Provider) -> None:
    charge = a_charge(provider.good)
    reference = await authorized(provider, charge)

    ended = await provider.gateway.abandon(charge)

    assert isinstance(ended, Declined)
    assert ended.reference == reference
    assert isinstance(await provider.gateway.capture(charge.payment_id, reference), Declined)
    assert await provider.balance() == 0


@honours_keys
async def test_a_charge_that_was_declined_stays_so_when_it_is_abandoned(provider: Provider) -> None:
    charge = a_charge(provider.declined)
    declined = await provider.gateway.charge(charge)

    ended = await provider.gateway.abandon(charge)

    assert isinstance(ended, Declined)
    assert ended.reference == declined.reference


@honours_keys
async def test_a_charge_whose_money_is_here_is_not_abandoned(provider: Provider) -> None:
    charge = a_charge(provider.good)
    reference = await captured(provider, charge)

    assert await provider.gateway.abandon(charge) == Captured(reference)
    assert await provider.balance() == 900


@honours_keys
async def test_however_a_charge_and_its_end_meet_nothing_stays_authorized(provider: Provider) -> None:
    charges = [a_charge(provider.good) for _ in range(8)]

    def both(number: int, charge: Charge) -> Sequence[Awaitable[object]]:
        calls = [insist(lambda: provider.gateway.charge(charge)), insist(lambda: provider.gateway.abandon(charge))]
        return calls if number % 2 else calls[::-1]

    await asyncio.gather(*(call for pair in enumerate(charges) for call in both(*pair)))

    for charge in charges:
        ended = await provider.gateway.abandon(charge)
        assert isinstance(ended, Declined)
        assert isinstance(await provider.gateway.capture(charge.payment_id, ended.reference), Declined)
    assert await provider.balance() == 0


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

    async def agreed() -> bool:
        found = await provider.gateway.retrieve(answer.reference)
        return found == Found(charge.payment_id, Authorized(answer.reference))

    await provider.finish(answer)
    await eventually(agreed)
    assert await provider.balance() == 0


@honours_keys
async def test_a_slow_charge_asked_for_again_is_the_same_charge(provider: Provider) -> None:
    charge = a_charge(provider.slow)

    assert await provider.gateway.charge(charge) == await provider.gateway.charge(charge)


@loses_answers
async def test_a_lost_answer_is_found_by_the_same_call_again(provider: Provider) -> None:
    charge = a_charge(provider.loses_the_answer)
    with pytest.raises(GatewayTimeout):
        await provider.gateway.charge(charge)

    await captured(provider, charge)
    assert await provider.balance() == 900


@honours_keys
async def test_a_key_is_for_one_charge_only(provider: Provider) -> None:
    charge = a_charge(provider.good)
    await captured(provider, charge)

    for other in (replace(charge, amount=901), replace(charge, method=provider.declined)):
        with pytest.raises(GatewayRefused):
            await provider.gateway.charge(other)
    assert await provider.balance() == 900


async def test_a_refund_gives_the_money_back(provider: Provider) -> None:
    kept, returned = a_charge(provider.good, amount=70), a_charge(provider.good)
    await captured(provider, kept)
    reference = await captured(provider, returned)

    refunds = await provider.gateway.refund(returned.payment_id, reference)

    assert refunds == Refunds(returned=True, amount=900)
    found = await provider.gateway.retrieve(reference)
    assert found == Found(returned.payment_id, Captured(reference), refunds)
    assert await provider.balance() == 70


async def test_parts_that_go_back_in_the_dashboard_are_told(provider: Provider) -> None:
    kept, returned = a_charge(provider.good, amount=70), a_charge(provider.good)
    await captured(provider, kept)
    reference = await captured(provider, returned)

    for amount, so_far in ((300, 300), (150, 450)):
        await provider.refund_by_hand(reference, amount)
        found = await provider.gateway.retrieve(reference)
        assert found == Found(returned.payment_id, Captured(reference), Refunds(amount=so_far))
    assert await provider.balance() == 70 + 450


@refunds_the_rest
async def test_a_refund_after_a_part_moves_only_the_rest_however_often_it_is_asked_for(provider: Provider) -> None:
    kept, returned = a_charge(provider.good, amount=70), a_charge(provider.good)
    await captured(provider, kept)
    reference = await captured(provider, returned)
    await provider.refund_by_hand(reference, 300)

    await provider.gateway.refund(returned.payment_id, reference)
    refunds = await provider.gateway.refund(returned.payment_id, reference)

    assert refunds == Refunds(returned=True, amount=900)
    assert await provider.balance() == 70


async def test_parts_that_make_up_the_whole_are_a_refund(provider: Provider) -> None:
    charge = a_charge(provider.good)
    reference = await captured(provider, charge)

    for amount in (300, 600):
        await provider.refund_by_hand(reference, amount)

    found = await provider.gateway.retrieve(reference)
    assert found == Found(charge.payment_id, Captured(reference), Refunds(returned=True, amount=900))
    assert await provider.balance() == 0


@honours_keys
async def test_a_refund_gives_the_money_back_once_however_often_it_is_asked_for(provider: Provider) -> None:
    kept, returned = a_charge(provider.good, amount=70), a_charge(provider.good)
    await captured(provider, kept)
    reference = await captured(provider, returned)

    def refund() -> Awaitable[Refunds]:
        return provider.gateway.refund(returned.payment_id, reference)

    await asyncio.gather(*(insist(refund) for _ in range(8)))
    await refund()

    assert await provider.balance() == 70
    assert await provider.gateway.charge(returned) == Authorized(reference)  # Its key takes nothing again.
    assert await provider.balance() == 70


async def test_there_is_nothing_to_give_back_of_a_charge_without_money(provider: Provider) -> None:
    charge = a_charge(provider.declined)
    answer = await provider.gateway.charge(charge)

    with pytest.raises(GatewayRefused):
        await provider.gateway.refund(charge.payment_id, answer.reference)
    with pytest.raises(GatewayRefused):
        await provider.gateway.refund(new_id(), "ch_unknown")


async def test_there_is_nothing_to_give_back_of_what_is_only_authorized(provider: Provider) -> None:
    charge = a_charge(provider.good)
    reference = await authorized(provider, charge)

    with pytest.raises(GatewayRefused):
        await provider.gateway.refund(charge.payment_id, reference)


async def test_what_nobody_knows_is_neither_captured_nor_released(provider: Provider) -> None:
    for call in (provider.gateway.capture(new_id(), "ch_unknown"), provider.gateway.release("ch_unknown")):
        with pytest.raises(GatewayRefused):
            await call


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
        provider.signed("ch_1", now - timedelta(minutes=5, seconds=30), SECRET),
    ):
        with pytest.raises(BadSignature):
            provider.gateway.verify(*forged)


async def test_a_signature_holds_for_five_minutes(provider: Provider) -> None:
    signed = provider.signed("ch_1", datetime.now(UTC) - timedelta(minutes=4, seconds=30), SECRET)

    assert provider.gateway.verify(*signed) == "ch_1"
