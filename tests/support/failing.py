"""A service with a bug that can be fixed: `python -m tests.support.failing` is orders, unable to finish paid orders.

Such messages become dead letters at once, until the file named by MENDED exists.
"""

import os
import runpy
import sys
from functools import wraps
from typing import Any

from common.bus.connection import Bus
from orders.consumers import consumers, finish_paid_order


@wraps(finish_paid_order)
async def broken(*arguments: Any, **more: Any) -> None:
    """Finish the order, once the bug is fixed."""
    if not os.path.exists(os.environ["MENDED"]):  # noqa: ASYNC240 - a look takes no time
        raise RuntimeError("not today")
    await finish_paid_order(*arguments, **more)


def hasty(bus: Bus, *arguments: Any) -> None:
    """Make a bus that dead-letters a message after the second attempt."""
    client, service, _, away = arguments
    made(bus, client, service, (0.05,), away)


if __name__ == "__main__":
    made = Bus.__init__
    Bus.__init__ = hasty  # type: ignore[assignment, method-assign]
    consumers.handlers = [
        (broken if handler is finish_paid_order else handler, events) for handler, events in consumers.handlers
    ]
    sys.argv = ["orders"]
    runpy.run_module("orders.main", run_name="__main__")
