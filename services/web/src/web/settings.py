"""What web reads from the environment."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from common.settings import SessionSettings

ADDRESSES = ("auth_url", "items_url", "orders_url", "payments_url", "audit_url", "notifications_url", "tickets_url")
"""The settings that say where the services are."""


class WebSettings(SessionSettings):
    """The addresses of the services, and how pages are protected and paid on.

    With `cookie_secure`, browsers get an HSTS header as well.

    On a cluster each service has its own address. The address of a gateway in front of all of them works as well.
    """

    auth_url: str
    items_url: str
    orders_url: str
    payments_url: str
    audit_url: str
    notifications_url: str
    tickets_url: str
    services_ca_file: Path | None = None
    """The authority, as PEM, that has signed the services' certificates. Then no other is believed."""
    csrf_secret: SecretStr
    """Signs the tokens in forms. The same on every replica."""
    sandbox: bool = Field(default=True, validate_default=True)
    """Payments use the sandbox, and pages offer its test cards. If false, payments use Stripe."""
    stripe_publishable_key: str = Field(default="", validate_default=True)
    """Pages take cards in Stripe's own element with this key. It is public."""

    @field_validator("services_ca_file")
    @classmethod
    def _calls_nobody_in_the_clear(cls, authority: Path | None, info: ValidationInfo) -> Path | None:
        clear = [name.upper() for name in ADDRESSES if str(info.data.get(name, "")).startswith("http:")]
        if authority and clear:
            raise ValueError(f"{', '.join(clear)} would be called in the clear")
        return authority

    @field_validator("sandbox")
    @classmethod
    def _takes_real_money_in_production(cls, sandbox: bool, info: ValidationInfo) -> bool:
        if info.data.get("env") == "prod" and sandbox:
            raise ValueError("ENV is prod, where the sandbox's play money is not accepted: set it to false")
        return sandbox

    @field_validator("stripe_publishable_key")
    @classmethod
    def _goes_with_the_gateway(cls, key: str, info: ValidationInfo) -> str:
        sandbox = info.data.get("sandbox", True)
        if sandbox and key:
            raise ValueError("SANDBOX is true: a page offers either its test cards or real ones")
        if not sandbox and not key:
            raise PydanticCustomError("missing", "it is missing")
        if key and not key.startswith("pk_"):
            raise ValueError("it does not begin with pk_")
        return key
