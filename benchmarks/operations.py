"""Count requests to storage where they are sent, including retries."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

_PARTS_OF_A_REQUEST = 8
"""Scheme, host, port, method, target, protocol, status, length; other log lines are about connections."""


class Requests(logging.Handler):
    """Counts the requests that urllib3 logs at DEBUG, by method and container, table or queue."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.kinds: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Number of all requests."""
        return self.kinds.total()

    def emit(self, record: logging.LogRecord) -> None:
        """Count a log line of a request."""
        if isinstance(record.args, tuple) and len(record.args) == _PARTS_OF_A_REQUEST:
            # The emulator's URLs begin with the account; URLs of table entities end with the keys.
            _account, _, place = urlsplit(str(record.args[4])).path.removeprefix("/").partition("/")
            self.kinds[f"{record.args[3]} {place.partition('/')[0].partition('(')[0]}"] += 1


@contextmanager
def counted() -> Iterator[Requests]:
    """Count the requests of this process while the block runs."""
    log, requests = logging.getLogger("urllib3.connectionpool"), Requests()
    level, spreads = log.level, log.propagate
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(requests)
    try:
        yield requests
    finally:
        log.removeHandler(requests)
        log.propagate = spreads
        log.setLevel(level)
