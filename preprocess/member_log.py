"""Log lines about single members, limited per batch because an archive may have a hundred thousand bad members."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock

from preprocess.model import Batch

member_log = logging.getLogger(f"ingestion.{__name__}")

_MOST_LINES = 10
"""Lines per batch."""
_FIRST_BATCHES = 10
"""Batches of an archive that log single members. Later ones do not: every member's row has its reason."""


@contextmanager
def few_lines(batch: Batch) -> Iterator[None]:
    """Limit the lines about the batch's members in this context, and log at the end how many were left out."""
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
    """Filter that lets a number of lines pass and counts the others."""

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._one_by_one = Lock()
        self.held = 0

    def passes(self) -> bool:
        """Return whether to write a line. Safe for several threads, because a batch is decoded in several."""
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
