"""What mails say, in every language, as consumers have taken it down."""

import json

import pytest
from pydantic import SecretStr

from common.events import PasskeyChange
from common.languages import LANGUAGES
from common.mail_tokens import MailTokens
from common.order_numbers import readable_number
from notifications.domain import Kind
from notifications.letters import Letters, words_of


@pytest.mark.parametrize("change", PasskeyChange)
def test_each_change_of_passkeys_has_its_words_in_every_language(change: PasskeyChange) -> None:
    tokens = MailTokens(SecretStr("a key for mails of tests"))
    letters = Letters("https://souk.test", tokens, tokens)
    facts = json.loads(json.dumps({"change": change, "left": 9 if change is PasskeyChange.CODE_USED else None}))

    written = [letters.write(Kind.PASSKEYS_CHANGED, words_of(language), facts) for language in LANGUAGES]

    assert len({letter.subject for letter in written}) == len({letter.lines[0] for letter in written}) == len(LANGUAGES)
    for letter in written:
        assert letter.button
        assert letter.button[1] == "https://souk.test/my/security"
        assert ("9" in letter.lines[0]) == (change is PasskeyChange.CODE_USED)


def test_a_message_of_an_operator_is_shown_as_it_was_typed() -> None:
    tokens = MailTokens(SecretStr("a key for mails of tests"))
    facts = {"order_id": "0193a1f27b4c7d5e8f60718293a4b5c6", "text": "Hello {name},\r\n\r\n {number} <b>100 %</b> "}

    letter = Letters("https://souk.test", tokens, tokens).write(Kind.OPERATOR_MESSAGE, words_of("en"), facts)

    assert letter.lines[1:] == ["Hello {name},", "{number} <b>100 %</b>"]


@pytest.mark.parametrize("kind", [Kind.ORDER_PAID, Kind.ORDER_EXPIRED, Kind.PAYMENT_REFUNDED, Kind.SOLD])
def test_the_number_of_an_order_can_be_read_out(kind: Kind) -> None:
    tokens = MailTokens(SecretStr("a key for mails of tests"))
    order = "0193a1f27b4c7d5e8f60718293a4b5c6"
    facts = {"order_id": order, "item_id": "i1", "item_title": "A lamp", "quantity": 2, "unit_price": 1250}
    facts |= {"currency": "EUR", "total": 2500, "amount": 2500}

    letter = Letters("https://souk.test", tokens, tokens).write(kind, words_of("en"), facts)

    assert ("Order", readable_number(order)) in letter.rows
    assert order not in str(letter.rows)
