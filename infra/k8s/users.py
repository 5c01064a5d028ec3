"""`python -m infra.k8s.users`: write who may do what on the cluster's bus, which is what holds on the laptop's."""

import json
from pathlib import Path

from infra.services import SERVICES

FILE = Path(__file__).parent / "base/nats/users.conf"


def users_conf() -> str:
    """Return the text of `users.conf`; its passwords are variables."""
    users = [service.on_the_bus(f"${service.name.upper()}") for service in SERVICES]
    text = json.dumps({"authorization": {"users": [user.permissions() for user in users]}}, indent=2)
    for user in users:
        text = text.replace(f'"{user.password}"', user.password)
    return f"# Written by `python -m infra.k8s.users`.\n{text.strip('{}').strip()}\n"


if __name__ == "__main__":
    FILE.write_text(users_conf())
