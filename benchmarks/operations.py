"""How many requests to storage something costs: counted where they leave, retries included."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_PARTS_OF_A_REQUEST = 8
"""Scheme, host, port, method, target, protocol, status, length; other lines tell of connections."""


class Requests(logging.Handler):
    """Counts what urllib3 says that it has sent; one line each, at DEBUG."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count a line that tells of a request."""
        self.count += len(record.args or ()) == _PARTS_OF_A_REQUEST


@contextmanager
def counted() -> Iterator[Requests]:
    """Count the requests of this process while the block runs."""
    log, handler = logging.getLogger("urllib3.connectionpool"), Requests()
    level, spreads = log.level, log.propagate
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield handler
    finally:
        log.removeHandler(handler)
        log.propagate = spreads
        log.setLevel(level)
