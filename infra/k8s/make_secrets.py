"""`make secrets`: create every secret that the overlay for development names. Git ignores them."""

from pathlib import Path

import yaml

from infra.local.stack.keys import Keys
from infra.servers.server import write_private

OVERLAY = Path(__file__).parent / "overlays/dev"


def make_secrets(overlay: Path = OVERLAY) -> list[Path]:
    """Create the missing files of the overlay's secrets and session keys; return all of them."""
    generators = yaml.safe_load((overlay / "kustomization.yaml").read_text())["secretGenerator"]
    files = [overlay / entry.rpartition("=")[2] for generator in generators for entry in generator["files"]]
    for file in files:
        if file.suffix != ".pem":
            Keys(file.parent).password(file.name)
    public = overlay / "secrets/session-keys/JWT_PUBLIC_KEYS"
    public.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(public, Keys(overlay / "secrets/auth").public_keys)
    return [*files, public]


if __name__ == "__main__":
    made = make_secrets()
    print(f"{len(made)} secrets in {OVERLAY / 'secrets'}")
