"""All rows of the table, in its order."""

from benchmarks import decoding
from benchmarks.model import Row

ROWS: tuple[Row, ...] = (*decoding.ROWS,)
