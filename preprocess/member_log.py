"""Lines about single members: a hostile archive has a hundred thousand of them, so each batch may write but a few."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock

from preprocess.model import Batch

member_log = logging.getLogger(f"ingestion.{__name__}")

_MOST_LINES = 10
"""Of a batch."""
_FIRST_BATCHES = 10
"""Later ones of an archive say nothing of single members: its first tell what it is like, its rows tell all."""


@contextmanager
def few_lines(batch: Batch) -> Iterator[None]:
    """Let this context write a few lines about the batch's members, and tell at the end how many more there were."""
    gate = _Gate(_MOST_LINES if batch.number < _FIRST_BATCHES else 0)
    before = _gate.set(gate)
    try:
        yield
    finally:
        _gate.reset(before)
        if gate.held:
            line = "member.more blob=%s batch=%d lines=%d: the members' rows have each reason"
            member_log.warning(line, batch.archive.blob, batch.number, gate.held)


class _Gate:
    """Lets so many lines pass, and counts the others."""

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._one_by_one = Lock()
        self.held = 0

    def passes(self) -> bool:
        """Decide about a line; several threads may work at one batch."""
        with self._one_by_one:
            passes = self._left > 0
            self._left -= passes
            self.held += not passes
        return passes


_gate: ContextVar[_Gate | None] = ContextVar("gate", default=None)


def _decide(_record: logging.LogRecord) -> bool:
    gate = _gate.get()
    return gate is None or gate.passes()


member_log.addFilter(_decide)
