"""Telemetry of a run as Application Insights receives it: from the real exporter, set as in Azure, at a local one."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pytest

from config import telemetry
from imagefeed.model import State
from local.system import PROJECT, system
from storage.clients import Clients, connected
from tests.e2e.conftest import SETTINGS
from tests.e2e.test_stories import archive, drop, eventually, picture, settled
from tests.fixtures.ingestion import Envelope, Ingestion, ingestion
from tests.fixtures.secrecy import secrets_in
from tests.infra.queries import QUERIES, in_alert
from tests.infra.workspace import workspace

BROKEN = b"\xff\xd8\xff and no more"
BICEP = (PROJECT / "infra" / "modules" / "function-app.bicep").read_text()
AS_IN_AZURE = dict(re.findall(r"^  ((?:(?:PYTHON_)?APPLICATIONINSIGHTS|OTEL)_\w+): '([^'$]*)'$", BICEP, re.MULTILINE))
ALONE = {
    # The exporter's own statistics must not leave this machine, nor its timer send data that a call failed to flush.
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
    # On a slow machine no work may be redriven.
    "PIPELINE_REDRIVE_AFTER": "10m",
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """The telemetry that was sent, the bytes of the archives that caused it, and the final contents of storage."""

    sent: Ingestion
    bytes: int
    stored: str

    def metrics(self) -> list[tuple[str, float, Mapping[str, str]]]:
        """Return name, value and dimensions of every metric, without the exporter's counters of machine and process."""
        points = [(point, data) for data in self.sent.of("MetricData") for point in data["metrics"]]
        ours = [(p, data) for p, data in points if not p["name"].startswith(("\\", "_OTELRESOURCE_"))]
        return [(p["name"], p["value"], data.get("properties") or {}) for p, data in ours]

    def total(self, name: str, **dimensions: str) -> float:
        return sum(v for n, v, observed in self.metrics() if n == name and dimensions.items() <= observed.items())

    def spans(self) -> list[Envelope]:
        return self.sent.of("RemoteDependencyData")

    def lines(self) -> list[Envelope]:
        return self.sent.of("MessageData")

    def steps(self) -> dict[str, set[str]]:
        """Return the names of each archive's spans."""
        steps: dict[str, set[str]] = {}
        for span in self.spans():
            if version := span["properties"].get("archive"):
                steps.setdefault(version, set()).add(span["name"])
        return steps

    def orphans(self) -> list[str]:
        """Return trace lines without a span."""
        traces = {span["tags"]["ai.operation.id"] for span in self.spans()}
        return [line["message"] for line in self.lines() if line["tags"]["ai.operation.id"] not in traces]

    def is_whole(self) -> bool | None:
        """Return whether everything has arrived: spans and lines are sent separately, every few seconds."""
        ended = [names for names in self.steps().values() if names == {"copy", "plan", "batch"}]
        margin = "source.deletion_margin" in {name for name, *_ in self.metrics()}
        return (margin and len(ended) == 3 and not self.orphans()) or None


