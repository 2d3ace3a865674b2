"""Answers of the longer queries, tried on data in DuckDB as the alerts are."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import duckdb_kql
import pytest
from duckdb import DuckDBPyConnection

from tests.infra.queries import QUERIES

NOW = datetime(2026, 1, 2, 12)  # noqa: DTZ001 - DuckDB's times have no zone
VERSION = "0123abcd"


@pytest.fixture
def tables() -> Iterator[DuckDBPyConnection]:
    """The tables of spans and log lines, empty."""
    columns = "(TimeGenerated TIMESTAMP, OperationId VARCHAR, "
    with duckdb_kql.connect() as connection:
        for name in ("AppDependencies", "AppRequests"):
            connection.execute(f"CREATE TABLE {name} {columns} Name VARCHAR, DurationMs DOUBLE, Properties JSON)")
        connection.execute(f"CREATE TABLE AppTraces {columns} Message VARCHAR, SeverityLevel INTEGER)")
        connection.execute(f"CREATE TABLE AppExceptions {columns} OuterMessage VARCHAR, SeverityLevel INTEGER)")
        yield connection


def put(tables: DuckDBPyConnection, table: str, seconds_ago: int, *values: str | float) -> None:
    places = ", ".join("?" * (len(values) + 1))
    tables.execute(f"INSERT INTO {table} VALUES ({places})", [NOW - timedelta(seconds=seconds_ago), *values])


def answer(tables: DuckDBPyConnection, name: str) -> list[dict[str, object]]:
    rows = duckdb_kql.query(tables, QUERIES[name], query_now=NOW)
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.fetchall()]


def test_the_trace_of_an_archive_is_whole_and_in_order_and_has_no_other(tables: DuckDBPyConnection) -> None:
    put(tables, "AppDependencies", 9, "its", "copy", 1500.0, f'{{"source": "radar", "archive": "{VERSION}"}}')
    put(tables, "AppRequests", 8, "its", "process_batch", 300.0, "{}")
    blob = f"radar/2026/01/02/11/20260102T110000Z.{VERSION}.a.zip"
    put(tables, "AppDependencies", 7, "its", "batch", 250.0, f'{{"blob": "{blob}"}}')
    put(tables, "AppTraces", 6, "its", "batch.done images=3", 1)
    put(tables, "AppExceptions", 5, "its", "member.refused member=2", 3)
    put(tables, "AppTraces", 4, "another", f"batch.driven blob={blob}", 2)
    put(tables, "AppDependencies", 3, "other", "copy", 1.0, '{"archive": "99999999"}')
    put(tables, "AppTraces", 2, "other", "archive.raw", 1)
    rows = answer(tables, "archive.kql")
    assert [(row["Kind"], row["Seconds"]) for row in rows] == [
        ("span", 1.5),
        ("function", 0.3),
        ("span", 0.25),
        ("line", None),
        ("exception", None),
        ("line", None),
    ]


def test_errors_are_counted_by_kind_with_the_latest_of_each(tables: DuckDBPyConnection) -> None:
    put(tables, "AppTraces", 9, "a", "archive.failed source=radar", 2)
    put(tables, "AppTraces", 3, "b", "archive.failed source=north", 2)
    put(tables, "AppTraces", 2, "c", "archive.raw source=north", 1)
    put(tables, "AppExceptions", 1, "d", "batch.settled", 3)
    assert [(row["Level"], row["Line"], row["Lines"], row["OperationId"]) for row in answer(tables, "errors.kql")] == [
        ("error", "batch.settled", 1, "d"),
        ("warning", "archive.failed", 2, "b"),
    ]


def test_a_gap_that_is_told_again_is_one_and_ends_as_it_was_told_last(tables: DuckDBPyConnection) -> None:
    start, end = "2026-01-02T10:00:00+00:00", "2026-01-02T11:00:00+00:00"
    put(tables, "AppTraces", 600, "a", f"gap.found source=radar from={start} to=now", 2)
    put(tables, "AppTraces", 300, "b", f"gap.found source=radar from={start} to={end}", 2)
    put(tables, "AppTraces", 100, "b", "gap.more source=radar count=1", 2)
    assert [(row["Source"], row["From"], row["To"]) for row in answer(tables, "gaps.kql")] == [
        ("radar", NOW - timedelta(hours=2), end)
    ]
