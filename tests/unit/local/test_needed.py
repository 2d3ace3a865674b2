"""Programs that are not Python packages: where they are found; a test is skipped by name if one is missing."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from local.servers import needed
from local.servers.needed import ProgramMissingError, find, need
from local.servers.server import Server, ftp_server, sftp_server
from tests.unit.local.test_setup import ROOT, program

type Start = Callable[[Path, Path], AbstractContextManager[Server]]

TESTS = """
import pytest
from local.servers.needed import ProgramMissingError

@pytest.fixture(scope="session")
def server():
    raise ProgramMissingError("odd-server", "apt-get install odd-package")

@pytest.mark.parametrize("number", range(3))
def test_that_needs_a_server(server, number): pass

def test_that_needs_a_tool():
    raise ProgramMissingError("odd-tool", "apt-get install tool-package")

def test_that_is_skipped_for_another_reason(): pytest.skip("it is Sunday")

def test_that_needs_nothing(): pass

def test_that_fails(): raise OSError("odd-tool is missing: no, it is a fault")
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with one folder of programs, `bin`, and nothing unpacked yet."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(needed, "_ALSO", (str(tmp_path / "sbin"),))
    monkeypatch.setattr(needed, "UNPACKED", tmp_path / "unpacked")
    return tmp_path


def test_a_program_of_the_system_comes_before_one_that_was_unpacked(machine: Path) -> None:
    assert find("sshd") is None
    program(machine / "unpacked/bin/sshd", ":")
    assert find("sshd") == str(machine / "unpacked/bin/sshd")
    program(machine / "sbin/sshd", ":")
    assert find("sshd") == need("sshd") == str(machine / "sbin/sshd")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("name", "how"), [("sshd", "apt-get install openssh-server"), ("proftpd", "make programs")], ids=str
)
def test_what_is_missing_is_said_with_what_to_type(name: str, how: str) -> None:
    with pytest.raises(ProgramMissingError, match=rf"^{name} is missing: {how}$"):
        need(name)


@pytest.mark.parametrize(
    ("start", "fallback"),
    [
        (partial(sftp_server, program="OpenSSH sshd"), sftp_server),
        (partial(ftp_server, program="vsftpd"), ftp_server),
    ],
)
def test_a_server_that_is_asked_for_by_name_is_no_other(machine: Path, start: Start, fallback: Start) -> None:
    (machine / "served").mkdir()
    with pytest.raises(ProgramMissingError), start(machine / "server", machine / "served"):
        pass
    with fallback(machine / "server", machine / "served") as server:
        assert server.kind in {"paramiko", "pyftpdlib"}


def test_tests_are_skipped_by_name_and_told_in_one_block(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.fixtures.programs", "-n", "1"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "CI": "true"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "1 failed, 1 passed, 5 skipped" in done.stdout
    block = done.stdout.partition("skipped for want of a program")[2].splitlines()[1:3]
    assert block == [
        "   3 tests: odd-server is missing: apt-get install odd-package",
        "   1 test: odd-tool is missing: apt-get install tool-package",
    ]
