"""What a service is made of is written down, and `make scan` finds insecure code, unwanted licences and secrets."""

import json
import re
import subprocess
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from infra.secret_scan import MADE_UP, found_in
from infra.services import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool of the development environment at the top of the repository."""
    program = ROOT / ".venv/bin" / command[0]
    return subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603


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
    assert "COPY --from=sbom /build/sbom.json /app/sbom.json" in dockerfile
    [of_image], [of_make] = (
        re.findall(r"cyclonedx-py (requirements (?:--[\w-]+ ?)*)", text.replace("\\\n", "").replace("  ", ""))[:1]
        for text in (dockerfile, MAKEFILE)
    )
    assert of_image.split() == of_make.split()


def test_insecure_code_is_found(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("eval(input())")
    options = re.findall(r"\$\(BIN\)/bandit (.*) -r ", MAKEFILE)[0].split()

    assert run("bandit", *options, "-r", tmp_path).returncode == 1


def test_a_licence_that_nobody_allowed_is_found() -> None:
    assert run("pip-licenses", "-p", "pydantic").returncode == 0
    refused = run("pip-licenses", "-p", "localstripe")  # GPL; only tests use it
    assert refused.returncode == 1
    assert "GPL" in refused.stdout + refused.stderr


def test_a_secret_is_found(tmp_path: Path) -> None:
    stripe, aws = "sk_live_" + 24 * "a1", "AKIA" + 16 * "Q"  # written so that this file has none
    planted = tmp_path / "planted.py"
    planted.write_text(f'url = "mongodb://souk:{"pass" + "word"}@db"\nstripe = "{stripe}"\naws = "{aws}"\n')

    found = list(found_in([str(planted)]))

    assert [line.split(":")[1] for line in found] == ["1", "2", "3"]
    assert (stripe in "".join(found), aws in "".join(found)) == (False, False)


def test_what_is_known_to_be_made_up_is_still_there() -> None:
    assert [file for file in MADE_UP if not (ROOT / file).exists()] == []
