"""Servers and tools of needed.txt: where they are on this machine, and how to get one that is missing."""

import os
import shutil
from functools import cache
from pathlib import Path

UNPACKED = Path(__file__).parents[2] / ".local" / "programs"
"""Where local/setup-programs.sh puts what it may not install: commands in `bin`, all the rest below `root`."""
_LIST = Path(__file__).with_suffix(".txt")
_ALSO = ("/usr/sbin", "/usr/local/sbin", "/sbin")
"""An ordinary user's PATH lacks these."""


class ProgramMissingError(Exception):
    """A program is not on this machine; the message says how to get it."""

    def __init__(self, name: str, how: str) -> None:
        super().__init__(f"{name} is missing: {how}")


@cache
def packages() -> dict[str, str]:
    """Name the Debian package of each listed program."""
    lines = (line.split() for line in _LIST.read_text().splitlines() if line and not line.startswith("#"))
    return {name: package for name, package, *_ in lines}


def find(name: str) -> str | None:
    """Give a program's absolute path, the system's before the one unpacked here; None if it is missing."""
    folders = (*os.get_exec_path(), *_ALSO, str(UNPACKED / "bin"))
    path = shutil.which(name, path=os.pathsep.join(folders))
    return path and str(Path(path).absolute())


def need(name: str) -> str:
    """Give a listed program's absolute path. Raises ProgramMissingError."""
    path = find(name)
    if path is None:
        raise ProgramMissingError(name, f"apt-get install {packages()[name]}")
    return path
