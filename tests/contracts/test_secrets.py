"""No service's settings show a secret when they are printed or logged."""

import importlib

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from infra.services import SERVICES

PUBLIC = {"jwt_public_keys", "ticket_public_keys", "stripe_publishable_key"}
"""Keys that everybody may see."""


def is_secret(name: str) -> bool:
    """Whether a setting holds a password or a key; the URLs of servers hold the service's password, a path none."""
    if name.endswith("_file"):
        return False
    if name in {"mongo_url", "nats_url", "redis_url"}:
        return True
    return ("secret" in name or "_key" in name) and name not in PUBLIC


@pytest.mark.parametrize("service", [service.name for service in SERVICES])
def test_secrets_have_a_type_that_hides_them(service: str) -> None:
    fields = {
        name: field.annotation
        for kind in vars(importlib.import_module(f"{service}.settings")).values()
        if isinstance(kind, type) and issubclass(kind, BaseSettings)
        for name, field in kind.model_fields.items()
        if is_secret(name)
    }
    assert fields
    assert fields == dict.fromkeys(fields, SecretStr)
