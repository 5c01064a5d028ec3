"""Accounts, without any server."""

from datetime import UTC, datetime

from auth.domain import Account
from common.events import RolesChanged, UserRegistered

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def test_a_new_account_tells_who_came_and_never_the_hash() -> None:
    account = Account.register(email="Ada@Souk.test", name="Ada", password_hash="$argon2id$...")

    assert account.recorded == (UserRegistered(user_id=account.id),)
    assert "argon2" not in account.recorded[0].model_dump_json()


def test_two_accounts_are_two_people() -> None:
    first, second = (Account.register(email="a@souk.test", name="A", password_hash="x") for _ in range(2))

    assert first.id != second.id


def test_a_stronger_hash_is_nobody_elses_business() -> None:
    account = Account.from_document({"_id": "u1", "version": 1, "email": "a@b.c", "name": "A", "password_hash": "weak"})

    account.strengthen("strong")

    assert account.to_document()["password_hash"] == "strong"
    assert account.recorded == ()


def test_a_role_is_given_once_and_taken_once_and_everybody_is_told() -> None:
    account = Account.from_document({"_id": "u1", "version": 1, "email": "a@b.c", "name": "A", "password_hash": "x"})
    assert not account.roles

    account.grant("operator", NOW)
    account.grant("operator", NOW)
    assert list(account.roles) == ["operator"]
    assert account.recorded == (RolesChanged(user_id="u1", account_version=2, roles=("operator",), at=NOW),)

    account.saved()
    account.revoke("operator", NOW)
    account.revoke("operator", NOW)
    assert not account.roles
    assert account.recorded == (RolesChanged(user_id="u1", account_version=3, roles=(), at=NOW),)


def test_an_account_states_again_who_it_is() -> None:
    account = Account.register(email="ada@souk.test", name="Ada", password_hash="x")

    assert account.restated() == [UserRegistered(user_id=account.id, restated=True)]
