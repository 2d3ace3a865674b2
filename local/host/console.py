"""Log to the console in the format of `func start`."""

import logging
import sys
from datetime import UTC, datetime

_QUIET = ("azure.core", "azure.identity", "azure.monitor", "azure.storage", "aiohttp.access", "asyncio", "urllib3")
"""Libraries that log every call, which would hide the app's own lines."""


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname} {text}"
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return f"[{at}] {text}"


def configure(level: int = logging.INFO) -> None:
    """Send every log line to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Line())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # The worker library also returns its errors, and this host logs those that matter.
    logging.getLogger("azure.functions").setLevel(logging.CRITICAL)
