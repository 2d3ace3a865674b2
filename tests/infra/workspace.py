"""A Log Analytics workspace for tests: the tables of Application Insights in DuckDB, queried in KQL.

The queries are translated by duckdb-kql, which is not Microsoft's and does not know every function.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb_kql
from duckdb import DuckDBPyConnection

from tests.infra.queries import TABLES

_TYPES = {"string": "VARCHAR", "real": "DOUBLE", "int": "INTEGER", "bool": "BOOLEAN", "dynamic": "JSON"}
_TYPES["datetime"] = "TIMESTAMP"
_TABLES = {
    "MetricData": "AppMetrics",
    "MessageData": "AppTraces",
    "ExceptionData": "AppExceptions",
    "RemoteDependencyData": "AppDependencies",
    "RequestData": "AppRequests",
}


class Workspace:
    """The tables, which begin empty."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._tables = connection
        for name, schema in TABLES.items():
            columns = [part.split(":") for part in schema.strip("()").split(",")]
            definitions = ", ".join(f'"{column.strip()}" {_TYPES[kind.strip()]}' for column, kind in columns)
            connection.execute(f"CREATE TABLE {name} ({definitions})")

    def put(self, table: str, at: datetime, **values: object) -> None:
        """Add a row."""
        row = {"TimeGenerated": _bare(at)} | values
        cells = [json.dumps(value) if isinstance(value, Mapping) else value for value in row.values()]
        names = ", ".join(f'"{name}"' for name in row)
        self._tables.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", cells)

    def take(self, envelopes: Sequence[Mapping[str, Any]]) -> None:
        """File what the exporter sent, as Application Insights does."""
        for envelope in envelopes:
            data, at = envelope["data"]["baseData"], datetime.fromisoformat(envelope["time"])
            columns = _columns(data) | {"OperationId": envelope["tags"].get("ai.operation.id", "")}
            columns |= {"Properties": data.get("properties") or {}}
            self.put(_TABLES[envelope["data"]["baseType"]], at, **columns)

    def ask(self, query: str, now: datetime, within: timedelta = timedelta(days=2)) -> list[dict[str, Any]]:
        """Return a query's answer. Older rows are deleted first, like the time range of the caller."""
        for table in TABLES:
            self._tables.execute(f"DELETE FROM {table} WHERE TimeGenerated <= ?", [_bare(now - within)])
        answer = duckdb_kql.query(self._tables, query, query_now=_bare(now))
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]


@contextmanager
def workspace() -> Iterator[Workspace]:
    """Provide an empty workspace for the length of a block."""
    with duckdb_kql.connect() as connection:
        yield Workspace(connection)


def _bare(at: datetime) -> datetime:
    """Times in DuckDB have no zone."""
    return at.astimezone(UTC).replace(tzinfo=None)


def _columns(data: Mapping[str, Any]) -> dict[str, object]:
    if "metrics" in data:
        (point,) = data["metrics"]
        kept = {"Name": "name", "Sum": "value", "ItemCount": "count", "Min": "min", "Max": "max"}
        return {column: point.get(name) for column, name in kept.items()}
    if "exceptions" in data:
        return {"OuterMessage": data["exceptions"][0]["message"], "SeverityLevel": data.get("severityLevel")}
    if "message" in data:
        return {"Message": data["message"], "SeverityLevel": data.get("severityLevel")}
    return {"Name": data["name"], "DurationMs": _milliseconds(data["duration"]), "Success": data["success"]}


def _milliseconds(duration: str) -> float:
    """Read `days.hours:minutes:seconds`."""
    days, _, rest = duration.partition(".")
    hours, minutes, seconds = rest.split(":")
    return ((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60_000 + float(seconds) * 1000
