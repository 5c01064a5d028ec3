"""Fixtures of the tests that use a browser."""

from tests.support.album import album
from tests.support.browsing import chromium, hasty_opened, opened, photo, size

__all__ = ["album", "chromium", "hasty_opened", "opened", "photo", "size"]