def everything(stored: Clients) -> str:
    """Return all results and the whole ledger as text."""
    tables = (stored.archives, stored.batches, stored.images)
    rows = [str(dict(row)) for table in tables for row in table.list_entities()]
    blobs = [stored.processed.download_blob(name).readall() for name in stored.processed.list_blob_names()]
    return "\n".join([*rows, *(blob.decode("latin-1") for blob in blobs)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Two archives that become images, one that is refused, and one that never becomes complete and so waits.

    Because of a second source, which is empty, the polls go through their queue.
    """
    folder = tmp_path_factory.mktemp("telemetry") / "system"
    whole = [archive(picture(1), picture(2)), archive(*(picture(seed) for seed in range(4)), BROKEN), archive(BROKEN)]
    with ingestion() as sent:
        settings = {**SETTINGS, **AS_IN_AZURE, **ALONE, "APPLICATIONINSIGHTS_CONNECTION_STRING": sent.connection}
        with (
            system(folder, sources={"north": "sftp", "south": "sftp"}, settings=settings, host="local") as running,
            connected(running.connection) as stored,
        ):
            drop(running, "north", archive(picture(3))[:-30])
            names = [drop(running, "north", content) for content in whole]
            ends = [eventually(partial(settled, stored, "north", name), "an end", running) for name in names]
            assert ends == ["processed", "processed", "refused"]
            observed = Run(sent=sent, bytes=sum(map(len, whole)), stored=everything(stored))
            eventually(observed.is_whole, "all of its telemetry", running)
            # A worker is killed when its host ends, with its unsent data.
            sent.close()
        yield observed


def test_every_metric_arrives_under_its_name_with_its_dimensions(run: Run) -> None:
    observed = {name: set(dimensions) for name, _, dimensions in run.metrics()}
    assert observed == {name: set(about.dimensions) for name, about in telemetry.METRICS.items()}


def test_everything_is_counted_exactly_once(run: Run) -> None:
    assert run.total("archives.copied", source="north") == 3
    assert run.total("archives.copied.bytes") == run.bytes
    assert run.total("archives.terminal", state=State.PROCESSED) == 2
    assert run.total("archives.terminal", state=State.REFUSED) == 1
    assert run.total("archives.terminal") == 3
    assert run.total("images.processed", source="north") == 6
    assert run.total("members.refused", reason="UnidentifiedImageError") == 2


def test_what_waits_is_told(run: Run) -> None:
    backlog = [v for name, v, of in run.metrics() if (name, of) == ("source.backlog", {"source": "north"})]
    assert backlog[-1] == 1
    (*_, margin) = [value for name, value, _ in run.metrics() if name == "source.deletion_margin"]
    assert 47 < margin < 48


def test_spans_have_our_names_and_come_once(run: Run) -> None:
    assert {span["name"] for span in run.spans()} == set(telemetry.SPANS)
    assert max(Counter(span["id"] for span in run.spans()).values()) == 1
    assert {span["success"] for span in run.spans()} == {True}


def test_one_trace_follows_each_archive_from_its_copy_to_its_batches(run: Run) -> None:
    traces: dict[str, set[str]] = {}
    for span in run.spans():
        if version := span["properties"].get("archive"):
            traces.setdefault(version, set()).add(span["tags"]["ai.operation.id"])
    whole = [version for version, names in run.steps().items() if names == {"copy", "plan", "batch"}]
    assert len(whole) == 3
    assert all(len(traces[version]) == 1 for version in whole)
    assert len({trace for version in whole for trace in traces[version]}) == 3


def test_the_polls_of_a_tick_share_its_trace_and_copies_are_tied_to_them(run: Run) -> None:
    """The host gives timers and queues no trace, so ours is in the messages."""
    ticks = {span["tags"]["ai.operation.id"] for span in run.spans() if span["name"] == "tick"}
    polled = Counter(span["tags"]["ai.operation.id"] for span in run.spans() if span["name"] == "poll")
    assert polled.keys() <= ticks
    assert max(polled.values()) == 2
    linked = [json.loads(span["properties"]["_MS.links"]) for span in run.spans() if span["name"] == "copy"]
    assert all(link["operation_Id"] in polled for links in linked for link in links)
    assert all(linked)


def test_neither_results_nor_ledger_know_of_traces(run: Run) -> None:
    assert "north" in run.stored
    ids = {span["tags"]["ai.operation.id"] for span in run.spans()} | {span["id"] for span in run.spans()}
    assert not [identifier for identifier in ids if identifier in run.stored]


def test_log_lines_are_ours_alone_come_once_and_belong_to_their_archives_traces(run: Run) -> None:
    lines = run.lines()
    assert all(line["properties"]["logger_name"].startswith("ingestion.") for line in lines)
    done = Counter(line["message"].split(" seconds=")[0] for line in lines if line["message"].startswith("batch.done"))
    assert len(done) == 4
    assert max(done.values()) == 1
    assert not run.orphans()


def test_lines_that_alerts_look_at_have_fields(run: Run) -> None:
    silent = [line for line in run.lines() if line["message"].startswith("finding.source_silent")]
    assert {line["properties"]["source"] for line in silent} <= {"north", "south"}


def test_nothing_else_is_sent_and_no_secret(run: Run) -> None:
    assert run.sent.of("RequestData") == run.sent.of("ExceptionData") == []
    assert secrets_in(run.sent.text()) == []


def test_the_queries_of_workbook_and_alerts_answer_what_was_done(run: Run) -> None:
    now = datetime.now(UTC)
    (version, *_) = [span["properties"]["archive"] for span in run.spans() if span["name"] == "batch"]
    with workspace() as logs:
        logs.take(json.loads(run.sent.text()))
        ask = {name: partial(logs.ask, in_alert(text), now) for name, text in QUERIES.items()}
        assert sum(row["Archives"] for row in ask["archives.kql"]()) == 3
        assert sum(row["Images"] for row in ask["images.kql"]()) == 6
        assert [row["Members"] for row in ask["refusals.kql"]()] == [2]
        assert [(row["State"], row["Archives"]) for row in ask["failures.kql"]()] == [("refused", 1)]
        assert {(row["Until"], row["Archives"]) for row in ask["slowest.kql"]()} == {("raw", 3), ("processed", 2)}
        assert {row["Source"] for row in ask["near-deletion.kql"]()} == {"north", "south"}
        assert {row["Source"]: row["Intervals"] < 1000 for row in ask["no-archive.kql"]()} == {
            "north": True,
            "radar": False,
        }
        assert [row["Minutes"] < 1000 for row in ask["heartbeat.kql"]()] == [True]
        assert {row["Waiting"] for row in ask["given-up.kql"]()} == {0}
        trace = logs.ask(QUERIES["archive.kql"].replace("0123abcd", version), now)
    assert {"copy", "plan", "batch"} <= {row["What"] for row in trace if row["Kind"] == "span"}
    assert [row for row in trace if row["What"].startswith("batch.done")]
