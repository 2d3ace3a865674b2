"""Telemetry has the names that queries use, reports each thing once, and never delays a call."""

import json
import re
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import Gauge, Histogram, Sum

from config import telemetry
from imagefeed.layout import SMOKE
from imagefeed.model import RawArchive
from ingest.model import SourceSpec
from ingest.poll import poll
from preprocess.handlers import HandlerOutcome, handle_archive_created
from preprocess.model import Limits
from preprocess.zip import end
from tests.fakes.copying import FakeArchives, FakeLedger, FakeSourceStates
from tests.fakes.preprocessing import Request
from tests.fixtures.recorded import Recorded
from tests.unit.ingest.test_poll import START, Clock, make_zip
from tests.unit.ingest.test_poll import World as PollWorld
from tests.unit.preprocess.test_handlers import ONE_EACH, World, jpeg, pictures
from tests.unit.preprocess.zips import zipped

ROOT = Path(__file__).parents[3]
KINDS = {"counter": Sum, "histogram": Histogram, "gauge": Gauge}
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The example of https://www.w3.org/TR/trace-context/."""


def record_all() -> None:
    telemetry.copied("radar", size=100, received=60, seconds=2.0, lag=timedelta(seconds=5))
    telemetry.terminal("radar", "processed", timedelta(seconds=7))
    telemetry.preprocessed("radar", "p1", 4, {"LIMIT_PIXELS": 2})
    figures = [name.removeprefix("source.") for name in telemetry.METRICS if name.startswith("source.")]
    telemetry.source("radar", dict.fromkeys(figures, 3.0))
    telemetry.dead_letters({"batches": 1}, 2)
    telemetry.watch_ran()


def test_each_metric_has_its_name_kind_unit_and_dimensions(recorded: Recorded) -> None:
    record_all()
    sent = {metric.name: metric for metric in recorded.metrics()}
    assert set(sent) == set(telemetry.METRICS)
    for name, about in telemetry.METRICS.items():
        (point,) = sent[name].data.data_points
        assert isinstance(sent[name].data, KINDS[about.kind])
        assert (sent[name].unit, set(point.attributes or {})) == (about.unit, set(about.dimensions))


