"""A program that says what it knows of itself: `python -m tests.support.telling`."""

import json
import os
import random
import secrets
import sys
import time

from bson import ObjectId

from common.ids import new_id


def known() -> dict[str, object]:
    """Return what differs from process to process."""
    return {
        "arguments": sys.argv[1:],
        "variables": dict(os.environ),
        "folder": os.getcwd(),
        "zone": time.strftime("%z"),
        "name": __name__,
        "pid": os.getpid(),
        "session": os.getsid(0),
        "files": [file for file in range(64) if os.path.exists(f"/proc/self/fd/{file}")],
        "id": new_id()[16:],
        "chance": random.random(),  # noqa: S311
        "object_id": str(ObjectId())[8:18],
        "secret": secrets.token_hex(8),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(known()) + "\n")
    sys.stdout.flush()
    sys.stderr.write("and this to stderr\n")
    if "WAIT" in os.environ:
        time.sleep(60)
    sys.exit(int(os.environ.get("CODE", "0")))
