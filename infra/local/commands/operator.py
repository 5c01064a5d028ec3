"""`python -m infra.local.commands.operator`: make EMAIL an operator of the running stack; REVOKE=1 revokes the role."""

import sys

from infra.local.commands.running import NothingRuns, run_as
from infra.local.env import Env, Unusable, read


class OperatorEnv(Env):
    """Who gets the role, or loses it."""

    email: str | None = None
    revoke: bool = False


def main() -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    try:
        env = read(OperatorEnv)
        if env.email is None:
            raise Unusable("EMAIL is missing: make operator EMAIL=ola@souk.test")
        return run_as("auth", "auth.grant", env.email, *(["--revoke"] if env.revoke else []))
    except (NothingRuns, Unusable) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
