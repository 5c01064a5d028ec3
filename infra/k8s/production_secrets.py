"""`make secrets FOR=prod`: make every secret that the overlay for production names, in .secrets, which Git ignores.

`values/NAME.json` is what a secret store keeps, and `external-secrets.yaml` has External Secrets fetch it from there.
`secrets/NAME.yaml` is the same as a Secret, to be encrypted with SOPS, or applied. `session-keys.yaml` is public.

What is there stays as it is: after an update only what is new is made. What others give comes out of the environment.
"""

import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.k8s.rendered import Object, copied, render
from infra.local.stack.keys import Keys
from infra.servers.server import write_private
from infra.services import ROOT

GIVEN = frozenset(
    {
        "STRIPE_SECRET_KEY",
        "STRIPE_WEBHOOK_SECRET",
        "STRIPE_PUBLISHABLE_KEY",
        "SMTP_URL",
        "MAIL_FROM",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "BACKUP_IDENTITY",
    }
)
"""Made by others; each is the same wherever it is read."""

SHARED = frozenset({"MAIL_TOKEN_KEY", "TRANSFER_TOKEN_KEY"})
"""One service signs with it, and another checks."""

PUBLIC = "session-keys"
STORE = {"kind": "ClusterSecretStore", "name": "souk"}

Values = dict[str, dict[str, str]]
"""By Secret and key."""


def wanted(*components: str) -> dict[str, list[str]]:
    """The keys of each Secret that production refers to, with components that it does not have of itself.

    Not of those that cert-manager makes.
    """
    with tempfile.TemporaryDirectory() as folder:
        objects = render(copied(Path(folder)), "prod", *components)
    certificates = {one["spec"]["secretName"] for one in objects if one["kind"] == "Certificate"}
    found: dict[str, set[str]] = {}
    for name, key in _referred_to(objects):
        if name not in certificates:
            found.setdefault(name, set()).add(key)
    return {name: sorted(keys) for name, keys in sorted(found.items())}


def _referred_to(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if {"name", "key"} <= set(value) and field != "configMapKeyRef":
            yield value["name"], value["key"]
        for name, one in value.items():
            yield from _referred_to(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from _referred_to(one)


def made(wanted: Mapping[str, list[str]], there: Values, given: Mapping[str, str]) -> Values:
    """All values: those that are there, those that are given, and new ones. `ValueError` names what nobody gives."""
    shared = {key: value for values in there.values() for key, value in values.items() if key in SHARED}
    shared |= {key: secrets.token_urlsafe(32) for key in SHARED - set(shared)}
    missing = [k for name, keys in wanted.items() for k in keys if k in GIVEN - set(given) - set(there.get(name, {}))]
    if missing:
        raise ValueError(f"give these as variables: {', '.join(sorted(set(missing)))}")
    with tempfile.TemporaryDirectory() as folder:
        keys = Keys(Path(folder))
        known = {**given, **shared, "USERNAME": "prometheus", "JWT_PRIVATE_KEY": keys.private_pem}
        known["TICKET_PRIVATE_KEY"] = keys.ticket_pem
    return {
        name: {key: there.get(name, {}).get(key) or known.get(key) or secrets.token_urlsafe(24) for key in of}
        for name, of in wanted.items()
    }


def secret(name: str, values: Mapping[str, str]) -> Object:
    """A Secret of Kubernetes."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": _metadata(name), "stringData": dict(values)}


def external_secret(name: str, keys: list[str]) -> Object:
    """What has External Secrets make that Secret out of `souk/NAME` in a store."""
    data = [{"secretKey": key, "remoteRef": {"key": f"souk/{name}", "property": key}} for key in keys]
    spec = {"refreshInterval": "1h0m0s", "secretStoreRef": STORE, "data": data}
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": _metadata(name),
        "spec": spec,
    }


def public_keys(private_pem: str) -> Object:
    """The ConfigMap with the public half of the key that signs sessions."""
    with tempfile.TemporaryDirectory() as folder:
        write_private(Path(folder) / "jwt_private_key.pem", private_pem)
        data = {"JWT_PUBLIC_KEYS": Keys(Path(folder)).public_keys}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(PUBLIC), "data": data}


def _metadata(name: str) -> Object:
    return {"name": name, "namespace": "souk"}


def write(folder: Path, *components: str, given: Mapping[str, str]) -> Values:
    """Write all files into a folder that only its owner can read; return the values."""
    for each in (folder, folder / "values", folder / "secrets"):
        each.mkdir(mode=0o700, exist_ok=True)
    there = {file.stem: json.loads(file.read_text()) for file in (folder / "values").glob("*.json")}
    values = made(wanted(*components), there, given)
    for name, of in values.items():
        write_private(folder / f"values/{name}.json", json.dumps(of, indent=2))
        write_private(folder / f"secrets/{name}.yaml", yaml.safe_dump(secret(name, of), sort_keys=False))
    external = [external_secret(name, list(of)) for name, of in values.items()]
    write_private(folder / "external-secrets.yaml", yaml.safe_dump_all(external, sort_keys=False))
    public = folder / f"{PUBLIC}.yaml"
    if not public.exists():  # A rotation adds keys to it by hand.
        write_private(public, yaml.safe_dump(public_keys(values["auth"]["JWT_PRIVATE_KEY"]), sort_keys=False))
    return values


if __name__ == "__main__":
    target = ROOT / ".secrets"
    named = os.environ.get("COMPONENTS", "").split()
    try:
        values = write(target, *named, given={key: os.environ[key] for key in GIVEN & set(os.environ)})
    except ValueError as error:
        raise SystemExit(str(error)) from None
    print(f"{len(values)} secrets in {target}: keep them where nobody else can read them")
