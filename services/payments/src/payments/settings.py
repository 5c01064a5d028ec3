"""What payments reads from the environment."""

from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from common.settings import MongoSettings

NEEDED = {"sandbox": ("webhook_secret",), "stripe": ("stripe_secret_key", "stripe_webhook_secret")}
"""The secrets that each gateway needs. Those of the other gateway may be missing."""

PREFIXES = {"stripe_secret_key": ("sk_", "rk_"), "stripe_webhook_secret": ("whsec_",)}
"""How Stripe's secrets start, so that mixed-up secrets are noticed before money moves."""


class PaymentsSettings(MongoSettings):
    """The payment gateway and its secrets."""

    payment_gateway: Literal["sandbox", "stripe"] = Field(default="sandbox", validate_default=True)
    """`stripe` where ENV is prod: nobody pays in play money by mistake."""
    webhook_secret: SecretStr = Field(default=SecretStr(""), validate_default=True)
    """Signs the webhook calls of the sandbox."""
    sandbox_url: str = ""
    """A sandbox that runs elsewhere, with its own ledger. Without one, the sandbox is part of payments."""
    stripe_secret_key: SecretStr = Field(default=SecretStr(""), validate_default=True)
    """A key of test mode (`sk_test_`, `rk_test_`) moves play money, one of live mode real money."""
    stripe_webhook_secret: SecretStr = Field(default=SecretStr(""), validate_default=True)
    """Stripe gives one to each webhook endpoint."""
    stripe_api_url: str = "https://api.stripe.com"
    stripe_list_seconds: float = Field(default=60, gt=0)
    """How often Stripe's lists of charges, refunds and disputes are read."""

    @field_validator("payment_gateway")
    @classmethod
    def _takes_real_money_in_production(cls, gateway: str, info: ValidationInfo) -> str:
        if info.data.get("env") == "prod" and gateway == "sandbox":
            raise ValueError("ENV is prod, where the sandbox's play money is not accepted: set it to stripe")
        return gateway

    @field_validator("webhook_secret", "stripe_secret_key", "stripe_webhook_secret")
    @classmethod
    def _is_there_where_needed(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        name = info.field_name or ""
        if name not in NEEDED.get(info.data.get("payment_gateway", ""), ()):
            return secret
        if not secret:
            raise PydanticCustomError("missing", "it is missing")
        if not secret.get_secret_value().startswith(PREFIXES.get(name, "")):
            raise ValueError(f"it begins with {' or '.join(PREFIXES[name])}")
        if len(secret) < 16:
            raise ValueError("it has at least 16 characters")
        return secret

    @property
    def webhook_url(self) -> str:
        """The webhook of this process, which the sandbox inside it calls."""
        return f"http://{self.host}:{self.port}/api/payments/webhook"
