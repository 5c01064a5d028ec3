"""`python -m infra.secret_scan [file ...]`: say which files of the repository have what looks like a secret.

Without files, it looks at all that git knows. Exits with 1 if it finds one that is not in `MADE_UP`.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import transient_settings

TOO_EAGER = {"KeywordDetector", "HexHighEntropyString", "IPPublicDetector"}
"""They find the word "password", ids and the addresses of tests, some hundred of them."""

NO_SECRETS = ("requirements/", "services/web/package-lock.json")
"""Hashes of packages."""

MADE_UP = {
    "common/src/common/order_numbers.py": {"3ea6cf17f95e"},  # an alphabet
    "common/tests/test_settings.py": {"3c47812c0513", "f98b760f1641", "6d1c6801c678"},
    "docs/operations.md": {"112bb7913047", "5baa61e4c9b9"},
    "infra/k8s/components/backup/restore.yaml": {"112bb7913047"},
    "infra/k8s/components/tls/restore.yaml": {"112bb7913047"},
    "services/auth/src/auth/passkeys/codes.py": {"cbcdf156bb62"},  # an alphabet
    "services/auth/tests/test_settings.py": {"1348b145fa1a", "4027af966e63"},
    "services/notifications/src/notifications/settings.py": {"5baa61e4c9b9"},
    "services/web/assets/gate-door.js": {"3ea6cf17f95e", "6a40fbb3bd3c"},  # two alphabets
    "tests/k8s/conftest.py": {"3cbcd90adc4b"},
    "tests/local/test_cluster_backup.py": {"112bb7913047", "83a5b8a7b2e1"},
    "tests/local/test_stack.py": {"1a91d62f7ca6", "ff2f456a1a26"},
}
"""Files with made-up secrets, and the beginning of the SHA-1 of each: that of another one is not known."""


def found_in(files: Iterable[str]) -> Iterator[str]:
    """A line for each secret in these files that is not known to be made up."""
    kinds: Iterable[type] = get_mapping_from_secret_type_to_class().values()
    detectors = {kind.__name__ for kind in kinds} - TOO_EAGER
    secrets = SecretsCollection()
    with transient_settings({"plugins_used": [{"name": name} for name in sorted(detectors)]}):
        secrets.scan_files(*files)
    for file, secret in secrets:
        if secret.secret_hash[:12] not in MADE_UP.get(file, ()):
            yield f"{file}:{secret.line_number}: {secret.type} ({secret.secret_hash[:12]})"


def tracked() -> list[str]:
    """The files that git knows or would add, but for `NO_SECRETS`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in names if not name.startswith(NO_SECRETS)]


def main() -> int:
    """Return the exit code."""
    found = list(found_in(sys.argv[1:] or tracked()))
    print("\n".join(found) or "no secrets")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
