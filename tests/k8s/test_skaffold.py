"""skaffold builds what the manifests run."""

import re
from typing import Any

import yaml

from infra.services import NAMES, ROOT
from tests.k8s.objects import Objects

SKAFFOLD: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
ARTIFACTS: list[dict[str, Any]] = SKAFFOLD["build"]["artifacts"]


def test_every_image_of_ours_is_built(rendered: dict[str, Objects]) -> None:
    images = {c["image"] for pod in rendered["dev"].pods for c in pod.all_containers}
    assert {a["image"] for a in ARTIFACTS} == {image for image in images if image.startswith("souk/")}


def test_an_image_is_made_of_its_service_and_changed_files_go_into_its_pods() -> None:
    for artifact in ARTIFACTS:
        service = artifact["image"].removeprefix("souk/")
        assert artifact["docker"]["buildArgs"] == {"SERVICE": service}
        assert [rule["src"] for rule in artifact["sync"]["manual"]] == ["common/src/**", f"services/{service}/src/**"]


def test_production_gets_the_lean_image_of_every_service() -> None:
    [production] = SKAFFOLD["profiles"]
    lean = {
        int(found[1])
        for patch in production["patches"]
        if patch.get("value") == "service"
        and (found := re.fullmatch(r"/build/artifacts/(\d+)/docker/target", patch["path"]))
    }
    stages = set(re.findall(r"^FROM .* AS (\w+)$", (ROOT / "infra/docker/Dockerfile").read_text(), re.MULTILINE))
    assert lean == set(range(len(NAMES)))
    assert {"service", *(artifact["docker"]["target"] for artifact in ARTIFACTS)} <= stages
