"""Entities of tables: our values in and out of properties, and reading them."""

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
    """Read one row; None if it is absent."""
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
    """Which of a partition's rows to read, and how."""

    first: str
    end: str
    """Up to this key, but not including it."""
    select: list[str] | None
    page: int | None
    """Rows of one answer; 1,000 where this does not say fewer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a question for rows, not read yet."""

    body: bytes
    partition: str
    first: str
    end: str

    def rows(self) -> Iterator[TableEntity]:
        """Read the rows, each as it is asked for. Raises StoreUnavailableError, also where others were asked for."""
        for row in rows_in(self.body):
            _require_keys(row, self.partition, self.first, self.end)
            yield row


def _require_keys(row: TableEntity, partition: str, first: str, end: str) -> None:
    came, key = row.get("PartitionKey"), row.get("RowKey")
    if came != partition or key is None or not first <= key < end:
        raise StoreUnavailableError(
            f"read {partition}/{first}: the answer has the row {came}/{key}, which was not asked for"
        )


def scan(table: TableClient, partition: str, **of: Unpack[Range]) -> Iterator[TableEntity]:
    """Read a partition's rows in the order of their keys; one answer's are held in memory."""
    for answer in scan_answers(table, partition, **of):
        yield from answer.rows()


def scan_answers(table: TableClient, partition: str, **of: Unpack[Range]) -> Iterator[Answer]:
    """Ask for the same as `scan`, and leave reading the answers to another thread."""
    query = "PartitionKey eq @partition and RowKey ge @first and RowKey lt @end"
    keys = {"partition": partition, "first": of.get("first", ""), "end": of.get("end", _BEHIND_ALL)}
    select = of.get("select")
    columns = None if select is None else list(dict.fromkeys(["PartitionKey", "RowKey", *select]))
    answers = read_answers(table, query, keys, select=columns, results_per_page=of.get("page"))
    return (Answer(body, **keys) for body in each(answers, f"read {partition} from the table {table.table_name}"))


def whole(number: int) -> EntityProperty:
    """Write an integer as 64 bits; one that needs more, as servers may claim any, as the nearest that fits."""
    return EntityProperty(max(-(2**63), min(int(number), 2**63 - 1)), EdmType.INT64)


def number(value: Any, default: int = 0) -> int:
    """Read what `whole` wrote, or a plain integer."""
    return default if value is None else int(value.value if isinstance(value, EntityProperty) else value)


def moment(value: Any) -> datetime | None:
    """Read a time; the SDK's own subclass stays behind."""
    return None if value is None else datetime.fromisoformat(value.isoformat()).astimezone(UTC)


def text(value: str, limit: int = 1_000) -> str:
    """Make a text fit for a property: lone surrogates, which mark bytes that were no UTF-8, are replaced."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")[:limit]
