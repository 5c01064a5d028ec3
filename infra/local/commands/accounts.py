"""What whoever runs Souk does about the account of EMAIL: `python -m infra.local.commands.accounts operator`.

Or `reset-passkeys`. Each is a command of auth, run as auth of the running stack.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

from infra.local.commands.running import NothingRuns, run_as
from infra.local.env import Env, Unusable, read

COMMANDS: Mapping[str, str] = {"operator": "auth.grant", "reset-passkeys": "auth.reset_passkeys"}
"""The module of auth for each Make target."""


class AccountEnv(Env):
    """Whose account, and whether they lose the role instead of getting it."""

    email: str | None = None
    revoke: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    parser = argparse.ArgumentParser(prog="accounts")
    parser.add_argument("target", choices=COMMANDS)
    target = parser.parse_args(arguments).target
    try:
        env = read(AccountEnv)
        if env.email is None:
            raise Unusable(f"EMAIL is missing: make {target} EMAIL=ola@souk.test")
        revoke = ["--revoke"] if env.revoke and target == "operator" else []
        return run_as("auth", COMMANDS[target], env.email, *revoke)
    except (NothingRuns, Unusable) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
