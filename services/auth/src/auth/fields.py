"""What requests have in common: addresses, names, passwords."""

from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field, StringConstraints

from auth.names import NAME
from common.text import LINE


def _normal(email: str) -> str:
    try:
        # The test environment allows .test, Souk's own names on a laptop.
        return validate_email(email, check_deliverability=False, test_environment=True).normalized.lower()
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None


Email = Annotated[
    str,
    Field(max_length=254, json_schema_extra={"format": "email"}, examples=["ada@souk.test"]),
    AfterValidator(_normal),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100), LINE, NAME, Field(examples=["Ada Lovelace"])]
NewPassword = Annotated[
    str,
    StringConstraints(min_length=10, max_length=128, strip_whitespace=False),
    Field(examples=["correct horse battery"]),
]
AnyPassword = Annotated[
    str, StringConstraints(max_length=128, strip_whitespace=False), Field(examples=["correct horse battery"])
]
Token = Annotated[str, StringConstraints(max_length=128), Field(examples=["Qm9va3MgYXJlIGZyaWVuZHM"])]
