"""Answers of the longer queries, tested on data."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from imagefeed.layout import smoke_blob
from tests.infra.queries import QUERIES
from tests.infra.workspace import Workspace, workspace

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
VERSION = "0123abcd"


@pytest.fixture
def logs() -> Iterator[Workspace]:
    with workspace() as empty:
        yield empty


def line(logs: Workspace, seconds_ago: int, operation: str, message: str, level: int = 1) -> None:
    at = NOW - timedelta(seconds=seconds_ago)
    logs.put("AppTraces", at, OperationId=operation, Message=message, SeverityLevel=level)


def error(logs: Workspace, seconds_ago: int, operation: str, message: str) -> None:
    at = NOW - timedelta(seconds=seconds_ago)
    logs.put("AppExceptions", at, OperationId=operation, OuterMessage=message, SeverityLevel=3)


def span(logs: Workspace, seconds_ago: int, operation: str, name: str, seconds: float, **attributes: str) -> None:
    at, table = NOW - timedelta(seconds=seconds_ago), "AppDependencies" if attributes else "AppRequests"
    logs.put(table, at, OperationId=operation, Name=name, DurationMs=seconds * 1000, Properties=attributes)


def test_the_trace_of_an_archive_is_whole_and_in_order_and_has_no_other(logs: Workspace) -> None:
    blob = f"radar/2026/01/02/11/20260102T110000Z.{VERSION}.a.zip"
    span(logs, 9, "its", "copy", 1.5, source="radar", archive=VERSION)
    span(logs, 8, "its", "process_batch", 0.5)
    span(logs, 7, "its", "batch", 0.25, blob=blob)
    line(logs, 6, "its", "batch.done images=3")
    error(logs, 5, "its", "member.refused member=2")
    line(logs, 4, "another", f"batch.driven blob={blob}", 2)
    span(logs, 3, "other", "copy", 1, archive="99999999")
    line(logs, 2, "other", "archive.raw")
    assert [(row["Kind"], row["Seconds"]) for row in logs.ask(QUERIES["archive.kql"], NOW)] == [
        ("span", 1.5),
        ("function", 0.5),
        ("span", 0.25),
        ("line", None),
        ("exception", None),
        ("line", None),
    ]


def test_errors_are_counted_by_kind_with_the_latest_of_each(logs: Workspace) -> None:
    line(logs, 9, "a", "archive.failed source=radar", 2)
    line(logs, 3, "b", "archive.failed source=north", 2)
    line(logs, 2, "c", "archive.raw source=north")
    error(logs, 1, "d", "batch.settled")
    rows = logs.ask(QUERIES["errors.kql"], NOW)
    assert [(row["Level"], row["Line"], row["Lines"], row["OperationId"]) for row in rows] == [
        ("error", "batch.settled", 1, "d"),
        ("warning", "archive.failed", 2, "b"),
    ]


def test_the_smoke_test_is_no_error(logs: Workspace) -> None:
    line(logs, 9, "a", f"archive.gone blob={smoke_blob()}", 2)
    line(logs, 8, "a", "archive.refused blob=smoke/by-hand.zip reason=x", 2)
    line(logs, 7, "b", "function.stands_still function=poll_source a message has waited: `doctor --smoke` tries it", 3)
    assert [row["Line"] for row in logs.ask(QUERIES["errors.kql"], NOW)] == ["function.stands_still", "archive.refused"]


def test_a_gap_that_is_told_again_is_one_and_ends_as_it_was_told_last(logs: Workspace) -> None:
    start, end = "2026-01-02T10:00:00+00:00", "2026-01-02T11:00:00+00:00"
    line(logs, 600, "a", f"finding.gap source=radar since={start} until=- name='' detail='x'", 2)
    line(logs, 300, "b", f"finding.gap_closed source=radar since={start} until={end} name='' detail='x'", 2)
    line(logs, 100, "b", "finding.gap_closed source=radar since=- until=- name='1 more' detail=''", 2)
    rows = logs.ask(QUERIES["gaps.kql"], NOW)
    assert [(row["Source"], row["From"].isoformat(), row["To"]) for row in rows] == [
        ("radar", "2026-01-02T10:00:00", end)
    ]


def volume(logs: Workspace) -> dict[tuple[str, str, str], tuple[float, float, float]]:
    rows = logs.ask(QUERIES["telemetry-volume.kql"], NOW)
    return {
        (row["Table"], row["Sender"], row["Kind"]): (row["PerHour"], row["BytesEach"], row["GigabytesPerMonth"])
        for row in rows
    }


def test_the_volume_of_telemetry_is_told_by_table_sender_and_kind_as_a_month_of_it(logs: Workspace) -> None:
    billed = {"_IsBillable": "True", "_BilledSize": 1000.0}
    for minute in range(601):
        at = NOW - timedelta(minutes=minute)
        logs.put("AppMetrics", at, Name="process.cpu.time", SDKVersion="azurefunctions:4.1_dotnet8", **billed)
        logs.put("AppMetrics", at, Name="process.cpu.count", SDKVersion="azurefunctions:4.1_dotnet8", **billed)
    logs.put("AppMetrics", NOW, Name="source.gaps", SDKVersion="py3.13:otel1.45", **billed)
    logs.put("AppTraces", NOW, Message="poll.done", SeverityLevel=1, SDKVersion="py3.13:otel1.45", **billed)
    logs.put("AppTraces", NOW, Message="free", SeverityLevel=2, _IsBillable="False", _BilledSize=1e9)
    logs.put("AppDependencies", NOW, Name="poll", SDKVersion="py3.13:otel1.45", **billed)
    logs.put("AppRequests", NOW, Name="poll_sources", SDKVersion="azurefunctions:4.1_dotnet8", **billed)
    logs.put("AppExceptions", NOW, ExceptionType="ValueError", SDKVersion="py3.13:otel1.45", **billed)
    volumes = volume(logs)
    assert volumes.pop(("AppMetrics", "host", "process")) == pytest.approx((120.2, 1000, 120.2 * 730 * 1000 / 1e9))
    assert volumes.keys() == {
        ("AppMetrics", "worker", "source"),
        ("AppTraces", "worker", "severity 1"),
        ("AppDependencies", "worker", "poll"),
        ("AppRequests", "host", "poll_sources"),
        ("AppExceptions", "worker", "ValueError"),
    }


def test_a_workspace_that_has_just_begun_is_not_scaled_up_beyond_an_hour(logs: Workspace) -> None:
    logs.put("AppRequests", NOW, Name="poll_sources", _IsBillable="true", _BilledSize=1000.0)
    assert volume(logs)["AppRequests", "worker", "poll_sources"] == pytest.approx((1, 1000, 0.00073))


def test_a_workspace_without_telemetry_has_no_volume(logs: Workspace) -> None:
    assert volume(logs) == {}
