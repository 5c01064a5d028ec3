"""What a service is made of is written down, and `make scan` finds insecure code, unwanted licences and secrets."""

import json
import platform
import re
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from infra.npm_licences import LOCK, allowed, refused
from infra.secret_scan import MADE_UP, found_in
from infra.services import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()

STATUS = """Package: libssl3t64
Status: install ok installed
Architecture: amd64
Version: 3.5.4-1~deb13u1
Description: Secure Sockets Layer toolkit - shared libraries
 Package: of this line nothing is taken

Package: perl
Status: deinstall ok config-files
Architecture: amd64
Version: 5.40.1-6
"""
"""As in /var/lib/dpkg/status."""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool of the development environment at the top of the repository."""
    program = ROOT / ".venv/bin" / command[0]
    return subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.mark.prove
def test_an_sbom_has_every_locked_package_and_keeps_to_the_schema(tmp_path: Path) -> None:
    locked, file = ROOT / "requirements/web.txt", tmp_path / "sbom.json"
    run("cyclonedx-py", "requirements", "--output-reproducible", "-o", file, locked)

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text()) is None
    made_of = {(one["name"], one["version"]) for one in json.loads(file.read_text())["components"]}
    assert made_of == set(re.findall(r"^([\w.-]+)==([^\s;]+)", locked.read_text(), re.MULTILINE))


def test_an_sbom_that_breaks_the_schema_is_noticed() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str('{"bomFormat": "CycloneDX"}') is not None


def test_every_image_has_its_sbom() -> None:
    dockerfile = (ROOT / "infra/docker/Dockerfile").read_text()
    images = re.findall(r"FROM scratch AS ([\w-]+)\n(.*?)(?=\nFROM |\Z)", dockerfile, re.DOTALL)
    assert {name for name, _ in images} == {"service", "backup"}
    for name, steps in images:
        [of] = re.findall(r"COPY --from=([\w-]*)sbom /build/sbom.json /app/sbom.json", steps)
        # What is installed there, and not what is locked: that has packages for other systems and other Pythons, too.
        assert f"COPY --from={of}dependencies /app/.venv /app/.venv" in steps, name
        [made] = re.findall(rf"FROM {of}dependencies AS {of}sbom\n(.*?)\n\n", dockerfile, re.DOTALL)
        assert re.search(r"cyclonedx-py environment .*/app/\.venv/bin/python .*/build/sbom\.py", made, re.DOTALL), name


@pytest.mark.prove
def test_the_sbom_of_an_image_has_all_that_is_in_it(tmp_path: Path) -> None:
    packages, dpkg = tmp_path / "packages.json", tmp_path / "status"
    run("cyclonedx-py", "requirements", "--output-reproducible", "-o", packages, ROOT / "requirements/uv.txt")
    dpkg.write_text(STATUS)
    text = run("python", ROOT / "infra/docker/sbom.py", packages, dpkg, LOCK).stdout

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = {one["name"]: one for one in json.loads(text)["components"]}
    assert "uv" in found
    assert found["python"]["version"] == platform.python_version()
    assert found["libssl3t64"]["purl"] == "pkg:deb/debian/libssl3t64@3.5.4-1~deb13u1?arch=amd64"
    assert "perl" not in found, "dpkg knows it, but it is not there"
    assert found["@noble/ed25519"]["purl"].startswith("pkg:npm/%40noble/ed25519@")
    shipped = re.findall(r"node_modules/((?:@[\w-]+/)?[\w.-]+)/", (ROOT / "services/web/build.mjs").read_text())
    assert shipped
    assert set(shipped) <= set(found)
    assert {"axe-core", "lightningcss"} & set(found) == set(), "these test and build the pages"


def test_insecure_code_is_found(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("eval(input())")
    options = re.findall(r"\$\(BIN\)/bandit (.*) -r ", MAKEFILE)[0].split()

    assert run("bandit", *options, "-r", tmp_path).returncode == 1


def test_a_licence_that_nobody_allowed_is_found() -> None:
    assert run("pip-licenses", "-p", "pydantic").returncode == 0
    refused = run("pip-licenses", "-p", "localstripe")  # GPL; only tests use it
    assert refused.returncode == 1
    assert "GPL" in refused.stdout + refused.stderr


def test_a_licence_of_an_npm_package_that_nobody_allowed_is_found() -> None:
    lock = json.loads(LOCK.read_text())
    assert refused(lock, allowed()) == []
    axe = lock["packages"]["node_modules/axe-core"]
    for licence in ("GPL-3.0-only", "(MIT OR GPL-3.0-only)", None):
        axe["license"] = licence
        assert refused(lock, allowed()) == [f"axe-core {axe['version']}: {licence}"]
    del axe["license"]
    assert refused(lock, allowed()) == [f"axe-core {axe['version']}: no licence"]
    assert "infra.npm_licences" in re.search(r"^scan:.*?\n\n", MAKEFILE, re.MULTILINE | re.DOTALL)[0]  # type: ignore[index]


def test_a_secret_is_found(tmp_path: Path) -> None:
    stripe, aws = "sk_live_" + 24 * "a1", "AKIA" + 16 * "Q"  # written so that this file has none
    planted = tmp_path / "planted.py"
    planted.write_text(f'url = "mongodb://souk:{"pass" + "word"}@db"\nstripe = "{stripe}"\naws = "{aws}"\n')

    found = list(found_in([str(planted)]))

    assert [line.split(":")[1] for line in found] == ["1", "2", "3"]
    assert (stripe in "".join(found), aws in "".join(found)) == (False, False)


def test_what_is_known_to_be_made_up_is_still_there() -> None:
    assert [file for file in MADE_UP if not (ROOT / file).exists()] == []
