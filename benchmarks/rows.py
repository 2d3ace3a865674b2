"""All rows of the table, in its order."""

from benchmarks import copying, decoding, storing
from benchmarks.model import Row

ROWS: tuple[Row, ...] = (*copying.ROWS, *decoding.ROWS, *storing.ROWS)
