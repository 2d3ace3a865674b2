"""Forget what runs on this machine have kept: Azurite's data, files on the sample servers, logs."""

import argparse
import shutil
import sys
from pathlib import Path

from imagefeed.errors import PermanentError
from local.run import write_environment
from local.system import LOCAL, alone

FOLDERS = ("run", "demo", "soak")
"""Of `make run` with the sample servers, `make demo` and `make soak`."""
OWN = "own"
"""Of `make run` with the user's own servers."""


def main() -> int:
    """Remove their folders; return 0 if all of them are gone, 2 if they are left as they are."""
    options = _arguments()
    folders = [LOCAL / name for name in (*FOLDERS, *[OWN] * options.own) if (LOCAL / name).exists()]
    try:
        if not options.yes:
            _ask(folders)
        for folder in folders:
            forget(folder)
    except PermanentError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    write_environment(LOCAL / "env", {})
    kept = f"; results of your own servers are kept in {LOCAL / OWN}: --own" if (LOCAL / OWN).exists() else ""
    sys.stdout.write(f"what ran here is forgotten; set-up and samples are as they were{kept}\n")
    return 0


def forget(folder: Path) -> None:
    """Remove what lies in a system's folder. Raises PermanentError while one runs there."""
    if folder.exists():
        with alone(folder):
            shutil.rmtree(folder)
        folder.with_name(f"{folder.name}.lock").unlink()


def _ask(folders: list[Path]) -> None:
    """Have a person agree. Raises PermanentError if none does, or there is none."""
    if not folders:
        return
    what = f"remove archives, results and logs in {', '.join(map(str, folders))}"
    if not sys.stdin.isatty():
        raise PermanentError(f"{what}: nobody is there to be asked; add --yes (`make reset ARGS=--yes`)")
    if input(f"{what}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise PermanentError(f"{what}: not agreed to, nothing is removed")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.reset",
        description="Forget what `make run`, `make demo` and `make soak` have kept here: archives, results, logs.",
    )
    parser.add_argument("--own", action="store_true", help="also what `make run` has kept of your own servers")
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
