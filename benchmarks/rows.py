"""All rows of the table, in its order."""

from benchmarks import archives, copying, decoding, storing
from benchmarks.model import Row

ROWS: tuple[Row, ...] = (*copying.ROWS, *decoding.ROWS, *archives.ROWS, *storing.ROWS)
