"""What web reads from the environment."""

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from common.settings import SessionSettings


class WebSettings(SessionSettings):
    """Where the services answer: on a cluster each at its own address; a gateway in front of all does as well."""

    auth_url: str
    items_url: str
    orders_url: str
    payments_url: str
    audit_url: str
    csrf_secret: SecretStr
    """Signs the forms. The same on every replica."""
    cookie_secure: bool = False
    """Souk is reached over https only: cookies travel no other way, and browsers are told so (HSTS)."""
    sandbox: bool = True
    """Payments run against the sandbox: its test cards are offered. If not, against Stripe."""
    stripe_publishable_key: str = Field(default="", validate_default=True)
    """With this the page takes cards in Stripe's own element. It may be seen by everybody."""

    @field_validator("stripe_publishable_key")
    @classmethod
    def _goes_with_the_gateway(cls, key: str, info: ValidationInfo) -> str:
        sandbox = info.data.get("sandbox", True)
        if sandbox and key:
            raise ValueError("SANDBOX is true: a page offers either its test cards or real ones")
        if not sandbox and not key:
            raise PydanticCustomError("missing", "it is missing")
        if key and not key.startswith("pk_"):
            raise ValueError("it begins with pk_")
        return key
