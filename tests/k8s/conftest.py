"""What kustomize renders, once a run."""

import base64
import copy
from pathlib import Path

import pytest

from common.settings import DEVELOPMENT
from infra.k8s.chart import Chart
from tests.k8s.objects import Objects, render_all

PROVIDERS = {
    "payments": {"STRIPE_SECRET_KEY": "sk_test_0123456789", "STRIPE_WEBHOOK_SECRET": "whsec_0123456789"},
    "notifications": {"SMTP_URL": "smtp+starttls://souk:word@smtp.example.com:587", "MAIL_FROM": "souk@example.com"},
    "web": {"STRIPE_PUBLISHABLE_KEY": "pk_test_0123456789"},
}


STORAGE = {"AWS_ACCESS_KEY_ID": "souk", "AWS_SECRET_ACCESS_KEY": "secret-1"}
BACKUPS = {
    "backup": {"NATS_PASSWORD": "secret-1", "MONGO_PASSWORD": "secret-1", **STORAGE},
    "restore-drill": {"BACKUP_IDENTITY": "AGE-SECRET-KEY-1", **STORAGE},
}


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Objects]:
    """Every variant by its name."""
    return render_all(tmp_path_factory.mktemp("manifests"))


@pytest.fixture(scope="session")
def secrets(rendered: dict[str, Objects]) -> Objects:
    """What every variant may refer to: the secrets for development in clear text, and those of others."""
    found = Objects(copy.deepcopy(list(rendered["dev"].of("Secret", "ConfigMap"))))
    for one in found.of("Secret"):
        one["data"] = {
            key: base64.b64decode(value).decode().removeprefix(DEVELOPMENT) for key, value in one["data"].items()
        }
    for name, data in BACKUPS.items():
        found.append({"kind": "Secret", "metadata": {"name": name}, "data": dict(data)})
    for name, keys in PROVIDERS.items():
        found.one("Secret", name)["data"] |= keys
    return found


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart as it is released."""
    folder = tmp_path_factory.mktemp("chart") / "souk"
    Chart().write(folder)
    return folder
