"""Delete what local runs have stored: Azurite's data, files on the sample servers, logs."""

import argparse
import shutil
import sys
from pathlib import Path

from imagefeed.errors import PermanentError
from local.run import write_environment
from local.system import LOCAL, alone

FOLDERS = ("run", "demo", "soak")
"""Folders of `make run` with the sample servers, `make demo` and `make soak`."""
OWN = "own"
"""Folder of `make run` with the user's own servers."""


def main() -> int:
    """Delete the folders. Return 0, or 2 if the user declined or a system runs in one of them."""
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
    kept = f"; --own also deletes the results of your own servers in {LOCAL / OWN}" if (LOCAL / OWN).exists() else ""
    sys.stdout.write(f"data and logs of local runs are deleted; set-up and samples are kept{kept}\n")
    return 0


def forget(folder: Path) -> None:
    """Delete a system's folder. Raises PermanentError while a system runs there."""
    if folder.exists():
        with alone(folder):
            shutil.rmtree(folder)
        folder.with_name(f"{folder.name}.lock").unlink()


def _ask(folders: list[Path]) -> None:
    """Ask for confirmation. Raises PermanentError if the user declines or there is no terminal."""
    if not folders:
        return
    what = f"remove archives, results and logs in {', '.join(map(str, folders))}"
    if not sys.stdin.isatty():
        raise PermanentError(f"{what}: there is no terminal to confirm it; add --yes (`make reset ARGS=--yes`)")
    if input(f"{what}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise PermanentError(f"{what}: not confirmed, nothing was removed")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.reset",
        description="Delete what `make run`, `make demo` and `make soak` have stored here: archives, results, logs.",
    )
    parser.add_argument("--own", action="store_true", help="also delete the results of your own servers (`make run`)")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
