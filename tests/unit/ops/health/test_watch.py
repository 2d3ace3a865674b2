"""What reconcile says of each source: silence, gaps, deadlines and what was put there by hand, and never too much."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imagefeed.errors import StoreUnavailableError
from ingest.model import Archive, Arrival, Outage, RemoteFile, SourceSpec, SourceState, TrackedFile, version_of
from ops.health.watch import WatchOutcome, find_deadlines, find_silence, watch, watch_source
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


def check(here: Here, since: timedelta = 72 * HOUR) -> WatchOutcome:
    return watch_source(SPEC.name, SPEC, here, here, NOW, NOW - since)


class TestSilence:
    def test_a_source_that_was_just_listed_is_none(self) -> None:
        assert find_silence(SPEC, source_state(), NOW) is None

    @pytest.mark.parametrize(("listed", "silent"), [(9 * MINUTE, False), (11 * MINUTE, True), (None, True)])
    def test_a_source_that_fails_is_given_a_moment(self, listed: timedelta | None, silent: bool) -> None:
        silence = find_silence(SPEC, source_state(listed=listed, error="no route"), NOW)
        assert (silence is not None) is silent
        assert silence is None or silence.error == "no route"

    @pytest.mark.parametrize(("listed", "silent"), [(34 * MINUTE, False), (36 * MINUTE, True), (None, True)])
    def test_a_long_copy_is_no_silence_but_no_poll_at_all_is(self, listed: timedelta | None, silent: bool) -> None:
        assert (find_silence(SPEC, source_state(listed=listed), NOW) is not None) is silent

    @pytest.mark.parametrize(("hours", "silent"), [("00:00-11:30", False), ("00:00-12:00", True)])
    def test_a_source_may_be_silent_outside_of_its_hours(self, hours: str, silent: bool) -> None:
        spec = replace(SPEC, active=f"Mo-Su {hours} UTC")
        state = source_state(listed=35 * MINUTE, error="no route")
        assert (find_silence(spec, state, NOW) is not None) is silent

    def test_a_server_that_refuses_us_is_told_from_one_that_does_not_answer(self) -> None:
        refused = Outage(start=NOW - HOUR, end=None, error="wrong password", refused=True)
        for outages in ((), (replace(refused, refused=False),), (replace(refused, end=NOW),), (refused,)):
            silence = find_silence(SPEC, replace(source_state(listed=HOUR), outages=outages), NOW)
            assert silence is not None
            assert silence.refused is (outages == (refused,))

    def test_a_source_that_nobody_ever_polled_is_silent(self) -> None:
        outcome = check(Here())
        assert outcome.silence is not None
        assert outcome.silence.since is None


class TestDeadlines:
    def test_a_file_is_nearer_to_its_deletion_than_it_should_be_past_half_of_its_time(self) -> None:
        young, old, older = tracked_file(23 * HOUR), tracked_file(25 * HOUR), tracked_file(47 * HOUR)
        deadlines = find_deadlines(SPEC, source_state(young, old, older, tracked_file(40 * HOUR, done=True)), NOW)
        assert [(d.tracked_file, d.at) for d in deadlines] == [(older, NOW + HOUR), (old, NOW + 23 * HOUR)]

    def test_a_server_whose_clock_runs_ahead_deletes_no_later(self) -> None:
        ahead = tracked_file(-20 * HOUR, seen=25 * HOUR)
        (deadline,) = find_deadlines(SPEC, source_state(ahead), NOW)
        assert deadline.at == NOW + 23 * HOUR


class TestGaps:
    def test_files_that_only_the_listing_knows_fill_gaps(self) -> None:
        arrivals = [Arrival(stamp=NOW - 25 * MINUTE), Arrival(stamp=NOW - 5 * MINUTE)]
        assert len(check(Here([source_state()], arrivals)).gaps) == 1
        assert not check(Here([source_state(tracked_file(15 * MINUTE))], arrivals)).gaps

    def test_a_file_that_was_only_touched_fills_none(self) -> None:
        touched = replace(tracked_file(15 * MINUTE, done=True), sha256="ab", previous_sha256="ab")
        arrivals = [Arrival(stamp=NOW - 25 * MINUTE), Arrival(stamp=NOW - 5 * MINUTE)]
        assert len(check(Here([source_state(touched)], arrivals)).gaps) == 1

    def test_only_gaps_that_reach_into_the_window_count(self) -> None:
        here = Here([source_state(*(tracked_file(minutes * MINUTE, done=True) for minutes in (5, 15, 45, 55, 99)))])
        assert len(check(here).gaps) == 2
        assert [gap.start for gap in check(here, 20 * MINUTE).gaps] == [NOW - 45 * MINUTE]
        assert not check(here, 14 * MINUTE).gaps


class TestLog:
    def test_each_kind_is_a_line_that_an_alert_can_be_built_on(self, caplog: pytest.LogCaptureFixture) -> None:
        arrivals = [
            Arrival(stamp=NOW - 70 * MINUTE),
            Arrival(stamp=NOW - 40 * MINUTE, by_hand="radar/by hand.zip"),
        ]
        here = Here([source_state(tracked_file(47 * HOUR), listed=HOUR, error="no route\nat all")], arrivals)
        watch([SPEC], here, here, NOW, 24 * HOUR)
        lines = {(record.levelname, record.getMessage()) for record in caplog.records}
        assert lines == {
            ("ERROR", "source.silent source=radar since=2026-03-03T11:00:00+00:00 error='no route\\nat all'"),
            ("WARNING", "gap.found source=radar from=2026-03-01T13:00:00+00:00 to=2026-03-03T10:50:00+00:00"),
            ("WARNING", "gap.unheard source=radar from=2026-03-03T10:50:00+00:00 to=2026-03-03T11:20:00+00:00"),
            ("WARNING", "gap.unheard source=radar from=2026-03-03T11:20:00+00:00 to=now"),
            (
                "ERROR",
                "file.near_deletion source=radar path='01130000\\n.zip' "
                "deleted_at=2026-03-03T13:00:00+00:00 failures=0",
            ),
            ("WARNING", "archive.by_hand source=radar blob='radar/by hand.zip'"),
        }

    def test_a_source_without_findings_is_worth_no_line(self, caplog: pytest.LogCaptureFixture) -> None:
        here = Here([source_state(tracked_file(5 * MINUTE, done=True))])
        (outcome,) = watch([SPEC], here, here, NOW, 72 * HOUR)
        assert [outcome.silence, *outcome.gaps, *outcome.deadlines, *outcome.by_hand] == [None]
        assert not caplog.records

    def test_a_thousand_findings_of_a_kind_are_eleven_lines(self, caplog: pytest.LogCaptureFixture) -> None:
        here = Here([source_state()], [Arrival(stamp=NOW - number * HOUR) for number in range(1, 1001)])
        watch([SPEC], here, here, NOW, 2000 * HOUR)
        assert len(caplog.records) == 11
        assert caplog.messages[0].endswith("to=now")
        assert caplog.messages[-1] == "gap.more source=radar count=990"

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
