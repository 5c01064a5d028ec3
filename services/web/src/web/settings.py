"""What web reads from the environment."""

from common.settings import SessionSettings


class WebSettings(SessionSettings):
    """Where the services answer: on a cluster each at its own address; a gateway in front of all does as well."""

    auth_url: str
    items_url: str
    orders_url: str
    payments_url: str
    csrf_secret: str
    """Signs the forms. The same on every replica."""
    cookie_secure: bool = False
    """Souk is reached over https only: cookies travel no other way, and browsers are told so (HSTS)."""
    sandbox: bool = True
    """Payments run against the sandbox: its test cards are offered."""
