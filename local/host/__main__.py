"""Run a function app on this machine, where Azure Functions Core Tools are not installed."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from local.host import console
from local.host.app import HostError, SingletonOptions, add_local_settings, load_app
from local.host.host import Host, Options
from local.host.intervals import Intervals
from local.host.worker import leave
from local.host.workers import HostEndsError

log = logging.getLogger(__name__)


def main() -> int:
    """Run until interrupted; 0 if all ended well."""
    options = _arguments()
    console.configure()
    try:
        return asyncio.run(_run(options))
    except (HostError, HostEndsError) as exc:
        # The last line of the log, where one looks first for the reason.
        log.error("%s", exc)  # noqa: TRY400 - the message says it all; a traceback of the host's would bury it
        return 1


async def _run(options: argparse.Namespace) -> int:
    folder = options.app.resolve()
    app = load_app(folder)
    add_local_settings(folder, os.environ)
    os.environ.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
    host = Host(app, os.environ, Options(port=options.port, intervals=_intervals(options, app.singleton)))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _stop, host)
    await host.run()
    return 0


def _stop(host: Host) -> None:
    if host.stopping.is_set():
        leave(130)  # asked twice
    log.info("Stopping: no new work, waiting for what runs (again to leave at once)")
    host.stopping.set()


def _intervals(options: argparse.Namespace, singleton: SingletonOptions) -> Intervals:
    real = Intervals(
        timer_lease=singleton.listener_lock_period.total_seconds(),
        timer_retry=singleton.listener_lock_recovery.total_seconds(),
    )
    try:
        intervals = real.scaled(options.scale)
    except ValueError as exc:
        raise HostError(f"--scale: {exc}") from exc
    given = {"shutdown": options.grace, "message_lease": options.lease}
    return replace(intervals, **{name: value for name, value in given.items() if value is not None})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.host",
        description="A small functions host over Microsoft's Python worker library, with the local endpoints of "
        "`func start`. Settings come from the environment and from local.settings.json.",
    )
    parser.add_argument("--app", type=Path, default=Path(), help="folder of function_app.py and host.json (default: .)")
    parser.add_argument("--port", type=int, default=7071, help="0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--scale", type=float, default=1, metavar="FACTOR",
        help="make every interval of the real host shorter by this factor, 4 at most (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--grace", type=float, metavar="SECONDS",
        help=f"how long running functions may go on after SIGINT or SIGTERM (default: {Intervals().shutdown:g})",
    )  # fmt: skip
    parser.add_argument(
        "--lease", type=float, metavar="SECONDS",
        help="how long a queue message is hidden while it runs, renewed at half "
        f"(default, as in Azure: {Intervals().message_lease:g})",
    )  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
