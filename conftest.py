"""Every test of the repository may use the fixtures of `tests.support`."""

pytest_plugins = ["tests.support.fixtures"]
