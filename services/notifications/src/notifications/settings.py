"""What notifications reads from the environment."""

from email.utils import parseaddr
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationInfo, field_validator

from common.settings import MailKey, MongoSettings, PublicSite, TransferKey
from notifications.smtp import SCHEMES


class NotificationsSettings(MongoSettings, MailKey, TransferKey, PublicSite):
    """Where mails go out, who they come from, and where their links lead."""

    smtp_url: SecretStr
    """`smtp+starttls://user:password@host:587`, `smtps://` for TLS from the start, `smtp://` without (not in prod)."""
    mail_from: str
    """The sender, as in `Souk <souk@example.com>`."""
    seller_mails: Literal["each", "daily", "off"] = "daily"
    """Sellers get a mail for each sale, one a day (UTC) for all of them, or none."""

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, url: SecretStr, info: ValidationInfo) -> SecretStr:
        parts = urlsplit(url.get_secret_value())
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise ValueError(f"it is not {'://host, '.join(SCHEMES)}://host")
        if parts.scheme == "smtp" and info.data.get("env") == "prod":
            raise ValueError("mails would leave without TLS: use smtp+starttls:// or smtps://")
        return url

    @field_validator("mail_from")
    @classmethod
    def _is_an_address(cls, sender: str) -> str:
        if "@" not in parseaddr(sender)[1] or not sender.isprintable():
            raise ValueError("it is not an address, as in Souk <souk@example.com>")
        return sender
