"""`python -m bench.front`: what the front page of a seeded Souk weighs, and when it is there, in a real browser.

Every load is cold: a new visitor with an empty cache. Prints the medians for a phone and a desktop: bytes on the wire
by kind of file, LCP (largest contentful paint, in milliseconds after the request), and the worst CLS (cumulative layout
shift, without a unit), as in https://web.dev/articles/vitals. On the lines with `slow` the network is that of
Lighthouse's phones, 1.6 Mbit/s and 150 ms to the server and back, and the processor is four times slower.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from playwright.async_api import Browser, async_playwright

from infra.local.commands.seed import seed
from infra.local.stack.stack import Stack
from tests.support import browser
from tests.support.browsing import PHONE

SIZES: dict[str, dict[str, Any]] = {
    "phone": {**PHONE, "device_scale_factor": 2},
    "desktop": {"viewport": {"width": 1280, "height": 860}},
}
SLOW = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 0.75e6 / 8}
SLOWER = 4
QUIET = 1.0
"""Seconds without another file after which a page is complete."""

VITALS = """
window.vitals = {lcp: 0, cls: 0}
const watch = (type, take) =>
  new PerformanceObserver(list => list.getEntries().forEach(take)).observe({type, buffered: true})
watch("largest-contentful-paint", entry => { vitals.lcp = entry.startTime })
watch("layout-shift", entry => { if (!entry.hadRecentInput) vitals.cls += entry.value })
"""


@dataclass
class Load:
    """One cold load of a page."""

    bytes_of: Counter[str]
    """Bytes on the wire by kind of file, as the browser names it (`Document`, `Image`)."""
    files: int
    lcp: float
    cls: float


async def load(chromium: Browser, url: str, size: dict[str, Any], slow: bool) -> Load:
    """Open a page as a new visitor, and scroll to its end, so that the shifts below the fold count."""
    async with await chromium.new_context(**size) as context:
        page = await context.new_page()
        await page.add_init_script(VITALS)
        devtools = await context.new_cdp_session(page)
        await devtools.send("Network.enable")
        if slow:
            await devtools.send("Network.emulateNetworkConditions", SLOW)
            await devtools.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
        kinds: dict[str, str] = {}
        sizes: dict[str, int] = {}
        devtools.on("Network.responseReceived", lambda e: kinds.update({e["requestId"]: e["type"]}))
        devtools.on("Network.loadingFinished", lambda e: sizes.update({e["requestId"]: int(e["encodedDataLength"])}))
        await page.goto(url, wait_until="load")
        finished = -1
        while finished < len(sizes):  # Pictures in sight may come after the page.
            finished = len(sizes)
            await asyncio.sleep(QUIET)
        seen = Counter[str]()
        for request, count in sizes.items():
            seen[kinds.get(request, "Other")] += count
        files = len(sizes)
        lcp = await page.evaluate("vitals.lcp")  # It ends with the first scroll.
        await page.mouse.wheel(0, 20_000)
        await page.wait_for_load_state("load")
        return Load(seen, files, lcp, await page.evaluate("vitals.cls"))


def told(name: str, loads: list[Load]) -> str:
    """The medians in a line."""
    kinds = defaultdict(list)
    for one in loads:
        for kind, count in one.bytes_of.items():
            kinds[kind].append(count)
    parts = sorted(((statistics.median(counts), kind.lower()) for kind, counts in kinds.items()), reverse=True)
    whole = statistics.median(one.bytes_of.total() for one in loads)
    files = statistics.median(one.files for one in loads)
    return (
        f"{name:14} {whole / 1000:4.0f} KB in {files:.0f} files"
        f"  LCP {statistics.median(one.lcp for one in loads):5.0f} ms  CLS {max(one.cls for one in loads):.3f}"
        f"   {', '.join(f'{kind} {count / 1000:.0f}' for count, kind in parts)}"
    )


async def main() -> None:
    """Measure every size, with a fast network and a slow one."""
    parser = argparse.ArgumentParser(prog="bench.front", description=__doc__)
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--path", default="/")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with Stack(Path(folder), say=lambda *_: None) as stack, async_playwright() as playwright:
            await seed(stack)
            chromium = await playwright.chromium.launch(executable_path=browser.find(), args=browser.ARGUMENTS)
            for name, size in SIZES.items():
                for slow in (False, True):
                    loads = [await load(chromium, stack.url + options.path, size, slow) for _ in range(options.loads)]
                    print(told(f"{name}{', slow' if slow else ''}", loads), flush=True)
            await chromium.close()


if __name__ == "__main__":
    uvloop.run(main())
