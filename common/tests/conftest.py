"""Real servers for the tests of `common`."""

from common.testing import *  # noqa: F403
