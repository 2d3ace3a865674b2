"""Counts of an archive's or a batch's rows in the images table, made without reading any image."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TALLY_COLUMNS = ["PartitionKey", "RowKey", "part", "parts"]


@dataclass(slots=True)
class Tally:
    """Counts of rows."""

    images: int = 0
    refused: int = 0
    missing: int = 0
    """Number of rows that images should have but lack."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row to the counts."""
        if row["RowKey"].endswith("~refused"):
            self.refused += 1
            return
        self.missing -= 1
        if row.get("part") == 0:
            self.images += 1
            self.missing += max(1, int(row.get("parts") or 0))

    def fits(self, images: int, refused: int) -> bool:
        """Return True if the rows are exactly the expected ones."""
        return (self.images, self.refused, self.missing) == (images, refused, 0)


def tally(rows: Iterable[Mapping[str, Any]]) -> Tally:
    """Return the counts of rows."""
    counted = Tally()
    for row in rows:
        counted.add(row)
    return counted
