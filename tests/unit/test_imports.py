"""Rules that import-linter cannot check: modules that are not packages, loggers, names on `sys.path`."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.fixtures.package import PROJECT, modules

DEPLOYED = ("imagefeed", "config", "ingest", "preprocess", "storage", "ops", "bootstrap.py", "function_app.py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("module", "above"),
    [
        ("bootstrap.py", ["ops.cli", "function_app", "local", "benchmarks", "tests"]),
        ("function_app.py", ["ops.cli", "local", "benchmarks", "tests"]),
    ],
)
def test_the_wiring_imports_nothing_above_it(module: str, above: list[str]) -> None:
    names = [f"{name}." for name in imports(PROJECT / module)]
    assert names
    assert [name for name in names if name.startswith(tuple(f"{place}." for place in above))] == []


def test_telemetry_knows_nothing_but_its_api() -> None:
    for name in imports(PROJECT / "config/telemetry.py"):
        assert name.split(".")[0] in {"imagefeed", "opentelemetry", *sys.stdlib_module_names}
        assert not name.startswith("opentelemetry.sdk")


def test_every_logger_of_ours_has_the_prefix_that_is_exported() -> None:
    assigned = re.compile(r"= (?:logging\.)?getLogger\((.*)\)")
    names = {name for path in modules(*DEPLOYED) for name in assigned.findall(path.read_text())}
    # A reader's program configures the package's own logger; nothing in the app reads.
    assert names == {'f"ingestion.{__name__}"', '"imagefeed"'}


def test_no_name_of_ours_is_a_name_of_theirs() -> None:
    """The worker puts the app's folder last on `sys.path`: a package of the same name would be imported instead."""
    ours = {path.relative_to(PROJECT).parts[0].removesuffix(".py") for path in modules()}
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    installed = {line.partition("==")[0] for line in lines}
    theirs = {
        name for name, owners in packages_distributions().items() if installed & {canonicalize_name(o) for o in owners}
    }
    assert {"imagefeed", "function_app", "tests"} <= ours
    assert {"azure", "numpy"} <= theirs
    assert not ours & (theirs | sys.stdlib_module_names)
