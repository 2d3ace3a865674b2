"""Imports point inwards: the cores of copying and preprocessing know neither Azure nor each other."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {
    "errors",
    "setting_text",
    "settings",
    "telemetry",
    "ingest",
    "preprocess",
    "storage",
    "status",
    "local",
    "function_app",
    "tests",
}
MAY_IMPORT = {
    "errors.py": set[str](),
    "setting_text.py": set[str](),
    "telemetry.py": set[str](),
    "settings.py": {"errors", "setting_text", "ingest.host_keys", "ingest.model", "ingest.stamp", "preprocess.model"},
    "ingest": {"errors", "telemetry", "ingest"},
    "preprocess": {"errors", "telemetry", "preprocess"},
    "storage": {"errors", "telemetry", "storage", "ingest.model", "preprocess.model"},
    "status": {"errors", "status", "storage", "ingest.gaps", "ingest.model", "ingest.watch", "preprocess.model"},
}
ENTRY_POINTS = {
    "storage/__main__.py": {"setting_text", "doctor.command", "status.words"},
    "storage/commands.py": {"status.words"},
    "storage/commands_ls.py": {"status.words"},
    "storage/open.py": {"settings"},
    "storage/replay_arguments.py": {"setting_text"},
    "storage/commands_replay.py": {
        "settings",
        "preprocess.event",
        "preprocess.leftovers",
        "preprocess.recipe",
        "preprocess.replay",
        "status.words",
    },
    "storage/commands_status.py": {"settings", "status"},
    "storage/commands_audit.py": {"setting_text", "settings", "ingest.stamp", "ingest.watch", "status.words"},
}
"""Commands are wired where they start, as the triggers are in function_app."""
KNOWS_AZURE = {"storage", "function_app.py"}


def modules(place: str) -> Iterator[Path]:
    path = ROOT / place
    yield from [path] if path.suffix else sorted(path.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def within(name: str, allowed: set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in allowed)


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_a_layer_imports_only_what_lies_further_in(place: str) -> None:
    for path in modules(place):
        allowed = MAY_IMPORT[place] | ENTRY_POINTS.get(path.relative_to(ROOT).as_posix(), set())
        ours = {name for name in imports(path) if name.split(".")[0] in OURS}
        assert not {name for name in ours if not within(name, allowed)}, path


@pytest.mark.parametrize("place", [*MAY_IMPORT, "function_app.py"])
def test_only_storage_and_the_triggers_know_azure(place: str) -> None:
    if place not in KNOWS_AZURE:
        for path in modules(place):
            assert not {name for name in imports(path) if name.split(".")[0] == "azure"}, path


def test_only_settings_reads_the_environment() -> None:
    for place in [*MAY_IMPORT, "function_app.py"]:
        for path in modules(place):
            reads = re.search(r"\bos\.environ|\bgetenv\b", path.read_text())
            assert not reads or path.name == "settings.py", path


def test_nothing_that_is_deployed_imports_what_is_not() -> None:
    for place in [*MAY_IMPORT, "function_app.py"]:
        for path in modules(place):
            assert not {name for name in imports(path) if name.split(".")[0] in {"local", "benchmarks", "tests"}}, path


def test_telemetry_knows_nothing_but_its_api() -> None:
    for name in imports(ROOT / "telemetry.py"):
        assert name.split(".")[0] in {"opentelemetry", *sys.stdlib_module_names}
        assert not name.startswith("opentelemetry.sdk")


def test_every_logger_of_ours_has_the_prefix_that_is_exported() -> None:
    for place in [*MAY_IMPORT, "function_app.py"]:
        for path in modules(place):
            for named in re.findall(r"= logging\.getLogger\((.*)\)", path.read_text()):
                assert named == 'f"ingestion.{__name__}"', path
