"""Describe the machine and the versions of software that were measured."""

import os
import platform
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.model import PeerMissingError
from local.servers.needed import ProgramMissingError, find, need

ROOT = Path(__file__).parents[1]
_PACKAGES = (
    "numpy",
    "pillow",
    "paramiko",
    "azure-storage-blob",
    "azure-data-tables",
    "opencv-python-headless",
    "pyvips-binary",
    "simplejpeg",
    "webdataset",
)
_PROGRAMS = {"rclone": ("rclone", "version"), "sftp": ("ssh", "-V"), "curl": ("curl", "--version")}
"""Programs that take part in benchmarks, and their commands that print the version."""


def program(name: str) -> Path:
    """Return a program's path. Raises PeerMissingError if it is missing."""
    try:
        return Path(_installed(name) or need(name))
    except ProgramMissingError as exc:
        raise PeerMissingError(str(exc)) from exc


def describe() -> dict[str, str]:
    """Return processor, cores, memory and system."""
    return {
        "processor": _first(r"model name\s*: (.+)", "/proc/cpuinfo") or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": _first(r'PRETTY_NAME="(.+)"', "/etc/os-release") or platform.platform(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, packages and programs that take part."""
    versions = {"python": platform.python_version(), **{name: _package(name) for name in _PACKAGES}}
    azurite = ROOT / "local" / "package.json"
    pinned = re.search(r'"azurite": "(.+?)"', azurite.read_text())
    return {**versions, "azurite": pinned[1] if pinned else "?", **_programs(_PROGRAMS)}


def commit() -> str:
    """Return the current commit, with a + if files other than results and documentation are changed."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        return "unknown"
    revision = _first_line("git", "rev-parse", "--short", "HEAD")
    ours = (".", ":!benchmarks/results", ":!docs", ":!README.md")
    changed = _first_line("git", "status", "--porcelain", "--", *ours) != "?"
    return f"{revision}+" if changed else revision


def _programs(programs: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    commands = {name: (_installed(program) or find(program), option) for name, (program, option) in programs.items()}
    return {name: _first_line(path, option) if path else "missing" for name, (path, option) in commands.items()}


def _installed(name: str) -> str | None:
    """Return the path of a program from Python's environment: its rclone is newer than those of distributions."""
    return shutil.which(name, path=sysconfig.get_path("scripts"))


def _first_line(*command: str) -> str:
    # OpenSSH prints its version to standard error.
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return re.split(r",| \(", lines[0])[0] if lines else "?"


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _first(pattern: str, file: str) -> str | None:
    match = re.search(pattern, Path(file).read_text()) if Path(file).exists() else None
    return match[1] if match else None
