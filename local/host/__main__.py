"""Run a function app on this machine, where Azure Functions Core Tools are not installed."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from local.host import console
from local.host.app import HostError, add_local_settings, load_app
from local.host.host import Host, Options
from local.host.queues import LEASE

log = logging.getLogger(__name__)


def main() -> int:
    """Run until interrupted; 0 if all ended well."""
    chosen = _arguments()
    console.configure()
    try:
        return asyncio.run(_run(chosen))
    except HostError as exc:
        log.error("%s", exc)  # noqa: TRY400 - the message says it all; a traceback of the host's would bury it
        return 1


async def _run(chosen: argparse.Namespace) -> int:
    folder = chosen.app.resolve()
    app = load_app(folder)
    add_local_settings(folder, os.environ)
    os.environ.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
    os.chdir(folder)
    host = Host(app, os.environ, Options(port=chosen.port, grace=chosen.grace, lease=chosen.lease))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _stop, host)
    code = 0
    try:
        await host.run()
    except HostError as exc:
        log.error("%s", exc)  # noqa: TRY400 - as above
        code = 1
    if not host.drained:
        _leave(code)
    return code


def _stop(host: Host) -> None:
    if host.stopping.is_set():
        _leave(130)  # asked twice
    log.info("Stopping: no new work, waiting for what runs (again to leave at once)")
    host.stopping.set()


def _leave(code: int) -> None:
    """End the process although threads still run: a normal exit would wait for them."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.host",
        description="A small functions host over Microsoft's Python worker library, with the local endpoints of "
        "`func start`. Settings come from the environment and from local.settings.json.",
    )
    parser.add_argument("--app", type=Path, default=Path(), help="folder of function_app.py and host.json (default: .)")
    parser.add_argument("--port", type=int, default=7071, help="0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--grace", type=float, default=10, metavar="SECONDS",
        help="how long running functions may go on after SIGINT or SIGTERM (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--lease", type=float, default=LEASE, metavar="SECONDS",
        help="how long a queue message is hidden while it runs, renewed at half; in Azure 600 (default: %(default)s)",
    )  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
