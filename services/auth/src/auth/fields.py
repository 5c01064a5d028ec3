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


Email = Annotated[str, Field(max_length=254, json_schema_extra={"format": "email"}), AfterValidator(_normal)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100), LINE, NAME]
NewPassword = Annotated[str, StringConstraints(min_length=10, max_length=128, strip_whitespace=False)]
AnyPassword = Annotated[str, StringConstraints(max_length=128, strip_whitespace=False)]
Token = Annotated[str, StringConstraints(max_length=128)]
