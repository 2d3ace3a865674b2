"""Find the servers and tools of needed.txt on this machine, or say how to install a missing one."""

import os
import shutil
from functools import cache
from pathlib import Path

UNPACKED = Path(__file__).parents[2] / ".local" / "programs"
"""Programs that local/setup-programs.sh unpacks without root: commands in `bin`, everything else below `root`."""
_LIST = Path(__file__).with_suffix(".txt")
_ALSO = ("/usr/sbin", "/usr/local/sbin", "/sbin")
"""Folders that are not on an ordinary user's PATH."""


class ProgramMissingError(Exception):
    """A program is not on this machine; the message says how to install it."""

    def __init__(self, name: str, how: str) -> None:
        super().__init__(f"{name} is missing: {how}")


@cache
def packages() -> dict[str, str]:
    """Return the Debian package of each listed program, after `unpack:` if it is never installed."""
    lines = (line.split() for line in _LIST.read_text().splitlines() if line and not line.startswith("#"))
    return {name: package for name, package, *_ in lines}


def find(name: str) -> str | None:
    """Return a program's absolute path; None if it is missing. The system's program wins over an unpacked one."""
    folders = (*os.get_exec_path(), *_ALSO, str(UNPACKED / "bin"))
    path = shutil.which(name, path=os.pathsep.join(folders))
    return path and str(Path(path).absolute())


def need(name: str) -> str:
    """Return a listed program's absolute path. Raises ProgramMissingError."""
    path = find(name)
    if path is None:
        package = packages()[name]
        how = "make programs" if package.startswith("unpack:") else f"apt-get install {package}"
        raise ProgramMissingError(name, how)
    return path
