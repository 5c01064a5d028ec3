"""What `make secrets FOR=prod` makes is what production names, and services start with it."""

import copy
import json
import re
import stat
from pathlib import Path

import pytest
import yaml

from infra.k8s.production_secrets import GIVEN, Values, write
from infra.services import ROOT
from tests.k8s.conftest import BACKUPS, PROVIDERS
from tests.k8s.environment import environment
from tests.k8s.objects import Object, Objects
from tests.k8s.promises import schema
from tests.k8s.test_manifests import referred_to

ADDED = ("observability", "backup")
PROVIDED = {key: value for of in (*PROVIDERS.values(), *BACKUPS.values()) for key, value in of.items() if key in GIVEN}
SOPS = ROOT / "infra/gitops/.sops.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that is made for production with all that has secrets."""
    found = tmp_path_factory.mktemp("made") / ".secrets"
    write(found, *ADDED, given=PROVIDED)
    return found


@pytest.fixture(scope="module")
def made(folder: Path) -> Objects:
    """The Secrets, and the ConfigMap."""
    files = [*(folder / "secrets").iterdir(), folder / "session-keys.yaml"]
    return Objects(yaml.safe_load(file.read_text()) for file in files)


def keys_of(objects: Objects) -> set[tuple[str, str]]:
    """Name and key of everything."""
    return {
        (one["metadata"]["name"], key) for one in objects for key in one.get("stringData", {}) or one.get("data", {})
    }


def test_production_gets_every_secret_that_it_names(rendered: dict[str, Objects], made: Objects) -> None:
    named = {used for variant in rendered if variant != "dev" for used in referred_to(rendered[variant])}
    # The operator's own, of which no container says anything.
    databases = Objects(rendered["prod with observability"]).of("MongoDBCommunity")
    references = [reference for one in databases for reference in _passwords(one["spec"])]
    assert keys_of(made) == named | set(references) | {("mongo-metrics", "USERNAME")}


def _passwords(spec: Object) -> list[tuple[str, str]]:
    every = [spec["prometheus"]["passwordSecretRef"], *(user["passwordSecretRef"] for user in spec["users"])]
    return [(one["name"], one["key"]) for one in every]


def test_services_start_with_them(rendered: dict[str, Objects], made: Objects) -> None:
    secrets = Objects(copy.deepcopy(made))
    for one in secrets.of("Secret"):
        one["data"] = one.pop("stringData")
    assert list(environment(rendered["prod"], secrets)) == []


def test_external_secrets_makes_the_same(folder: Path, made: Objects) -> None:
    external = Objects(yaml.safe_load_all((folder / "external-secrets.yaml").read_text()))
    assert list(schema(external)) == []
    fetched: Values = {}
    for one in external:
        for entry in one["spec"]["data"]:
            stored = folder / "values" / f"{entry['remoteRef']['key'].removeprefix('souk/')}.json"
            value = json.loads(stored.read_text())[entry["remoteRef"]["property"]]
            fetched.setdefault(one["metadata"]["name"], {})[entry["secretKey"]] = value
    assert fetched == {one["metadata"]["name"]: one["stringData"] for one in made.of("Secret")}


def test_sops_encrypts_every_value_and_leaves_the_rest_to_be_read(folder: Path) -> None:
    [rule] = yaml.safe_load(SOPS.read_text())["creation_rules"]
    for file in (folder / "secrets").iterdir():
        assert re.search(rule["path_regex"], str(file))
        encrypted = {field for field in yaml.safe_load(file.read_text()) if re.search(rule["encrypted_regex"], field)}
        assert encrypted == {"stringData"}


def test_services_that_check_what_others_sign_have_the_same_key(made: Objects) -> None:
    for key in ("MAIL_TOKEN_KEY", "TRANSFER_TOKEN_KEY"):
        values = [one["stringData"][key] for one in made.of("Secret") if key in one["stringData"]]
        assert len(values) == 2
        assert len(set(values)) == 1


def test_no_password_is_of_two(made: Objects) -> None:
    values = [v for one in made.of("Secret") for key, v in one["stringData"].items() if key.endswith("_PASSWORD")]
    assert len(set(values)) == len(values)
    assert all(re.fullmatch(r"[\w-]{32,}", value) for value in values)


def test_nobody_else_can_read_them(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_after_an_update_only_what_is_new_is_made(tmp_path: Path) -> None:
    first = write(tmp_path / ".secrets", given=PROVIDED)
    (tmp_path / ".secrets/values/tickets.json").unlink()
    second = write(tmp_path / ".secrets", *ADDED, given={key: PROVIDED[key] for key in BACKUPS["restore-drill"]})
    assert {name: of for name, of in second.items() if name in set(first) - {"tickets"}} == {
        name: of for name, of in first.items() if name != "tickets"
    }
    assert second["tickets"]["TRANSFER_TOKEN_KEY"] == first["notifications"]["TRANSFER_TOKEN_KEY"]
    assert set(second) - set(first) == {"backup", "mongo-metrics", "restore-drill"}


def test_what_nobody_gives_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MAIL_FROM, SMTP_URL, STRIPE_PUBLISHABLE_KEY") as refused:
        write(tmp_path / ".secrets", given={})
    assert "BACKUP_IDENTITY" not in str(refused.value)
