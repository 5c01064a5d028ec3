"""What mails about passkeys say, in every language, as consumers have taken it down."""

import json

import pytest
from pydantic import SecretStr

from common.events import PasskeyChange
from common.languages import LANGUAGES
from common.mail_tokens import MailTokens
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
