"""Changes of entities that are safe with concurrent writers."""

from collections.abc import Callable, Mapping
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableClient, TableEntity, UpdateMode

from imagefeed.azure_errors import azure_errors, error_code
from imagefeed.entities import Properties, find
from imagefeed.errors import StoreUnavailableError

type Decide = Callable[[TableEntity | None], Properties | None]

_MAX_TRIES = 100
_LOST_RACE = {404, 409, 412}


def change(table: TableClient, partition: str, row: str, decide: Decide, mode: UpdateMode = UpdateMode.MERGE) -> bool:
    """Merge `decide(row or None)` into a row if its ETag is unchanged, else retry; return False if it returns None.

    With `UpdateMode.REPLACE` the result replaces the row.

    If the row changed meanwhile, `decide` is called again. Of N concurrent writers one succeeds per round.
    """
    with azure_errors(f"change {partition}/{row} in the table {table.table_name}"):
        for _ in range(_MAX_TRIES):
            current = find(table, partition, row)
            properties = decide(current)
            if properties is None:
                return False
            if _written(table, {**properties, "PartitionKey": partition, "RowKey": row}, current, mode):
                return True
    raise StoreUnavailableError(f"change {partition}/{row} in the table {table.table_name}: too many writers at once")


def set_once(table: TableClient, partition: str, row: str, properties: Mapping[str, Any]) -> bool:
    """Set the properties that are not set yet; return False if all were set."""

    def missing(current: TableEntity | None) -> Properties | None:
        return {name: value for name, value in properties.items() if not current or current.get(name) is None} or None

    return change(table, partition, row, missing)


def _written(table: TableClient, entity: Properties, current: TableEntity | None, mode: UpdateMode) -> bool:
    try:
        if current is None:
            table.create_entity(entity)
        else:
            etag = current.metadata["etag"]
            table.update_entity(entity, mode, etag=etag, match_condition=MatchConditions.IfNotModified)
    except HttpResponseError as exc:
        if exc.status_code not in _LOST_RACE or error_code(exc) == "TableNotFound":
            raise
        return False
    return True
