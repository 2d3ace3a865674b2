"""Microsoft's own language service for KQL, installed from npm in the pinned version; its findings about queries."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagefeed.errors import PermanentError
from local import npm

TOOLS = Path(__file__).parents[2] / ".local" / "test-tools"
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Judged:
    """The findings about a query, and the columns of its answer with their types."""

    said: tuple[str, ...]
    columns: Mapping[str, str]


def install() -> None:
    """Install it if it is missing. Raises PermanentError."""
    npm.install("the language service of KQL", _HERE / "package-lock.json", TOOLS)


def judge(queries: Mapping[str, str], tables: Mapping[str, str]) -> dict[str, Judged]:
    """Parse each query and bind its names to `tables`: a schema `(column: type, …)` for each name."""
    install()
    done = subprocess.run(
        [str(npm.NODE), str(_HERE / "kusto.js"), str(TOOLS / "package.json")],
        input=json.dumps({"tables": tables, "queries": queries}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: Judged(tuple(query["said"]), query["columns"]) for name, query in json.loads(done.stdout).items()}


if __name__ == "__main__":
    try:
        install()
    except PermanentError as exc:
        sys.exit(f"error: {exc}")