def test_the_page_of_telemetry_lists_every_metric() -> None:
    row = re.compile(r"^\| `([a-z_]+(?:\.[a-z_]+)+)` \| (\w+) \| (\S+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
    listed = {name: tuple(rest) for name, *rest in row.findall((ROOT / "docs/telemetry.md").read_text())}
    assert listed == {
        name: (about.kind, about.unit, ", ".join(about.dimensions) or "–", about.meaning)
        for name, about in telemetry.METRICS.items()
    }


def test_the_values_are_those_that_were_told(recorded: Recorded) -> None:
    record_all()
    values = recorded.values()
    assert values["archives.copied"] == [({"source": "radar"}, 1)]
    assert values["archives.copied.bytes"] == [({"source": "radar"}, 100)]
    assert values["archive.copy.rate"] == [({"source": "radar"}, 30)]
    assert values["archive.lag.raw"] == [({"source": "radar"}, 5)]
    assert values["archive.lag.processed"] == [({"source": "radar"}, 7)]
    assert values["archives.terminal"] == [({"source": "radar", "state": "processed"}, 1)]
    assert values["members.refused"] == [({"source": "radar", "reason": "LIMIT_PIXELS"}, 2)]
    assert values["messages.poison"] == [({"queue": "batches"}, 1)]
    assert values["events.dead_letter"] == [({}, 2)]


def test_the_smoke_test_is_in_no_metric(recorded: Recorded) -> None:
    telemetry.copied(SMOKE, size=100, received=60, seconds=2.0, lag=timedelta(seconds=5))
    telemetry.terminal(SMOKE, "failed", timedelta(seconds=7))
    telemetry.preprocessed(SMOKE, "p1", 4, {"LIMIT_PIXELS": 2})
    telemetry.source(SMOKE, {"backlog": 3.0, "gaps": 1.0})
    assert recorded.metrics() == []


def test_nothing_is_sent_twice_and_a_gauge_is_silent_until_it_is_set_again(recorded: Recorded) -> None:
    record_all()
    recorded.metrics()
    recorded.clear()
    assert recorded.metrics() == []
    telemetry.source("radar", {"backlog": 0.0})
    assert recorded.values() == {"source.backlog": [({"source": "radar"}, 0)]}


def test_a_copy_of_which_nothing_came_now_has_no_rate_and_a_clock_ahead_no_negative_lag(recorded: Recorded) -> None:
    telemetry.copied("radar", size=100, received=0, seconds=2.0, lag=timedelta(seconds=-5))
    assert "archive.copy.rate" not in recorded.values()
    assert recorded.values()["archive.lag.raw"] == [({"source": "radar"}, 0)]


def test_a_call_sends_its_metrics_before_it_ends_and_a_quiet_one_sends_nothing(recorded: Recorded) -> None:
    with telemetry.call(CALLER):
        pass
    assert recorded.exporter.exports == 0
    with telemetry.call(CALLER):
        telemetry.watch_ran()
    assert (recorded.exporter.exports, recorded.exporter.sent[0].name) == (1, "watch.runs")
    with telemetry.call(CALLER):
        pass
    assert recorded.exporter.exports == 1


def test_a_failed_call_sends_its_metrics_too(recorded: Recorded) -> None:
    def fail() -> None:
        with telemetry.call(CALLER):
            telemetry.watch_ran()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert recorded.exporter.exports == 1


def test_an_endpoint_that_hangs_holds_no_call_up(recorded: Recorded) -> None:
    recorded.exporter.free.clear()
    telemetry.watch_ran()
    telemetry.flush(within=0.01)
    assert recorded.exporter.exports == 0
    recorded.exporter.free.set()
    for thread in threading.enumerate():
        if thread.name == "telemetry-flush":
            thread.join()
    assert recorded.exporter.exports == 1


def test_an_endpoint_that_hangs_gathers_no_threads(recorded: Recorded) -> None:
    recorded.exporter.free.clear()
    for _ in range(5):
        telemetry.watch_ran()
        telemetry.flush(within=0.01)
    sending = [thread for thread in threading.enumerate() if thread.name == "telemetry-flush"]
    recorded.exporter.free.set()
    for thread in sending:
        thread.join()
    assert len(sending) == 1
    telemetry.flush()
    assert recorded.exporter.exports == 2


def test_a_call_goes_on_in_its_callers_trace_and_leaves_it(recorded: Recorded) -> None:
    with telemetry.call(CALLER), telemetry.span("poll", source="radar"):
        traceparent = telemetry.traceparent()
    assert traceparent is not None
    assert traceparent.split("-")[1] == CALLER.split("-")[1]
    assert traceparent != CALLER
    assert not trace.get_current_span().get_span_context().is_valid
    (span,) = recorded.spans()
    assert (span.name, dict(span.attributes or {})) == ("poll", {"source": "radar"})


def test_work_of_another_trace_goes_on_there_and_is_linked_to_where_it_was_done(recorded: Recorded) -> None:
    with telemetry.call(CALLER), telemetry.span("copy", root=True):
        copy = telemetry.traceparent()
    with telemetry.call(CALLER), telemetry.span("plan", of=copy):
        pass
    first, second = recorded.spans()
    assert first.parent is None
    assert first.context.trace_id == second.context.trace_id != int(CALLER.split("-")[1], 16)
    assert second.parent is not None
    assert second.parent.span_id == first.context.span_id
    assert [f"{link.context.trace_id:032x}" for span in (first, second) for link in span.links] == [
        CALLER.split("-")[1]
    ] * 2


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("nonsense", ["", "x", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"])
def test_a_trace_that_cannot_be_read_costs_nothing_but_the_tie(nonsense: str) -> None:
    with telemetry.call(nonsense), telemetry.span("batch", of=nonsense):
        assert telemetry.traceparent() is not None


def test_what_nobody_records_leaves_no_trace_in_names_and_messages(recorded: Recorded) -> None:
    recorded.switch.on = False
    with telemetry.call(CALLER), telemetry.span("copy"):
        assert telemetry.traceparent() is None


def test_exceptions_mark_a_span_as_failed_and_are_told_by_the_log_alone(recorded: Recorded) -> None:
    with pytest.raises(ValueError, match="no"), telemetry.span("batch"):
        raise ValueError("no")
    (span,) = recorded.spans()
    assert not span.status.is_ok
    assert not span.events


class TestPolling:
    def test_each_copy_is_a_trace_of_its_own_that_is_tied_to_the_poll_whichever_worker_made_it(
        self, recorded: Recorded
    ) -> None:
        world = PollWorld()
        world.spec = SourceSpec(name="radar", block_size=2**20, max_connections=3)
        for number in range(6):
            world.put(f"{number}.zip")
        world.tick()
        (poll_span,) = recorded.spans("poll")
        copies = recorded.spans("copy")
        assert len({span.context.trace_id for span in copies}) == 6
        assert all([link.context for link in span.links] == [poll_span.context] for span in copies)
        assert {len(str((span.attributes or {})["archive"])) for span in copies} == {8}

    def test_what_was_copied_is_counted_once_and_what_waits_is_told(self, recorded: Recorded) -> None:
        world = PollWorld()
        size = len(world.put("a.zip", age=timedelta(seconds=90)))
        world.put("broken.zip", make_zip()[:-9])
        world.tick()
        values = recorded.values()
        assert values["archives.copied"] == [({"source": "radar"}, 1)]
        assert values["archives.copied.bytes"] == [({"source": "radar"}, size)]
        # Two seconds to settle are added.
        assert values["archive.lag.raw"] == [({"source": "radar"}, 92)]
        assert values["source.backlog"] == [({"source": "radar"}, 1)]

    def test_a_quiet_tick_records_nothing_that_had_to_be_sent(self, recorded: Recorded) -> None:
        server, clock = PollWorld().server, Clock()
        spec = SourceSpec(name="radar")
        with telemetry.call(CALLER):
            fakes = FakeSourceStates(), FakeArchives(), FakeLedger()
            poll(spec, server, *fakes, zip_end=end, now=clock.now, wait=clock.wait)
        assert clock.now() == START
        assert recorded.exporter.exports == 0

    def test_a_poll_that_was_asked_for_belongs_to_the_trace_of_who_asked(self, recorded: Recorded) -> None:
        server, clock, asked = PollWorld().server, Clock(), f"00-{'1' * 32}-{'2' * 16}-01"
        with telemetry.call(CALLER):
            poll(
                SourceSpec(name="radar"), server, FakeSourceStates(), FakeArchives(), FakeLedger(),
                zip_end=end, now=clock.now, wait=clock.wait, traceparent=asked,
            )  # fmt: skip
        (span,) = recorded.spans()
        assert f"{span.context.trace_id:032x}" == "1" * 32
        assert [f"{link.context.trace_id:032x}" for link in span.links] == [CALLER.split("-")[1]]


class TestPreprocessing:
    def test_plan_and_batches_belong_to_the_archives_trace(self, recorded: Recorded) -> None:
        world = World()
        archive = world.raw.add(pictures(3))
        copied = f"00-{'1' * 32}-{'2' * 16}-01"
        world.raw.blobs[archive.blob] = (_traced(world, archive.blob, copied), world.raw.blobs[archive.blob][1])
        p = world.process(sizes=ONE_EACH)
        with telemetry.call(CALLER):
            assert handle_archive_created(archive.blob, p) is HandlerOutcome.QUEUED
        world.work(p)
        assert [span.name for span in recorded.spans()] == ["plan", "batch", "batch", "batch"]
        assert {f"{span.context.trace_id:032x}" for span in recorded.spans()} == {"1" * 32}
        assert {dict(span.attributes or {})["archive"] for span in recorded.spans()} == {archive.version}

    def test_of_an_archive_without_a_trace_the_message_tells_it(self, recorded: Recorded) -> None:
        world = World()
        archive = world.raw.add(pictures(1))
        p = world.process()
        world.queue.messages.append(Request(blob=archive.blob, traceparent=CALLER))
        world.work(p)
        assert {f"{span.context.trace_id:032x}" for span in recorded.spans("plan")} == {CALLER.split("-")[1]}

    def test_images_and_refusals_are_counted_once_with_the_limits_name_or_the_exceptions(
        self, recorded: Recorded
    ) -> None:
        world = World()
        members = [("0.jpg", jpeg()), ("1.jpg", jpeg()[:400]), ("LIMIT_PIXELS=1.jpg", b"\xff\xd8\xff nonsense")]
        archive = world.raw.add(zipped(*members))
        handle_archive_created(archive.blob, world.process(limits=Limits(member_bytes=500)))
        handle_archive_created(archive.blob, world.process(limits=Limits(member_bytes=500)))
        values = recorded.values()
        assert "images.processed" not in values
        reasons = sorted((str(labels["reason"]), count) for labels, count in values["members.refused"])
        assert reasons == [("LIMIT_MEMBER_BYTES", 1), ("OSError", 1), ("UnidentifiedImageError", 1)]


def _traced(world: World, blob: str, traceparent: str) -> RawArchive:
    return replace(world.raw.blobs[blob][0], traceparent=traceparent)


def test_host_json_has_no_section_that_the_host_passes_over_in_this_mode() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    assert host["telemetryMode"] == "OpenTelemetry"
    assert set(host["logging"]) == {"logLevel"}, "logging.applicationInsights, sampling and all, does not apply"
