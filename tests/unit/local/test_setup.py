"""Set-up prints a message on machines that lack something, and prints nothing if nothing is missing."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from local.servers.needed import need

ROOT = Path(__file__).parents[3]
SCRIPTS = (
    ".ci/run",
    "benchmarks/setup.sh",
    "infra/setup-checkov.sh",
    "local/bin/imagefeed",
    "local/setup-programs.sh",
    "local/setup.sh",
)
TOOLS = ("cat", "cksum", "cmp", "cut", "dirname", "du", "mkdir", "rm", "sh", "tail", "tr")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone, as far as set-up sees it."""
    for name in ("local/setup.sh", "local/package-lock.json", "requirements.txt", "requirements-dev.txt"):
        copy = tmp_path / "clone" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
    return tmp_path / "clone"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A machine's only folder of programs: the usual tools, a disk with enough room, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    program(folder / "df", "echo 'disk 9000000 0 9000000 0% /'")
    return folder


def program(file: Path, script: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def set_up(clone: Path, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "HOME": str(path.parent / "home")}
    return subprocess.run(
        ["sh", "local/setup.sh"], cwd=clone, env=environment, capture_output=True, text=True, timeout=30, check=False
    )


PYTHON = """
case "$*" in
    "-c import sys"*) exit 0 ;;
    "-m venv .venv") mkdir -p .venv/bin && cat "$0" >.venv/bin/python && chmod +x .venv/bin/python ;;
    *"pip install"*) echo "$*" >>pip.log ;;
    *azurite*) mkdir -p .local/azurite && cat local/package-lock.json >.local/azurite/package-lock.json ;;
esac
"""


def python(path: Path, name: str = "python3.13", script: str = PYTHON) -> None:
    program(path / name, script)
    if not (path / "chmod").exists():
        (path / "chmod").symlink_to(shutil.which("chmod") or "chmod")


def test_without_any_python_it_says_how_to_get_one(clone: Path, path: Path) -> None:
    done = set_up(clone, path)

    assert done.returncode == 1
    assert "Python 3.13 is needed, and neither it nor uv was found" in done.stderr
    assert "astral.sh/uv" in done.stderr
    assert "pyenv install 3.13" in done.stderr


def test_an_older_python_and_a_shim_that_does_not_run_are_passed_over(clone: Path, path: Path) -> None:
    python(path, "python3", "exit 1")
    python(path, "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")

    assert "neither it nor uv was found" in set_up(clone, path).stderr


def test_a_python_of_pyenv_that_is_not_on_the_path_is_found(clone: Path, path: Path) -> None:
    python(path)
    (path.parent / "home/.pyenv/versions/3.13.9/bin").mkdir(parents=True)
    (path / "python3.13").rename(path.parent / "home/.pyenv/versions/3.13.9/bin/python3.13")

    assert set_up(clone, path).returncode == 0


def test_the_first_run_installs_and_the_second_says_and_does_nothing(clone: Path, path: Path) -> None:
    python(path)

    first, second = set_up(clone, path), set_up(clone, path)

    assert (first.returncode, first.stderr) == (0, "")
    assert "installing Python packages" in first.stdout
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_it_prints_the_line_that_puts_the_command_on_path(clone: Path, path: Path) -> None:
    python(path)
    assert ". .local/env" in set_up(clone, path).stdout
    # `make run` writes keys into it later.
    assert stat.S_IMODE((clone / ".local/env").stat().st_mode) == 0o600
    shell = subprocess.run(
        ["sh", "-c", '. .local/env && echo "$PATH"'], cwd=clone, capture_output=True, text=True, check=True
    )
    assert shell.stdout.startswith(f"{clone}/local/bin:")


def test_changed_requirements_are_installed_into_the_environment_that_is_there(clone: Path, path: Path) -> None:
    python(path)
    set_up(clone, path)
    with (clone / "requirements.txt").open("a") as requirements:
        requirements.write("another==1\n")

    again = set_up(clone, path)

    assert "installing Python packages" in again.stdout
    assert "making .venv" not in again.stdout
    assert (clone / "pip.log").read_text().count("-r requirements-dev.txt") == 2


def test_an_environment_of_an_older_python_is_made_anew(clone: Path, path: Path) -> None:
    python(path)
    set_up(clone, path)
    program(clone / ".venv/bin/python", "exit 1")

    assert "making .venv with" in set_up(clone, path).stdout


def test_packages_that_cannot_be_had_are_tried_again_next_time(clone: Path, path: Path) -> None:
    python(path, script=PYTHON.replace('echo "$*" >>pip.log', "echo 'could not connect'; exit 1"))

    first, second = set_up(clone, path), set_up(clone, path)

    for done in (first, second):
        assert done.returncode == 1
        assert "could not connect" in done.stderr
        assert "check the network and the proxy" in done.stderr


def test_a_full_disk_is_said_before_anything_is_written(clone: Path, path: Path) -> None:
    python(path)
    program(path / "df", "echo 'disk 9000000 0 300000 0% /'")

    done = set_up(clone, path)

    assert done.returncode == 1
    assert "the disk has 292 MB free" in done.stderr
    assert not (clone / ".venv").exists()


def test_what_is_there_already_needs_no_room_again(clone: Path, path: Path) -> None:
    python(path)
    set_up(clone, path)
    (path / "du").unlink()
    program(path / "du", "printf '1500000\\t%s\\n' \"$2\"")
    program(path / "df", "echo 'disk 9000000 0 400000 0% /'")
    (clone / "requirements.txt").write_text("another==1\n")

    assert set_up(clone, path).returncode == 0


def test_uv_is_asked_first(clone: Path, path: Path) -> None:
    python(path)
    uv = 'case "$*" in "venv --quiet --python 3.13 .venv") python3.13 -m venv .venv ;; *) exit 1 ;; esac'
    program(path / "uv", uv)

    assert "making .venv with uv" in set_up(clone, path).stdout


def test_without_a_network_for_uv_an_installed_python_is_taken(clone: Path, path: Path) -> None:
    python(path)
    program(path / "uv", "exit 1")

    done = set_up(clone, path)

    assert done.returncode == 0
    assert "(python3.13)" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_has_no_complaint(script: str) -> None:
    done = subprocess.run([need("shellcheck"), ROOT / script], capture_output=True, text=True, check=False)
    assert done.stdout == ""
