"""reconcile's findings about each source: silence, gaps, deadlines, manual uploads, and never too many lines."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imagefeed.errors import StoreUnavailableError
from ingest.model import Archive, Arrival, Outage, RemoteFile, SourceSpec, SourceState, TrackedFile, version_of
from ops.health.findings import Finding, Slug
from ops.health.watch import WatchOutcome, watch
from tests.fixtures.recorded import Recorded

NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SPEC = SourceSpec(name="radar", interval=10 * MINUTE, retention=48 * HOUR, budget=25 * MINUTE)


def tracked_file(age: timedelta, *, done: bool = False, seen: timedelta | None = None) -> TrackedFile:
    modified = NOW - age
    file = RemoteFile(path=f"{modified:%d%H%M%S}\n.zip", size=7, modified=modified)
    archive = Archive(source="radar", file=file, version=version_of(file), stamp=modified)
    return TrackedFile(listed=file, archive=archive, first_seen=NOW - (age if seen is None else seen), done=done)


def source_state(
    *tracked_files: TrackedFile, listed: timedelta | None = MINUTE, error: str | None = None
) -> SourceState:
    listed_at = None if listed is None else NOW - listed
    return SourceState(source="radar", listed_at=listed_at, tracked_files=tracked_files, error=error)


class Here:
    """A SourceStateView and an Arrivals, in memory."""

    def __init__(self, source_states: Sequence[SourceState] = (), arrivals: Sequence[Arrival] = ()) -> None:
        self.source_states = {state.source: state for state in source_states}
        self.arrivals = arrivals

    def look(self, source: str) -> SourceState | None:
        if source == "down":
            raise StoreUnavailableError("read the source state of source down: no answer")
        return self.source_states.get(source)

    def since(self, source: str, start: datetime) -> Sequence[Arrival]:
        return self.arrivals


def check(here: Here, since: timedelta = 72 * HOUR, spec: SourceSpec = SPEC) -> WatchOutcome:
    (outcome,) = watch([spec], here, here, NOW, since)
    return outcome


def starts(outcome: WatchOutcome) -> list[datetime | None]:
    return [finding.since for finding in outcome.findings if finding.slug.startswith("gap")]


class TestAnswers:
    """A source with incomplete listings."""

    def slug(self, state: SourceState, spec: SourceSpec = SPEC) -> Slug | None:
        found = [finding.slug for finding in check(Here([state]), spec=spec).findings]
        return found[0] if found else None

    @pytest.mark.parametrize(
        ("listed", "error", "slug"),
        [
            (MINUTE, None, None),
            (9 * MINUTE, "no route", None),
            (11 * MINUTE, "no route", Slug.SOURCE_SILENT),
            (None, "no route", Slug.SOURCE_SILENT),
            # While a poll copies, it does not list.
            (34 * MINUTE, None, None),
            (36 * MINUTE, None, Slug.SOURCE_SILENT),
            (None, None, Slug.NOT_POLLED),
        ],
    )
    def test_it_is_given_a_moment(self, listed: timedelta | None, error: str | None, slug: Slug | None) -> None:
        assert self.slug(source_state(listed=listed, error=error)) is slug

    @pytest.mark.parametrize(("hours", "slug"), [("00:00-11:30", None), ("00:00-12:00", Slug.SOURCE_SILENT)])
    def test_it_may_be_silent_outside_of_its_hours(self, hours: str, slug: Slug | None) -> None:
        spec = replace(SPEC, active=f"Mo-Su {hours} UTC")
        assert self.slug(source_state(listed=35 * MINUTE, error="no route"), spec) is slug

    def test_a_server_that_rejects_us_is_told_from_one_that_does_not_answer(self) -> None:
        refused = Outage(start=NOW - HOUR, end=None, error="wrong password", refused=True)
        for outages in ((), (replace(refused, refused=False),), (replace(refused, end=NOW),), (refused,)):
            slug = self.slug(replace(source_state(listed=HOUR), outages=outages))
            assert slug is (Slug.SOURCE_REJECTS if outages == (refused,) else Slug.SOURCE_SILENT)


class TestDeadlines:
    """Files that are nearer to their deletion than they should be."""

    def near(self, *files: TrackedFile) -> list[tuple[str, datetime | None]]:
        found = check(Here([source_state(*files)])).findings
        return [(finding.name, finding.until) for finding in found if finding.slug is Slug.NEAR_DELETION]

    def test_past_half_of_its_time_a_file_is_the_next_to_go_first(self) -> None:
        files = [
            tracked_file(hours * HOUR, done=done) for hours, done in ((23, False), (25, False), (47, False), (40, True))
        ]
        assert self.near(*files) == [
            (files[2].archive.file.path, NOW + HOUR),
            (files[1].archive.file.path, NOW + 23 * HOUR),
        ]

    def test_a_server_whose_clock_runs_ahead_deletes_no_later(self) -> None:
        ((_, until),) = self.near(tracked_file(-20 * HOUR, seen=25 * HOUR))
        assert until == NOW + 23 * HOUR


class TestGaps:
    """Gaps by the ledger and by the last listing."""

    @pytest.mark.parametrize(("sha256", "gaps"), [(None, 0), ("ab", 1)])
    def test_a_file_that_only_the_listing_knows_fills_a_gap_unless_it_was_only_touched(
        self, sha256: str | None, gaps: int
    ) -> None:
        arrivals = [Arrival(stamp=NOW - 25 * MINUTE), Arrival(stamp=NOW - 5 * MINUTE)]
        assert len(starts(check(Here([source_state()], arrivals)))) == 1
        file = replace(tracked_file(15 * MINUTE, done=True), sha256=sha256, previous_sha256=sha256)
        assert len(starts(check(Here([source_state(file)], arrivals)))) == gaps

    def test_only_gaps_that_reach_into_the_window_count(self) -> None:
        here = Here([source_state(*(tracked_file(minutes * MINUTE, done=True) for minutes in (5, 15, 45, 55, 99)))])
        assert len(starts(check(here))) == 2
        assert starts(check(here, 20 * MINUTE)) == [NOW - 45 * MINUTE]
        assert not starts(check(here, 14 * MINUTE))


class TestLog:
    def test_each_kind_is_a_line_that_an_alert_can_be_built_on(self, caplog: pytest.LogCaptureFixture) -> None:
        arrivals = [
            Arrival(stamp=NOW - 70 * MINUTE),
            Arrival(stamp=NOW - 40 * MINUTE, by_hand="radar/by hand.zip"),
        ]
        here = Here([source_state(tracked_file(47 * HOUR), listed=HOUR, error="no route\nat all")], arrivals)
        watch([SPEC], here, here, NOW, 24 * HOUR)
        lines = {(record.levelname, record.getMessage()) for record in caplog.records}
        day = "2026-03-0"
        assert lines == {
            ("ERROR", f"finding.source_silent source=radar since={day}3T11:00:00+00:00 until=- name='' "
             "detail='no route\\nat all'"),
            ("ERROR", f"finding.near_deletion source=radar since={day}1T13:00:00+00:00 until={day}3T13:00:00+00:00 "
             "name='01130000\\n.zip' detail='0 tries failed'"),
            ("WARNING", f"finding.gap_closed source=radar since={day}1T13:00:00+00:00 until={day}3T10:50:00+00:00 "
             "name='' detail='about 274 archives missing'"),
            ("WARNING", f"finding.by_hand source=radar since={day}3T11:20:00+00:00 until=- name='radar/by hand.zip' "
             "detail=''"),
        } | {line for line in lines if "gap_unheard" in line[1]}  # fmt: skip
        assert {(level, line.partition(" name")[0]) for level, line in lines if "gap_unheard" in line} == {
            ("ERROR", f"finding.gap_unheard source=radar since={day}3T10:50:00+00:00 until={day}3T11:20:00+00:00"),
            ("ERROR", f"finding.gap_unheard source=radar since={day}3T11:20:00+00:00 until=-"),
        }

    def test_a_source_without_findings_is_worth_no_line(self, caplog: pytest.LogCaptureFixture) -> None:
        here = Here([source_state(tracked_file(5 * MINUTE, done=True))])
        assert not check(here).findings
        assert not caplog.records

    def test_a_thousand_gaps_are_the_open_one_ten_others_and_how_many_more(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        here = Here([source_state()], [Arrival(stamp=NOW - number * HOUR) for number in range(1, 1001)])
        watch([SPEC], here, here, NOW, 2000 * HOUR)
        assert len(caplog.records) == 12
        assert [line.split()[0] for line in caplog.messages[:2]] == ["finding.gap", "finding.gap_closed"]
        assert caplog.messages[-1].endswith("name='989 more' detail=''")

    def test_a_source_that_cannot_be_looked_at_costs_the_others_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        here = Here([source_state(listed=HOUR)])
        outcomes = watch([SourceSpec(name="down"), SPEC], here, here, NOW, 72 * HOUR)
        assert [outcome.source for outcome in outcomes] == ["radar"]
        assert caplog.messages[0].startswith("watch.deferred source=down")
        assert caplog.records[0].levelno == logging.WARNING


class TestFigures:
    def test_what_waits_is_counted_and_the_oldest_of_it_has_an_age_and_a_deadline(self) -> None:
        waiting = [
            tracked_file(30 * HOUR),
            tracked_file(HOUR),
            tracked_file(2 * HOUR, seen=50 * HOUR),
            tracked_file(60 * HOUR, done=True),
        ]
        figures = check(Here([source_state(*waiting)])).figures
        assert figures["backlog"] == 3
        assert figures["oldest_uncopied"] == 50 * 3600
        assert figures["deletion_margin"] == -2
        assert (figures["near_deletion"], figures["silent"]) == (2, 60)

    def test_what_nobody_can_know_is_left_out(self) -> None:
        assert check(Here()).figures == {"backlog": 0, "oldest_uncopied": 0, "gaps": 0, "near_deletion": 0}

    def test_the_newest_archive_has_an_age_wherever_it_is_known_from(self) -> None:
        arrivals = [Arrival(stamp=NOW - HOUR), Arrival(stamp=NOW + HOUR, seen=NOW - 5 * MINUTE)]
        assert (
            check(Here([source_state(tracked_file(20 * MINUTE, done=True))], arrivals)).figures["last_archive_age"]
            == 300
        )
        assert check(Here([source_state(tracked_file(20 * MINUTE, done=True))])).figures["last_archive_age"] == 1200

    def test_a_source_that_fails_for_now_costs_no_other_its_figures(self, recorded: Recorded) -> None:
        down = replace(SPEC, name="down")
        watch([down, SPEC], Here([source_state(tracked_file(HOUR))]), Here(), NOW, 72 * HOUR)
        assert recorded.values()["source.backlog"] == [({"source": "radar"}, 1)]
        assert {str(labels["source"]) for points in recorded.values().values() for labels, _ in points} == {"radar"}


def test_what_is_the_matter_with_results_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[tuple[str, datetime, datetime]] = []

    def results(source: str, since: datetime, now: datetime) -> Sequence[Finding]:
        asked.append((source, since, now))
        return [Finding(slug=Slug.NOTHING_READABLE, source=source, detail="no zip")]

    here = Here([source_state(tracked_file(5 * MINUTE, done=True))], [Arrival(stamp=NOW - 5 * MINUTE)])
    (outcome,) = watch([SPEC], here, here, NOW, HOUR, results)
    assert Slug.NOTHING_READABLE in {finding.slug for finding in outcome.findings}
    assert asked == [("radar", NOW - HOUR, NOW)]
    (line,) = [record for record in caplog.records if "finding.nothing_readable source=radar" in record.getMessage()]
    assert line.levelno == logging.ERROR
