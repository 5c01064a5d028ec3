"""`python -m infra.local.commands.reset_passkeys`: remove the passkeys and codes of EMAIL in the running Souk."""

import sys

from infra.local.commands.running import NothingRuns, run_as
from infra.local.env import Env, Unusable, read


class ResetEnv(Env):
    """Who has lost them."""

    email: str | None = None


def main() -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    try:
        env = read(ResetEnv)
        if env.email is None:
            raise Unusable("EMAIL is missing: make reset-passkeys EMAIL=ola@souk.test")
        return run_as("auth", "auth.reset_passkeys", env.email)
    except (NothingRuns, Unusable) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
