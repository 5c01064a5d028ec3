"""Fixtures and rules for every test of the repository."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.fixtures", "tests.support.stacks", "tests.support.distribution"]

settings.register_profile(
    "steady", deadline=None, derandomize=True, max_examples=75, suppress_health_check=list(HealthCheck)
)
settings.register_profile("explore", settings.get_profile("steady"), derandomize=False, max_examples=5_000)
settings.load_profile("steady")
