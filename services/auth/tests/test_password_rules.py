"""Which passwords are refused."""

import pytest

from auth.password_rules import PasswordTooWeak, check_password

BREACHED = [
    "FQRG7CS493",
    "VQsaBLPzLa",
    "cjmasterinf",
    "DIOSESFIEL",
    "uQA9Ebw445",
    "SZ9kQcCTwY",
    "yuantuo2012",
    "megaparol12345",
    "telechargement",
    "N8ZGT5P0sHw=",
]
"""Among the thousand commonest of breaches, although they look like nothing that is guessed."""


@pytest.mark.parametrize("password", [*BREACHED, BREACHED[2].upper(), BREACHED[-2].title()])
def test_a_password_of_a_breach_is_refused_however_strong_it_looks(password: str) -> None:
    with pytest.raises(PasswordTooWeak, match="stolen"):
        check_password(password, ["Ada", "ada@souk.test"], "password")


@pytest.mark.parametrize("password", ["correct horse battery", "Vg7$kq-1 plum", "ein Zebra im März", "🦓🦓🐘 zwölf"])
def test_a_password_of_its_own_is_taken(password: str) -> None:
    check_password(password, ["Ada", "ada@souk.test"], "password")
