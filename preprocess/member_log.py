"""Lines about single members: a hostile archive has a hundred thousand of them, so each batch may write but a few."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from preprocess.model import Batch

member_log = logging.getLogger(f"ingestion.{__name__}")

_MOST_LINES = 10
"""Of a batch."""
_FIRST_BATCHES = 10
"""Later ones of an archive say nothing of single members: its first tell what it is like, its rows tell all."""


@contextmanager
def few_lines(batch: Batch) -> Iterator[None]:
    """Let this thread write a few lines about the batch's members, and tell at the end how many more there were."""
    gate = _Gate(_MOST_LINES if batch.number < _FIRST_BATCHES else 0)
    member_log.addFilter(gate)
    try:
        yield
    finally:
        member_log.removeFilter(gate)
        if gate.held:
            told = "member.more blob=%s batch=%d lines=%d: the members' rows have each reason"
            member_log.warning(told, batch.archive.blob, batch.number, gate.held)


class _Gate(logging.Filter):
    """Lets so many lines of one thread pass, and counts the others."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most
        self._thread = threading.get_ident()
        self.held = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide about a line."""
        if record.thread != self._thread:
            return True
        passes = self._left > 0
        self._left -= passes
        self.held += not passes
        return passes
