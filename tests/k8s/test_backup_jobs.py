"""The jobs of the component `backup` are given what their code reads, and no more."""

import re
from pathlib import Path

import pytest

from infra.local.backup.cluster import DATABASES, ClusterEnv
from infra.local.backup.restore import RestoreEnv
from infra.services import ROOT
from tests.k8s.environment import resolved
from tests.k8s.objects import Object, Objects

VARIANT = "prod with backup"
STORAGE = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"}
HELPERS = {"NATS_PASSWORD", "MONGO_PASSWORD"}


def job(objects: Objects, name: str) -> tuple[Object, dict[str, str]]:
    """A job's container, and the ConfigMap that it is given."""
    spec = objects.one("CronJob", name)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec["containers"][0], objects.one("ConfigMap", "backup")["data"]


@pytest.mark.parametrize(("name", "kind"), [("backup", ClusterEnv), ("restore-drill", RestoreEnv)])
def test_a_job_has_what_it_reads(
    name: str, kind: type[ClusterEnv | RestoreEnv], rendered: dict[str, Objects], secrets: Objects
) -> None:
    objects = rendered[VARIANT]
    container, settings = job(objects, name)
    [pod] = [pod for pod in objects.pods if pod.name == name]
    variables = {**settings, **resolved(container, pod, secrets)}
    known = {str(field.validation_alias or known).upper() for known, field in kind.model_fields.items()}
    assert set(variables) - known - STORAGE - HELPERS == {"TO" if name == "restore-drill" else "FROM"}
    assert set(variables) >= STORAGE
    if name == "backup":
        assert "BACKUP_IDENTITY" not in variables, "what makes backups cannot open them"
        address = variables["MONGO_URL"]
        hosts = {re.sub(".*@|:.*", "", address.replace("SERVICE", database)) for database in DATABASES}
        assert hosts == {f"{pod.name}-svc" for pod in objects.pods if pod.kind == "MongoDBCommunity"}
    else:
        assert {urls for urls in variables.values() if "://" in urls and "127.0.0.1" not in urls} == {
            variables["FROM"],
            variables["TO"],
            variables["AWS_ENDPOINT_URL"],
        }


def test_the_jobs_are_of_the_release(rendered: dict[str, Objects]) -> None:
    pods = rendered[VARIANT].pods
    images = {container["image"] for pod in pods for container in pod.all_containers if "souk/" in container["image"]}
    assert len({image.partition(":")[2] for image in images}) == 1


def test_the_image_has_every_service() -> None:
    dockerfile = (ROOT / "infra/docker/Dockerfile").read_text()
    [path] = re.findall(r"PYTHONPATH=(/app:\S+)", dockerfile)
    services = sorted(file.parent.name for file in Path(ROOT / "services").glob("*/pyproject.toml"))
    assert path.split(":")[2:] == [f"/app/services/{name}/src" for name in services]
