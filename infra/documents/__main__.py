"""`make documents`: write both documents where web serves them. With `release`, keep them as those of a release."""

import json
import sys
from pathlib import Path
from typing import Any

from infra.documents.asyncapi import asyncapi
from infra.documents.openapi import openapi
from infra.services import ROOT

SERVED = ROOT / "services/web/src/web/documents"
RELEASED = ROOT / "tests/contracts/released"


def documents() -> dict[str, str]:
    """The text that each file should have."""
    return {"openapi.json": _text(openapi()), "asyncapi.json": _text(asyncapi())}


def write(folder: Path) -> None:
    """Write both into a folder."""
    folder.mkdir(exist_ok=True)
    for name, text in documents().items():
        (folder / name).write_text(text)


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    write(SERVED)
    if sys.argv[1:] == ["release"]:
        write(RELEASED)
