"""How much a listing may hold: all of it is in memory at once, and a server may send one that does not end."""

from collections.abc import Iterable
from itertools import islice

from config.errors import SourceRefusedError

MAX_FILES = 200_000
"""Measured: each takes 2.1 KB at most, when the listing is saved."""
MAX_BYTES = 64 * 2**20
"""Of the text of one folder."""


def whole[T](items: Iterable[T], folder: str, limit: int = MAX_FILES) -> list[T]:
    """Take all that is listed. Raises SourceRefusedError where it is too much."""
    taken = list(islice(items, limit + 1))
    if len(taken) > limit:
        raise too_long(folder)
    return taken


def too_long(folder: str) -> SourceRefusedError:
    """Say that a listing has no end that could be waited for."""
    return SourceRefusedError(
        f"list {folder!r}: it holds more than {MAX_FILES:,} files, or {MAX_BYTES >> 20} MiB of them as text; "
        "name a folder with fewer in the source's URL"
    )
