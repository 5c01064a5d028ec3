"""The jobs of the component `backup` are given what their code reads, and no more."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.local.backup import restore_cluster
from infra.local.backup.cluster import DATABASES, ClusterEnv
from infra.local.backup.drill import DrillEnv
from infra.local.backup.remote import RemoteEnv
from infra.local.stack.program import PASSED_ON
from infra.services import ROOT
from tests.k8s.environment import resolved
from tests.k8s.objects import Object, Objects

VARIANT = "prod with backup"
STORAGE = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"}
HELPERS = {"NATS_PASSWORD", "MONGO_PASSWORD"}
OTHERS = {"backup": {"FROM", "WITHOUT"}, "restore": {"TO", "WITHOUT"}, "restore-drill": {"TO"}}
"""What the other jobs read of the ConfigMap that they share."""
OUTSIDE = ("FROM", "TO", "AWS_ENDPOINT_URL")
JOBS: dict[str, type[RemoteEnv]] = {
    "backup": ClusterEnv,
    "restore": restore_cluster.RestoreEnv,
    "restore-drill": DrillEnv,
}


def job(objects: Objects, name: str) -> tuple[Object, dict[str, str]]:
    """A job's container, and the ConfigMap that it is given."""
    spec = objects.one("CronJob", name)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec["containers"][0], objects.one("ConfigMap", "backup")["data"]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_has_what_it_reads(name: str, rendered: dict[str, Objects], secrets: Objects) -> None:
    objects = rendered[VARIANT]
    container, settings = job(objects, name)
    [pod] = [pod for pod in objects.pods if pod.name == name]
    variables = {**settings, **resolved(container, pod, secrets)}
    fields = JOBS[name].model_fields
    known = {str(field.validation_alias or known).upper() for known, field in fields.items()}
    assert set(variables) - known - STORAGE - HELPERS == OTHERS[name]
    assert set(variables) >= STORAGE | {known.upper() for known, field in fields.items() if field.is_required()} - {
        "SOURCE"
    }
    addresses = {url for url in variables.values() if "://" in url} - {variables[key] for key in OUTSIDE}
    match name:
        case "restore-drill":
            assert {urlsplit(url).hostname for url in addresses} == {"127.0.0.1"}
        case _:
            hosts = {urlsplit(url.replace("SERVICE", service)).hostname for url in addresses for service in DATABASES}
            made = {f"{pod.name}-svc" for pod in objects.pods if pod.kind == "MongoDBCommunity"}
            assert hosts == {*made, "nats"}
    assert ("BACKUP_IDENTITY" in variables) == (name != "backup"), "what makes backups cannot open them"


def test_a_restore_has_the_password_of_each_database(rendered: dict[str, Objects]) -> None:
    [pod] = [pod for pod in rendered[VARIANT].pods if pod.name == "restore"]
    [sources] = [volume["projected"]["sources"] for volume in pod.spec["volumes"] if "projected" in volume]
    given = [(one["secret"]["name"], one["secret"]["items"]) for one in sources]
    assert sorted(given) == [(name, [{"key": "MONGO_PASSWORD", "path": name}]) for name in sorted(DATABASES)]


def test_the_jobs_are_of_the_release(rendered: dict[str, Objects]) -> None:
    pods = rendered[VARIANT].pods
    images = {container["image"] for pod in pods for container in pod.all_containers if "souk/" in container["image"]}
    assert len({image.partition(":")[2] for image in images}) == 1


def test_the_image_has_every_service() -> None:
    dockerfile = (ROOT / "infra/docker/Dockerfile").read_text()
    [path] = re.findall(r"PYTHONPATH=(/app:\S+)", dockerfile)
    services = sorted(file.parent.name for file in Path(ROOT / "services").glob("*/pyproject.toml"))
    assert path.split(":")[2:] == [f"/app/services/{name}/src" for name in services]
    assert "PYTHONPATH" in PASSED_ON, "the services that the drill starts would not be found"
