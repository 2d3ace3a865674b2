"""Reads table entities and converts values to and from their properties."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypedDict, Unpack

from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import EdmType, EntityProperty, TableClient, TableEntity

from imagefeed.azure_errors import azure_errors, each, error_code
from imagefeed.errors import StoreUnavailableError
from imagefeed.pages import read_answers, rows_in

Properties: TypeAlias = dict[str, Any]

_BEHIND_ALL = "~~~"


def find(table: TableClient, partition: str, row: str) -> TableEntity | None:
    """Return one row; None if it is absent."""
    with azure_errors(f"read {partition}/{row} from the table {table.table_name}"):
        try:
            entity = table.get_entity(partition, row)
        except ResourceNotFoundError as exc:
            if error_code(exc) == "TableNotFound":
                raise
            return None
    _require_keys(entity, partition, row, f"{row}\0")
    return entity


class Range(TypedDict, total=False):
    """The range of a partition's rows to read, the columns and the page size."""

    first: str
    end: str
    """The first key after the range."""
    select: list[str] | None
    page: int | None
    """Rows of one answer; None for the service's 1,000."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a query for rows, not parsed yet."""

    body: bytes
    partition: str
    first: str
    end: str

    def rows(self) -> Iterator[TableEntity]:
        """Yield the rows, each parsed on demand. Raises StoreUnavailableError, also for rows outside the range."""
        for row in rows_in(self.body):
            _require_keys(row, self.partition, self.first, self.end)
            yield row


def _require_keys(row: TableEntity, partition: str, first: str, end: str) -> None:
    came, key = row.get("PartitionKey"), row.get("RowKey")
    if came != partition or key is None or not first <= key < end:
        raise StoreUnavailableError(
            f"read {partition}/{first}: the answer has the row {came}/{key}, which was not requested"
        )


def scan(table: TableClient, partition: str, **of: Unpack[Range]) -> Iterator[TableEntity]:
    """Yield a partition's rows in key order; the rows of one answer are in memory at a time."""
    for answer in scan_answers(table, partition, **of):
        yield from answer.rows()


def scan_answers(table: TableClient, partition: str, **of: Unpack[Range]) -> Iterator[Answer]:
    """Yield the unparsed answers of the same query as `scan`, so that another thread can parse them."""
    query = "PartitionKey eq @partition and RowKey ge @first and RowKey lt @end"
    keys = {"partition": partition, "first": of.get("first", ""), "end": of.get("end", _BEHIND_ALL)}
    select = of.get("select")
    columns = None if select is None else list(dict.fromkeys(["PartitionKey", "RowKey", *select]))
    answers = read_answers(table, query, keys, select=columns, results_per_page=of.get("page"))
    return (Answer(body, **keys) for body in each(answers, f"read {partition} from the table {table.table_name}"))


def whole(number: int) -> EntityProperty:
    """Return an integer as a 64-bit property. Greater ones, which servers may send, become the nearest that fits."""
    return EntityProperty(max(-(2**63), min(int(number), 2**63 - 1)), EdmType.INT64)


def number(value: Any, default: int = 0) -> int:
    """Return the integer in a property of `whole` or in a 32-bit property; `default` if there is none."""
    return default if value is None else int(value.value if isinstance(value, EntityProperty) else value)


def moment(value: Any) -> datetime | None:
    """Return a time as a plain datetime instead of the SDK's subclass; None if it is none."""
    return None if value is None else datetime.fromisoformat(value.isoformat()).astimezone(UTC)


def text(value: str, limit: int = 1_000) -> str:
    """Return a text for a property, at most `limit` characters, with lone surrogates (invalid UTF-8) replaced."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")[:limit]
