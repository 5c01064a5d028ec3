"""What payments reads from the environment."""

from typing import Literal

from pydantic import Field

from common.settings import MongoSettings


class PaymentsSettings(MongoSettings):
    """Who moves the money, and the secret that its webhook calls are signed with."""

    payment_gateway: Literal["sandbox"] = "sandbox"
    webhook_secret: str = Field(min_length=16)

    @property
    def webhook_url(self) -> str:
        """Where the sandbox, being inside this process, finds this service's own webhook."""
        return f"http://{self.host}:{self.port}/api/payments/webhook"
