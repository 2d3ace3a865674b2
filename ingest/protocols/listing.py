"""Size limits of a listing, which is in memory as a whole, because a server may send one without end."""

from collections.abc import Iterable
from itertools import islice

from config.errors import SourceRefusedError

MAX_FILES = 200_000
"""Files per source. Measured: each takes at most 2.1 KB of memory while the listing is saved."""
MAX_BYTES = 64 * 2**20
"""Bytes of text in the listing of one folder."""


def whole[T](items: Iterable[T], folder: str, limit: int = MAX_FILES) -> list[T]:
    """Return all listed items. Raises SourceRefusedError if there are more than `limit`."""
    taken = list(islice(items, limit + 1))
    if len(taken) > limit:
        raise too_long(folder)
    return taken


def too_long(folder: str) -> SourceRefusedError:
    """Return the error for a listing that exceeds a limit."""
    return SourceRefusedError(
        f"list {folder!r}: it holds more than {MAX_FILES:,} files, or its listing more than {MAX_BYTES >> 20} MiB of "
        "text; set the source's URL to a folder with fewer files"
    )
