"""The name of the device that a session is on: enough for its owner to know it again, and no more."""

import re

UNKNOWN = "unknown"

LONGEST_AGENT = 500
"""Characters of a User-Agent that are looked at."""

BROWSERS = (
    (r"Edg(?:e|A|iOS)?/", "Edge"),
    (r"OPR/|Opera", "Opera"),
    (r"SamsungBrowser/", "Samsung Internet"),
    (r"Firefox/|FxiOS/", "Firefox"),
    (r"Chrome/|CriOS/|Chromium/", "Chrome"),
    (r"Safari/", "Safari"),
    (r"^curl/", "curl"),
    (r"^python", "Python"),
)
"""Browsers pretend to be others: the first that matches is the one that it is."""

SYSTEMS = (
    (r"iPhone", "iPhone"),
    (r"iPad", "iPad"),
    (r"Android", "Android"),
    (r"Windows", "Windows"),
    (r"Mac OS X|Macintosh", "macOS"),
    (r"CrOS", "ChromeOS"),
    (r"Linux|X11", "Linux"),
)


def device_of(agent: str) -> str:
    """A short name of the device that sends this User-Agent, such as `Firefox, Linux`; `unknown` if it says nothing."""
    names = [_first(BROWSERS, agent[:LONGEST_AGENT]), _first(SYSTEMS, agent[:LONGEST_AGENT])]
    return ", ".join(name for name in names if name) or UNKNOWN


def _first(names: tuple[tuple[str, str], ...], agent: str) -> str:
    return next((name for pattern, name in names if re.search(pattern, agent)), "")
