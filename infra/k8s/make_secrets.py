"""`make secrets`: create every secret that the overlay for development names. Git ignores them.

`make secrets KEYS=add` adds a session key, `KEYS=sign` signs with it; after each, the services have to start again.
"""

import sys
from pathlib import Path

import yaml

from infra.local.stack.keys import TICKETS, Keys
from infra.servers.server import write_private

OVERLAY = Path(__file__).parent / "overlays/dev"


def make_secrets(overlay: Path = OVERLAY) -> list[Path]:
    """Create the missing files of the overlay's secrets, and its session keys as they are now; return all of them."""
    generators = yaml.safe_load((overlay / "kustomization.yaml").read_text())["secretGenerator"]
    files = [overlay / entry.rpartition("=")[2] for generator in generators for entry in generator["files"]]
    for file in files:
        keys = Keys(file.parent)
        if file.name == TICKETS:
            _ = keys.ticket_pem
        elif file.suffix != ".pem":
            keys.password(file.name)
    public = overlay / "secrets/session-keys/JWT_PUBLIC_KEYS"
    public.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(public, Keys(overlay / "secrets/auth").public_keys)
    return [*files, public]


def rotate(step: str, overlay: Path = OVERLAY) -> None:
    """Take a step of a rotation: `add` a key, or `sign` with it. Raises `ValueError` if it cannot come now."""
    keys = Keys(overlay / "secrets/auth")
    if step == "add":
        keys.add_key()
    elif step == "sign" and keys.rotating:
        keys.sign_with_added_key()
        keys.finish_rotation()
    else:
        raise ValueError(f"KEYS={step} cannot come now: it is add, and then sign")


if __name__ == "__main__":
    try:
        for wanted in sys.argv[1:]:
            rotate(wanted)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    made = make_secrets()
    print(f"{len(made)} secrets in {OVERLAY / 'secrets'}")
