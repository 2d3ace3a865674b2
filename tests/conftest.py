"""Fixtures of all tests: servers, each started once, on a free port, when a test first requests it; no time limits."""

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures.azurite",
    "tests.fixtures.programs",
    "tests.fixtures.remote",
    "tests.fixtures.secrecy",
    "tests.fixtures.recorded",
]

# A slow machine is not an error, but Hypothesis would fail examples that take more than 200 ms, or a second to make.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
