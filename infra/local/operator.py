"""`python -m infra.local.operator`: make EMAIL an operator of the running stack, or no longer with REVOKE=1."""

import os
import subprocess
import sys

from infra.local.lock import in_use
from infra.local.services import ROOT
from infra.local.stack import Stack
from infra.local.variables import Unusable, data_dir, gateway_port, servers


def main() -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    email = os.environ.get("EMAIL")
    if not email:
        print("say who: make operator EMAIL=ola@souk.test", file=sys.stderr)
        return 1
    if not in_use(data_dir()):
        print(f"nothing runs on {data_dir()}: start Souk with `make dev`, or name its DATA_DIR=...", file=sys.stderr)
        return 1
    try:
        stack = Stack(data_dir(), gateway_port(), servers=servers())
    except Unusable as error:
        print(error, file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "auth.grant", email, *(["--revoke"] if os.environ.get("REVOKE") else [])]
    return subprocess.run(command, env={**os.environ, **stack.variables("auth")}, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
