"""Programs that are forked from one Python behave as if each had been started by itself."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.local.stack.preloaded import Forked, Preloaded
from infra.local.stack.program import Program, passed_on
from infra.servers.process import StartFailed
from tests.support.waiting import eventually, is_alive

pytestmark = [pytest.mark.servers, pytest.mark.skipif(sys.platform != "linux", reason="is used on Linux only")]
TELLS = [sys.executable, "-m", "tests.support.telling"]


@asynccontextmanager
async def started() -> AsyncIterator[Preloaded]:
    """A preloaded Python."""
    python = Preloaded(passed_on())
    await python.start()
    yield python
    await python.stop()


@pytest_asyncio.fixture(scope="module")
async def preloaded() -> AsyncIterator[Preloaded]:
    async with started() as python:
        yield python


@pytest_asyncio.fixture
async def ending() -> AsyncIterator[Preloaded]:
    """One that a test ends."""
    async with started() as python:
        yield python


@pytest_asyncio.fixture
async def held_up(ending: Preloaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forked:
    """A program whose preloaded Python hangs, which is noticed soon."""
    process = await waiting(ending, tmp_path)
    os.kill(ending.pid or 0, signal.SIGSTOP)
    monkeypatch.setattr("infra.local.stack.preloaded.HUNG_SECONDS", 0.1)
    return process


async def told(preloaded: Preloaded, folder: Path, *arguments: str, **env: str) -> dict[str, Any]:
    """What `tests.support.telling` says about itself."""
    process = await preloaded.run([*TELLS, *arguments], passed_on() | env, folder)
    said = json.loads(await process.stdout.readline())
    assert await process.wait() == int(env.get("CODE", "0"))
    return {**said, "rest": (await process.stdout.read()).decode(), "started": process.pid}


async def test_a_program_has_its_own_process_arguments_variables_folder_and_exit_code(
    preloaded: Preloaded, tmp_path: Path
) -> None:
    said = await told(preloaded, tmp_path, "one", "two", CODE="3", SECRET="hers", TZ="Asia/Tokyo")
    other = await told(preloaded, tmp_path)

    assert said["arguments"] == ["one", "two"]
    assert said["variables"] == passed_on() | {"CODE": "3", "SECRET": "hers", "TZ": "Asia/Tokyo"}
    assert (said["folder"], said["zone"], said["name"]) == (str(tmp_path), "+0900", "__main__")
    assert said["pid"] == said["session"] == said["started"] != os.getsid(0)
    assert said["rest"] == "and this to stderr\n"
    assert "SECRET" not in other["variables"]
    assert said["files"] == other["files"] == [0, 1, 2]


async def test_no_two_have_the_same_chance_or_make_the_same_id(preloaded: Preloaded, tmp_path: Path) -> None:
    one, two = [await told(preloaded, tmp_path) for _ in range(2)]

    for kind in ("id", "chance", "object_id", "secret"):
        assert one[kind] != two[kind], kind


async def test_what_needs_a_start_of_its_own_is_not_forked(preloaded: Preloaded) -> None:
    assert preloaded.may_start(TELLS, passed_on() | {"SECRET": "hers"})
    for env in ({"LD_PRELOAD": "libfaketime.so.1"}, {"PYTHONPATH": "/older"}):
        assert not preloaded.may_start(TELLS, passed_on() | env)
    assert not preloaded.may_start(["/older/python", "-m", "orders.main"], passed_on())


async def test_a_killed_program_is_known_to_have_ended(preloaded: Preloaded, tmp_path: Path) -> None:
    process = await waiting(preloaded, tmp_path)

    process.send_signal(signal.SIGKILL)

    assert await process.wait() == -signal.SIGKILL


async def test_who_gives_up_at_the_start_leaves_no_pipe_and_no_program_and_the_next_one_gets_its_own(
    preloaded: Preloaded, tmp_path: Path
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    starting = [asyncio.create_task(waiting(preloaded, tmp_path)) for _ in range(3)]
    await asyncio.sleep(0)

    for one in starting:
        one.cancel()
    await asyncio.wait(starting)

    assert (await told(preloaded, tmp_path, "next"))["arguments"] == ["next"]

    async def nothing_is_left() -> bool:
        assert (len(os.listdir("/proc/self/fd")), children_of(preloaded)) == (before, "")
        return True

    await eventually(nothing_is_left)


async def test_when_the_preloaded_python_dies_its_programs_do_and_the_next_starts_by_itself(
    ending: Preloaded, tmp_path: Path
) -> None:
    process = await waiting(ending, tmp_path)

    os.kill(ending.pid or 0, signal.SIGKILL)

    assert await process.wait() == -signal.SIGKILL

    async def gone() -> bool:
        return not is_alive(process.pid)

    await eventually(gone)
    assert not ending.may_start(TELLS, passed_on())
    lines: list[str] = []
    program = Telling(tmp_path, lines, ending)
    await program.start()
    assert await program.wait() == 0
    assert json.loads(lines[0])["variables"]["SECRET"] == "hers"


async def test_a_preloaded_python_that_hangs_keeps_no_program_from_being_started_again(
    ending: Preloaded, held_up: Forked
) -> None:
    held_up.send_signal(signal.SIGKILL)

    assert await held_up.wait() == -signal.SIGKILL
    assert not ending.may_start(TELLS, passed_on())


async def test_a_preloaded_python_that_hangs_starts_nothing_and_is_ended(
    ending: Preloaded, held_up: Forked, tmp_path: Path
) -> None:
    with pytest.raises(StartFailed, match="started nothing"):
        await ending.run(TELLS, passed_on(), tmp_path)

    assert await held_up.wait() == -signal.SIGKILL
    assert not ending.may_start(TELLS, passed_on())


class Telling(Program):
    """`tests.support.telling` as a program of a stack, which counts as started at once."""

    def __init__(self, folder: Path, lines: list[str], preloaded: Preloaded) -> None:
        env: Mapping[str, str] = {"SECRET": "hers"}
        super().__init__("telling", folder, 0, TELLS, env, lambda _, line: lines.append(line), preloaded)

    async def answers(self) -> bool:
        return True


def children_of(preloaded: Preloaded) -> str:
    """The process ids of what it has started."""
    return Path(f"/proc/{preloaded.pid}/task/{preloaded.pid}/children").read_text()


async def waiting(preloaded: Preloaded, folder: Path) -> Forked:
    """A program that has started, and waits."""
    process = await preloaded.run(TELLS, passed_on() | {"WAIT": "1"}, folder)
    await process.stdout.readline()
    return process
