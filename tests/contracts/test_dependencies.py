"""A service ships the driver of a database only if it owns one."""

import re
import subprocess
import sys

import pytest

from infra.services import ROOT, SERVICES, Service

WITHOUT_MONGO = """
import sys
sys.modules |= dict.fromkeys(("pymongo", "bson", "gridfs"))  # None: importing them fails
import {service}.main
"""


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_pymongo_is_for_those_who_own_a_mongodb(service: Service) -> None:
    locked = (ROOT / "requirements" / f"{service.name}.txt").read_text()
    assert bool(re.search("^pymongo==", locked, re.MULTILINE)) == (service.uses == "mongod")


@pytest.mark.parametrize("service", [service.name for service in SERVICES if service.uses != "mongod"])
def test_the_others_start_without_it(service: str) -> None:
    command = [sys.executable, "-c", WITHOUT_MONGO.format(service=service)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert run.returncode == 0, run.stderr
