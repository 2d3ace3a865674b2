"""Forget what runs on this machine have kept: Azurite's data, files on the sample servers, logs."""

import shutil
import sys
from pathlib import Path

from imagefeed.errors import PermanentError
from local.run import write_environment
from local.system import LOCAL, alone

FOLDERS = ("run", "own", "demo", "soak")
"""Of `make run`, with the sample servers and without, `make demo` and `make soak`."""


def main() -> int:
    """Remove their folders; 0 if all of them are gone."""
    try:
        for name in FOLDERS:
            forget(LOCAL / name)
    except PermanentError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    write_environment(LOCAL / "env", {})
    sys.stdout.write("what ran here is forgotten; set-up and samples are as they were\n")
    return 0


def forget(folder: Path) -> None:
    """Remove what lies in a system's folder. Raises PermanentError while one runs there."""
    if folder.exists():
        with alone(folder):
            shutil.rmtree(folder)
        folder.with_name(f"{folder.name}.lock").unlink()


if __name__ == "__main__":
    sys.exit(main())
