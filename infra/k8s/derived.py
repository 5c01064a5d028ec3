"""`make manifests`: write what manifests, skaffold.yaml and Dockerfile derive from the registry of services."""

import importlib
import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from common.bus.provision import write_table
from infra.bus import PROVISIONER, TABLE, backup_user, bus_users
from infra.k8s.dashboards import dashboards
from infra.servers.nats import NatsUser, accounts
from infra.services import NAMES, ROOT, SERVICES

USERS = (*NAMES, PROVISIONER)

NATS = Path(__file__).parent / "base/nats"
BACKUP_COMPONENT = Path(__file__).parent / "components/backup"
DASHBOARDS = Path(__file__).parent / "components/observability/dashboards"

ENTRY = """\
            - name: PASSWORD_OF_{variable}
              valueFrom:
                secretKeyRef: {{ name: {name}, key: NATS_PASSWORD }}
            - {{ name: {variable}, value: '"$(PASSWORD_OF_{variable})"' }}
"""

PATCH = """\
# Written by `make manifests`. nats-server reads these variables as configuration: without the quotes, -a would be a
# broken number and 12k would be 12000.
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: nats
spec:
  template:
    spec:
      containers:
        - name: nats
          env:
"""

ARTIFACT = """\
    - image: souk/{name}
      docker: {{ dockerfile: infra/docker/Dockerfile, target: dev, buildArgs: {{ SERVICE: {name} }} }}
      sync:
        manual:
          - {{ src: "common/src/**", dest: /source }}
          - {{ src: "services/{name}/src/**", dest: /source }}
"""

LEAN = "      - {{ op: replace, path: /build/artifacts/{index}/docker/target, value: service }}\n"

READER = """\
  - target: {{ kind: MongoDBCommunity, name: {name}-mongo }}
    patch: |
      - {{ op: replace, path: /spec/users/1/roles/0/db, value: {name} }}
      - {{ op: replace, path: /spec/users/1/scramCredentialsSecretName, value: {name}-mongo-backup }}
"""

OWNER = "                  - secret: {{ name: {name}, items: [{{ key: MONGO_PASSWORD, path: {name} }}] }}\n"


def users_conf(*more: NatsUser) -> str:
    """Who may do what on the cluster's bus: the same as on a laptop's. The passwords are variables."""
    users = [*bus_users({name: f"${name.upper()}" for name in USERS}), *more]
    text = _compact(json.dumps({"accounts": accounts(users)}, indent=2))
    for user in users:
        text = text.replace(f'"{user.password}"', user.password)
    return f"# Written by `make manifests`.\n{text.strip('{}').strip()}\n"


def _compact(text: str) -> str:
    """JSON whose innermost objects and lists of names stand on one line each."""
    flat = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text)
    flat = re.sub(r"\{[^{}]*\}", lambda found: " ".join(found[0].split()), flat)
    return re.sub(r"\{\s*(\"\w+\": \{[^{}]*\})\s*\}", r"{ \1 }", flat)


def passwords() -> str:
    """A patch that gives the bus the password of each of its users."""
    return PATCH + "".join(ENTRY.format(name=name, variable=name.upper()) for name in USERS)


def table() -> str:
    """The durable consumers of all services, as their handlers say."""
    modules = (f"{name}.consumers" for name in NAMES)
    found = [importlib.import_module(name).consumers.durables for name in modules if find_spec(name)]
    return write_table([durable for durables in found for durable in durables])


def skaffold(text: str) -> str:
    """The text of skaffold.yaml with an image for each service, which is lean in production."""
    artifacts = "".join(ARTIFACT.format(name=name) for name in NAMES)
    lean = "".join(LEAN.format(index=index) for index in range(len(NAMES)))
    text = re.sub(r"(?<=  artifacts:\n).*?(?=^manifests:)", artifacts, text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(^.* path: /build/artifacts/\d+/docker/target,.*\n)+", lean, text, flags=re.MULTILINE)


def readers(text: str) -> str:
    """The text of the backup's kustomization.yaml with a user of each database that may read it, and lock it."""
    return re.sub(r"(?<=target: \{ kind: MongoDBCommunity \}\n).*", _of_databases(READER), text, flags=re.DOTALL)


def owners(text: str) -> str:
    """The text of restore.yaml with the password of each database's owner."""
    return re.sub(r"(?<=                sources:\n).*", _of_databases(OWNER), text, flags=re.DOTALL)


def _of_databases(template: str) -> str:
    return "".join(template.format(name=service.name) for service in SERVICES if service.uses == "mongod")


def dockerfile(text: str) -> str:
    """The text of the Dockerfile, whose image of the backup has every service."""
    path = ":".join(["/app", "/app/common/src", *(f"/app/services/{name}/src" for name in sorted(NAMES))])
    return re.sub(r"PYTHONPATH=/app:\S+", f"PYTHONPATH={path}", text)


def _edited(file: Path, edit: Callable[[str], str]) -> dict[Path, str]:
    return {file: edit(file.read_text())}


def derived() -> dict[Path, str]:
    """The text that each file should have."""
    return {
        TABLE: table(),
        NATS / "users.conf": users_conf(),
        BACKUP_COMPONENT / "users.conf": users_conf(backup_user("$BACKUP")),
        NATS / "passwords.yaml": passwords(),
        **_edited(ROOT / "skaffold.yaml", skaffold),
        **_edited(ROOT / "infra/docker/Dockerfile", dockerfile),
        **_edited(BACKUP_COMPONENT / "kustomization.yaml", readers),
        **_edited(BACKUP_COMPONENT / "restore.yaml", owners),
        **{DASHBOARDS / name: text for name, text in dashboards().items()},
    }


if __name__ == "__main__":
    TABLE.write_text(table())  # The others derive from it.
    for path, text in derived().items():
        path.write_text(text)
