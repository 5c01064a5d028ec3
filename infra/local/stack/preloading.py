"""`python -m infra.local.stack.preloading`: import once what every service needs, then be forked for each of them.

Of the second of CPU that a service takes to start, three quarters are imports. A forked child has them already. It runs
its module as `python -m` would, with an environment, a folder and an output of its own. Requests come as messages on
the socket that is this program's standard input; when that ends, so do the program and its children.
"""

import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import time
from typing import Any

import common
from infra.servers.process import die_with_parent

ALSO = ("httpx", "jinja2", "uvloop", "uvicorn.protocols.http.httptools_impl", "uvicorn.lifespan.on", "PIL.Image")
"""What several services import besides `common`. No module of a service: others are not to see it."""

LONGEST = 262_144
"""Bytes of a request."""


def preload() -> None:
    """Import all of `common`, and `ALSO`, and keep the collector from writing to the memory that children share."""
    for module in pkgutil.walk_packages(common.__path__, "common."):
        importlib.import_module(module.name)
    for name in ALSO:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def serve(control: socket.socket) -> list[str]:
    """Fork a child for every request. Returns only in a child: its module and arguments."""
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    with selectors.DefaultSelector() as selector, woken, wake:
        selector.register(control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                woken.recv(4096)
                _report_ended(control)
            if control in ready and (arguments := _forked(control)):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return arguments


def _report_ended(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        control.send(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode())


def _forked(control: socket.socket) -> list[str] | None:
    """Take a request. None in this process; in its child, the module and arguments."""
    message, files, _, _ = socket.recv_fds(control, LONGEST, 1)
    if not message:
        os._exit(0)  # There is nothing to tidy up, and somebody waits.
    [output] = files
    if pid := os.fork():
        os.close(output)
        control.send(json.dumps({"started": pid}).encode())
        return None
    return _become(json.loads(message), output)


def _become(request: dict[str, Any], output: int) -> list[str]:
    die_with_parent()
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    return [str(argument) for argument in request["arguments"]]


if __name__ == "__main__":
    preload()
    standard_input = socket.socket(fileno=0)
    sys.argv = serve(standard_input)
    standard_input.detach()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
