"""Post BlobCreated events for new blobs in a container of Azurite, which emits none."""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError

from local.emulator import DEVELOPMENT_STORAGE, written_out
from local.relay.delivery import Patience
from local.relay.relay import Relay
from local.relay.subscription import Pace, Subscription

log = logging.getLogger("local.relay")


def main() -> int:
    """Run until interrupted. Return 0, or 1 after an error."""
    options = _arguments()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    for chatty in ("azure", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        relay = _relay(options)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: relay.stop())
        if options.skip_existing:
            relay.skip_existing()
        relay.run()
    except (ValueError, OSError) as exc:
        return _failed(str(exc))
    except AzureError as exc:
        return _failed(f"cannot list the container {options.container}: {exc}; is Azurite running?")
    return 0


def _relay(options: argparse.Namespace) -> Relay:
    subscription = Subscription(
        container=options.container,
        to=options.to,
        prefix=options.prefix,
        suffix=options.suffix,
        without=options.without,
        dead_letter_container=options.dead_letter,
    )
    patience = Patience(max_attempts=options.max_attempts, scale=options.scale, timeout=options.timeout)
    pace = Pace(interval=options.interval, parallel=options.parallel, patience=patience)
    # In the environment the key does not appear in the list of processes.
    connection = options.connection or os.environ.get("DATA_STORAGE") or DEVELOPMENT_STORAGE
    return Relay(written_out(connection), subscription, pace=pace, state=options.state)


def _failed(message: str) -> int:
    log.error("relay.failed %s", message)
    return 1


def _webhook(text: str) -> str:
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a valid address of a webhook: give one such as http://127.0.0.1:7071/…"
        )
    return text


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.relay",
        description="Event Grid for Azurite: watches a container and posts a BlobCreated event, in Event Grid's own "
        "schema, for every new blob and every overwrite (not for new metadata) to a webhook, at least once. It waits "
        "for an answer, retries on Event Grid's schedule, dead-letters, and continues after a restart.",
        epilog="example: python -m local.relay --container raw --suffix .zip --state .relay.json --to "
        "'http://127.0.0.1:7071/runtime/webhooks/EventGrid?functionName=on_raw_archive'",
    )
    add = parser.add_argument
    add("--to", required=True, type=_webhook, metavar="URL", help="webhook that gets the events")
    add("--container", required=True, help="container to watch; it need not exist yet")
    add("--connection", help=f"connection string (default: the variable DATA_STORAGE, else {DEVELOPMENT_STORAGE})")
    add("--prefix", default="", help="only blobs whose name starts with this, ignoring case")
    add("--suffix", default="", help="only blobs whose name ends with this, ignoring case")
    add("--without", metavar="TEXT", help="only blobs whose name does not contain this, as with StringNotContains")
    add("--state", type=Path, metavar="FILE", help="state file: known blobs, undelivered events (default: none)")
    add("--skip-existing", action="store_true", help="send no events for blobs that exist at the very first start")
    add("--dead-letter", metavar="CONTAINER", help="store undeliverable events here (default: drop them)")
    add("--interval", type=float, default=0.5, metavar="SECONDS", help="time between listings (default: %(default)s)")
    add("--parallel", type=int, default=16, metavar="N", help="concurrent deliveries (default: %(default)s)")
    add("--timeout", type=float, default=30, metavar="SECONDS", help="wait for a response (default: %(default)s)")
    add("--max-attempts", type=int, default=30, metavar="N", help="attempts per event (default: %(default)s)")
    add("--scale", type=float, default=1, metavar="X",
        help="times of the retry schedule (10 s, 30 s, 1 min, ... within 24 h) are multiplied by it; "
        "0.1 suits local use (default: %(default)s)")  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
