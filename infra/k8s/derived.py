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
AWAY = "away"

NATS = Path(__file__).parent / "base/nats"
BACKUP_COMPONENT = Path(__file__).parent / "components/backup"
TLS_COMPONENT = Path(__file__).parent / "components/tls"
GATEWAY = Path(__file__).parent / "components/gateway-api/routes.yaml"
BACKENDS = GATEWAY.parent / "backends.yaml"
TRAEFIK_GATEWAY = Path(__file__).parent / "components/gateway-api-traefik/routes.yaml"
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

DATABASE = """\
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {name}-mongo
spec:
  secretName: {name}-mongo-tls
  duration: 2160h
  renewBefore: 720h
  privateKey: {{ algorithm: ECDSA, size: 256, rotationPolicy: Always }}
  usages: [digital signature, server auth, client auth] # members show it to each other
  dnsNames: ["{name}-mongo-svc", "*.{name}-mongo-svc.souk.svc.cluster.local"]
  issuerRef: {{ group: cert-manager.io, kind: Issuer, name: inside }}
"""

ENCRYPTED = """\
  - target: {{ kind: MongoDBCommunity, name: {name}-mongo }}
    patch: |
      - op: add
        path: /spec/security/tls
        value:
          enabled: true
          certificateKeySecretRef: {{ name: {name}-mongo-tls }}
          caCertificateSecretRef: {{ name: {name}-mongo-tls }}
"""

SERVICE = """\
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {name}
spec:
  secretName: {name}-tls
  duration: 2160h
  renewBefore: 720h
  privateKey: {{ algorithm: ECDSA, size: 256, rotationPolicy: Always }}
  usages: [digital signature, server auth]
  dnsNames: [{name}, {any_service}]
  issuerRef: {{ group: cert-manager.io, kind: Issuer, name: inside }}
"""

SHOWING = """\
  - target: {{ kind: Deployment, name: {name} }}
    patch: |
      - op: add
        path: /spec/template/spec/volumes/-
        value: {{ name: certificate, secret: {{ secretName: {name}-tls, defaultMode: 0440 }} }}
  - target: {{ kind: Service, name: {name} }}
    patch: |
      - op: replace
        path: /spec/ports/0/appProtocol
        value: https
"""

BACKEND = """\
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata:
  name: {name}
spec:
  targetRefs: [{{ group: "", kind: Service, name: {name} }}]
  validation:
    hostname: {name}
    caCertificateRefs: [{{ group: "", kind: Secret, name: gateway-tls }}]
"""

ANY_SERVICE = "any-service"
"""A name in the certificate of each service: for callers that can name only one for all of them."""

OWNER = "                  - secret: {{ name: {name}, items: [{{ key: MONGO_PASSWORD, path: {name} }}] }}\n"


FILTER = """\
- op: add
  path: /spec/rules/{rule}/filters
  value: [{{ type: ExtensionRef, extensionRef: {{ group: traefik.io, kind: Middleware, name: {name} }} }}]
"""


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


def encrypted(text: str) -> str:
    """The text of the component's kustomization, which gives each database its certificate."""
    shown = "".join(SHOWING.format(name=name) for name in (*NAMES, AWAY))
    return re.sub(r"(?<=from here on\.\n).*", lambda _: _of_databases(ENCRYPTED) + shown, text, flags=re.DOTALL)


def certificates() -> str:
    """The certificate of each database: for the name that its service calls, and those that its members have."""
    return "# Written by `make manifests`.\n" + _of_databases(DATABASE).removeprefix("---\n")


def service_certificates() -> str:
    """The certificate of each service: for the name of its Service, and the one that they share."""
    made = "".join(SERVICE.format(name=name, any_service=ANY_SERVICE) for name in (*NAMES, AWAY))
    return "# Written by `make manifests`.\n" + made.removeprefix("---\n")


def backends() -> str:
    """How a gateway calls each service that its routes lead to, and makes sure that it is the one."""
    routed = sorted(set(re.findall(r"backendRefs: \[{ name: ([a-z]+),", GATEWAY.read_text())))
    made = "".join(BACKEND.format(name=name) for name in routed)
    return "# Written by `make manifests`. Services take TLS only: components/tls.\n" + made.removeprefix("---\n")


def _of_databases(template: str) -> str:
    return "".join(template.format(name=service.name) for service in SERVICES if service.uses == "mongod")


def away_filters() -> str:
    """A patch of the routes: what answers in place of a service, to programs under /api and to people elsewhere."""
    paths = re.findall(r"- matches: .* value: (/\S*) }", GATEWAY.read_text().partition("\n---\n")[0])
    names = ["away-api" if path.startswith("/api/") else "away-page" for path in paths]
    filters = "".join(FILTER.format(rule=rule, name=name) for rule, name in enumerate(names))
    return f"# Written by `make manifests`, in the order of gateway-api/routes.yaml.\n{filters}"


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
        TRAEFIK_GATEWAY: away_filters(),
        **_edited(ROOT / "skaffold.yaml", skaffold),
        **_edited(ROOT / "infra/docker/Dockerfile", dockerfile),
        **_edited(BACKUP_COMPONENT / "kustomization.yaml", readers),
        **_edited(BACKUP_COMPONENT / "restore.yaml", owners),
        **_edited(TLS_COMPONENT / "kustomization.yaml", encrypted),
        TLS_COMPONENT / "databases.yaml": certificates(),
        TLS_COMPONENT / "service-certificates.yaml": service_certificates(),
        BACKENDS: backends(),
        **{DASHBOARDS / name: text for name, text in dashboards().items()},
    }


if __name__ == "__main__":
    TABLE.write_text(table())  # The others derive from it.
    for path, text in derived().items():
        path.write_text(text)
