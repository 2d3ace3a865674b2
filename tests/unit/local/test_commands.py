"""`--help` of a command does nothing else; `reset` asks, and removes the named data."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.package import PROJECT

COMMANDS = (
    *("local.azurite", "local.demo", "local.docs", "local.host", "local.limits_page", "local.relay"),
    *("local.reset", "local.run", "local.soak", "benchmarks", "benchmarks.status_page", "ops.cli", "imagefeed.cli"),
)
CHILDREN = {"local.host.worker", "local.servers.parasftp", "local.servers.pyftpd", "benchmarks.null_service"}
"""Modules that only their parents start, with a configuration."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of links, in which a command finds other data than the developer's own."""
    for part in PROJECT.iterdir():
        if not part.name.startswith("."):
            (tmp_path / part.name).symlink_to(part)
    for name in ("run", "demo", "own"):
        (tmp_path / ".local" / name / "logs").mkdir(parents=True)
    return tmp_path


def files(project: Path) -> set[str]:
    return {str(path.relative_to(project)) for path in (project / ".local").rglob("*")}


def run(project: Path, module: str, *arguments: str, stdin: int = subprocess.DEVNULL) -> tuple[int, str]:
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-B", "-m", module, *arguments],
        cwd=project, env=environment, stdin=stdin, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_every_command_is_looked_at() -> None:
    folders = (PROJECT / name for name in ("local", "benchmarks", "ops", "imagefeed"))
    found = {
        path.relative_to(PROJECT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__main__")
        for folder in folders
        for path in folder.rglob("*.py")
        if '\nif __name__ == "__main__":' in path.read_text()
    }
    assert found == {*COMMANDS, *CHILDREN}


@pytest.mark.parametrize("module", COMMANDS)
def test_help_says_what_there_is_and_does_nothing(project: Path, module: str) -> None:
    before = files(project)
    status, said = run(project, module, "--help")
    assert status == 0, said
    assert said.startswith("usage: ")
    assert files(project) == before


@pytest.mark.parametrize(
    ("arguments", "gone"), [((), set()), (("--yes",), {"run", "demo"}), (("--yes", "--own"), {"run", "demo", "own"})]
)
def test_reset_removes_what_it_was_told_to_and_nothing_where_nobody_can_be_asked(
    project: Path, arguments: tuple[str, ...], gone: set[str]
) -> None:
    status, said = run(project, "local.reset", *arguments)
    assert status == (0 if gone else 2)
    assert {name for name in ("run", "demo", "own") if not (project / ".local" / name).exists()} == gone
    assert gone or "add --yes" in said


@pytest.mark.parametrize(("answer", "gone"), [("y", True), ("", False)])
def test_reset_asks_a_person(project: Path, answer: str, gone: bool) -> None:
    typed, terminal = pty.openpty()
    try:
        os.write(typed, f"{answer}\n".encode())
        status, said = run(project, "local.reset", stdin=terminal)
    finally:
        os.close(typed)
        os.close(terminal)
    assert "/.local/run" in said
    assert status == (0 if gone else 2)
    assert (project / ".local" / "run").exists() is not gone
