"""Runs schemathesis against a stack."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.documents.__main__ import SERVED
from infra.services import ROOT

CONFIG = Path(__file__).parent / "schemathesis.toml"


@dataclass(frozen=True)
class Fuzzed:
    """What a run has found: how many calls, and what is wrong, empty if nothing is."""

    cases: int
    failures: str


async def fuzz(url: str, *options: str, token: str | None = None, known: Mapping[str, str] | None = None) -> Fuzzed:
    """Call every operation at the gateway with all checks; with a session if there is a `token`.

    `known` are ids of what exists, by the name of the parameter or field.
    """
    config = CONFIG.read_text()
    if token:
        config += f'\n[auth.openapi.bearer]\nbearer = "{token}"\n'
    program = Path(sys.executable).parent / "schemathesis"
    arguments = ["run", str(SERVED / "openapi.json"), "--url", url, "--no-color", *options]
    arguments += ["--exclude-path", "/live"]  # Its answer never ends; services/web/tests/test_live.py has it.
    env = {**os.environ, "PYTHONPATH": str(ROOT), "FUZZED_IDS": json.dumps(known or {})}
    with TemporaryDirectory() as folder:  # Not beside CONFIG: `make scan` would find the token.
        written = Path(folder) / CONFIG.name
        written.write_text(config)
        process = await asyncio.create_subprocess_exec(
            *(str(program), "--config-file", str(written), *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=env,
            cwd=ROOT,
        )
        told, _ = await process.communicate()
    text = told.decode()
    found = re.search(r"(\d[\d,]*) generated", text)
    cases = int(found[1].replace(",", "")) if found else 0
    return Fuzzed(cases, "" if process.returncode == 0 else text)
