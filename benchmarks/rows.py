"""All rows of the table, in its order."""

from benchmarks import archives, copying, decoding, lag, scale, starting, storing, watching
from benchmarks.model import Row

ROWS: tuple[Row, ...] = (
    *copying.ROWS,
    *decoding.ROWS,
    *archives.ROWS,
    *storing.ROWS,
    *lag.ROWS,
    *watching.ROWS,
    *starting.ROWS,
    *scale.ROWS,
)
