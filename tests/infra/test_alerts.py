"""Alerts: which of them fire, tested on data."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.infra.queries import ALERTS, INFRA, QUERIES, in_alert, judged
from tests.infra.workspace import Workspace, workspace

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
LIMITS = {
    "quietIntervals": "alertQuietIntervals",
    "silentMinutes": "alertSilentMinutes",
    "lagMinutes": "alertLagMinutes",
    "refusedMembers": "alertRefusedMembers",
}
"""Parameters of the module, by main.bicep's, which have the defaults."""
MAIN = (INFRA / "main.bicep").read_text()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    query: str
    measure: str
    limit: float
    window: timedelta
    dimensions: dict[str, tuple[str, ...]]


def read(text: str, name: str) -> str:
    (text,) = re.findall(rf"^    {name}: (.+)$", text, re.MULTILINE)
    return str(text).strip("'")


def read_alert(text: str) -> Alert:
    limit, wide = read(text, "limit"), read(text, "dimensions").replace("everySource", "name: 'Source' values: ['*']")
    if limit in LIMITS:
        (limit,) = re.findall(rf"^param {LIMITS[limit]} int = (\d+)$", MAIN, re.MULTILINE)
    days, hours, minutes = re.findall(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?", read(text, "window"))[0]
    dimensions = re.findall(r"name: '(\w+)'.*?values: \[(.+?)\]", wide)
    (file,) = re.findall(r"queries/([\w-]+\.kql)", text)
    return Alert(
        query=file,
        measure=read(text, "measure"),
        limit=float(limit),
        window=timedelta(days=int(days or 0), hours=int(hours or 0), minutes=int(minutes or 0)),
        dimensions={name: tuple(re.findall(r"'([^']+)'", values)) for name, values in dimensions},
    )


BLOCKS = re.split(r"^    id: '([\w-]+)'$", ALERTS.partition("\nresource ")[0], flags=re.MULTILINE)[1:]
RULES = {name: read_alert(text) for name, text in zip(BLOCKS[::2], BLOCKS[1::2], strict=True)}


@pytest.fixture
def logs() -> Iterator[Workspace]:
    with workspace() as empty:
        yield empty


def put(logs: Workspace, name: str, value: float, minutes_ago: float, **labels: str) -> None:
    """Insert a row as the exporter makes it."""
    at = NOW - timedelta(minutes=minutes_ago)
    logs.put("AppMetrics", at, Name=name, Sum=value, ItemCount=1, Max=value, Properties=labels)


def fired(logs: Workspace, name: str) -> set[tuple[str, ...]]:
    """Return the dimensions for which an alert fires: a short form of Azure's own evaluation."""
    rule = RULES[name]
    return {
        tuple(row[dimension] for dimension in rule.dimensions)
        for row in logs.ask(in_alert(QUERIES[rule.query]), NOW, rule.window)
        if row[rule.measure] > rule.limit
        and all(values == ("*",) or row[dimension] in values for dimension, values in rule.dimensions.items())
    }


def test_every_alert_of_the_module_is_read() -> None:
    assert len(RULES) == ALERTS.count("loadTextContent(") == ALERTS.count("    title: ")


@pytest.mark.parametrize("name", RULES)
def test_an_alert_measures_a_number_and_tells_apart_by_texts_that_its_query_gives(name: str) -> None:
    columns = judged()[RULES[name].query].columns
    assert columns[RULES[name].measure] == "real"
    assert {columns[dimension] for dimension in RULES[name].dimensions} <= {"string"}
    # A time in the answer would be used as the result's time, and move it out of the window.
    assert "datetime" not in columns.values()


@pytest.mark.parametrize("name", RULES)
def test_an_alert_keeps_to_what_azure_accepts(name: str) -> None:
    text = re.sub("//.*", "", QUERIES[RULES[name].query])
    assert not re.search(r"\b(union|search|take|limit|pivot|bag_unpack|narrow)\b|AggregatedValue", text)
    assert RULES[name].window <= timedelta(days=2)


def test_an_app_that_tells_nothing_is_noticed_for_each_source_and_as_such(logs: Workspace) -> None:
    assert fired(logs, "no-archive") == {("radar",), ("north",)}
    assert fired(logs, "heartbeat") == {()}


def test_an_app_that_tells_nothing_fires_nothing_else(logs: Workspace) -> None:
    assert {name for name in RULES if fired(logs, name)} == {"no-archive", "heartbeat"}


@pytest.mark.parametrize(("minutes", "dry"), [(29, False), (31, True)])
def test_a_source_is_dry_after_three_of_its_own_intervals(logs: Workspace, minutes: int, dry: bool) -> None:
    put(logs, "archives.copied", 1, minutes, source="radar")
    put(logs, "archives.copied", 1, 500, source="radar")
    put(logs, "archives.copied", 1, minutes, source="north")
    assert fired(logs, "no-archive") == ({("radar",)} if dry else set())


def test_an_archive_before_the_window_or_of_another_source_helps_nobody(logs: Workspace) -> None:
    put(logs, "archives.copied", 1, 60 * 49, source="radar")
    put(logs, "archives.copied", 1, 1, source="north")
    put(logs, "archives.copied", 1, 1, source="unknown")
    assert fired(logs, "no-archive") == {("radar",)}


@pytest.mark.parametrize(("minutes", "silent"), [(19, False), (21, True)])
def test_a_missing_run_of_reconcile_is_noticed(logs: Workspace, minutes: int, silent: bool) -> None:
    put(logs, "watch.runs", 1, minutes)
    put(logs, "watch.runs", 1, minutes + 5)
    put(logs, "archives.copied", 1, 1, source="radar")
    assert bool(fired(logs, "heartbeat")) is silent


def test_a_short_interval_allows_for_the_end_of_a_host(logs: Workspace) -> None:
    """INTERVAL=30s: three of them are over before a host that ended has ticked again and reported it."""
    query = QUERIES["no-archive.kql"].replace("'example', 10m", "'radar', 30s")
    put(logs, "archives.copied", 1, 14, source="radar")
    (row,) = logs.ask(query, NOW)
    assert 2.7 < row["Intervals"] < 3


def test_a_function_that_stands_still_at_one_look_may_have_just_started(logs: Workspace) -> None:
    for minutes, function in ((5, "process_batch"), (10, "process_batch"), (5, "poll_sources")):
        line = f"function.stands_still function={function} a message has waited"
        logs.put("AppTraces", NOW - timedelta(minutes=minutes), Message=line, SeverityLevel=3)
    assert fired(logs, "not-running") == {("process_batch",)}


def test_the_latest_that_was_told_of_deadlines_counts(logs: Workspace) -> None:
    put(logs, "source.near_deletion", 2, 10, source="radar")
    put(logs, "source.near_deletion", 0, 5, source="radar")
    put(logs, "source.near_deletion", 0, 10, source="north")
    put(logs, "source.near_deletion", 1, 5, source="north")
    assert fired(logs, "near-deletion") == {("north",)}


def test_bad_ends_are_told_apart_and_good_ones_are_none(logs: Workspace) -> None:
    for state in ("processed", "same", "superseded"):
        put(logs, "archives.terminal", 9, 5, source="radar", state=state)
    assert not fired(logs, "failed") | fired(logs, "expired")
    put(logs, "archives.terminal", 1, 50, source="radar", state="refused")
    put(logs, "archives.terminal", 1, 5, source="north", state="failed")
    put(logs, "archives.terminal", 1, 5, source="north", state="expired")
    assert fired(logs, "failed") == {("radar", "refused"), ("north", "failed")}
    assert fired(logs, "expired") == {("north", "expired")}


def test_refused_members_are_told_by_source_and_reason(logs: Workspace) -> None:
    put(logs, "members.refused", 2, 5, source="radar", reason="encrypted")
    put(logs, "members.refused", 1, 90, source="north", reason="encrypted")
    assert fired(logs, "refusals") == {("radar", "encrypted")}


def test_what_was_given_up_is_noticed_although_it_was_taken_at_once(logs: Workspace) -> None:
    put(logs, "messages.poison", 1, 20, queue="batches-poison")
    put(logs, "messages.poison", 0, 15, queue="batches-poison")
    put(logs, "messages.poison", 0, 15, queue="poll-poison")
    put(logs, "events.dead_letter", 3, 5)
    assert fired(logs, "given-up") == {("batches-poison",), ("dead-letter",)}


def test_deliveries_that_fail_again_and_again_are_noticed_and_single_ones_are_not(logs: Workspace) -> None:
    def fail(minutes_ago: float, outcome: str, subscription: str = "RAW-ARCHIVES") -> None:
        message = (
            f"Message:outcome={outcome}, latencyInMs=2635, id=1, httpStatusCode=InternalServerError, errorMessage=x"
        )
        at = NOW - timedelta(minutes=minutes_ago)
        logs.put("AegDeliveryFailureLogs", at, EventSubscriptionName=subscription, Message=message)

    for minutes in (1, 2, 3, 4, 5):
        fail(minutes, "GenericError")
        fail(minutes, "TimedOut")
    for minutes in (50, 60, 70, 80, 90, 100):
        fail(minutes, "Busy")
        fail(minutes / 10, "GenericError", "ANOTHER")
    assert fired(logs, "deliveries") == set()
    fail(6, "GenericError")
    assert fired(logs, "deliveries") == {("GenericError InternalServerError",)}


def test_results_that_are_gone_are_told_by_source_and_by_what_became_of_them(logs: Workspace) -> None:
    for blob, line in (
        ("radar/2026/a.zip", "results.lost blob={} what='shard missing: x'"),
        ("radar/2026/a.zip", "results.lost blob={} what='image rows missing: 3'"),
        ("radar/2026/b.zip", "results.lost blob={} what='shard missing: x'"),
        ("north/2026/c.zip", "results.lost blob={} what='shard missing: x'"),
        ("north/2026/c.zip", "results.beyond_repair blob={} reason='it was repaired 3 times'"),
        ("south/2026/d.zip", "results.more blob={} count=7"),
    ):
        logs.put("AppTraces", NOW - timedelta(minutes=5), Message=line.format(blob), SeverityLevel=2)
    assert fired(logs, "lost-results") == {("radar", "made again"), ("north", "beyond repair")}
    rows = logs.ask(in_alert(QUERIES["lost-results.kql"]), NOW)
    assert {row["Source"]: row["Archives"] for row in rows} == {"radar": 2, "north": 1}


def test_one_slow_archive_among_many_is_noticed(logs: Workspace) -> None:
    put(logs, "archive.lag.raw", 10.0, 5, source="radar")
    put(logs, "archive.lag.processed", 20.0, 5, source="radar")
    put(logs, "archive.lag.processed", 31 * 60.0, 5, source="radar")
    assert fired(logs, "slow") == {("radar", "processed")}
