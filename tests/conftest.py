"""Servers that the tests share; each is started once, on a free port, when a test first asks for it."""

pytest_plugins = [
    "tests.fixtures.azurite",
    "tests.fixtures.remote",
    "tests.fixtures.secrecy",
    "tests.fixtures.recorded",
]
