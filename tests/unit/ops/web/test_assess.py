"""The page's content by the stored data: one sentence for each source, gaps, lags, and problems that need a person."""

from dataclasses import replace
from datetime import timedelta

import pytest

from imagefeed.ledger import Entry
from imagefeed.model import Counts, Origin, State
from ingest.model import Outage, PassedOver, Promises, SourceState, UnreadParts
from ops.health import source_checks
from ops.health.findings import Severity
from ops.health.load import MAX_DEAD_LETTERS, StoredSource, StoredStatus
from ops.health.promises import Held
from ops.web.assess import assess
from ops.web.model import DisplayState, Status
from storage.blobs.runs import LastRun
from tests.unit.ops.web.made import MINUTE, NOW, QUIET, entry, regular, status_of, stored_source, tracked_file

UNKNOWN = Held(promises={}, unknown=frozenset({"radar"}))


def headline_of(status: Status) -> str:
    return status.sources[0].headline


def slugs(status: Status) -> list[str]:
    return [finding.slug for finding in status.findings]


def test_a_good_day_is_told_in_one_sentence() -> None:
    status = status_of(regular(287))
    assert headline_of(status) == "All 287 archives of the last 48 h are here; newest 3 min ago."
    assert (status.severity, status.headline, list(status.findings)) == (Severity.FINE, "Everything is here", [])


def test_a_young_source_tells_since_when() -> None:
    status = status_of(regular(2))
    assert headline_of(status) == "All 2 archives since 11:47 are here; newest 3 min ago."
    # Its first archives are not squeezed into a corner of 48 hours.
    assert NOW - status.sources[0].start < timedelta(hours=2)


def test_what_is_on_its_way_is_neither_here_nor_missing() -> None:
    status = status_of([entry(1, State.COPYING), entry(8, State.RAW), entry(18)])
    assert headline_of(status) == "1 archive since 11:42 is here, 2 on the way; newest 1 min ago."
    assert (status.severity, status.headline) == (Severity.FINE, "Everything is here or on its way")


def corrected(newer: State = State.PROCESSED) -> list[Entry]:
    """Return a file of three minutes ago, and its correction."""
    older = entry(3, version="00000001")
    archive = replace(older.archive, replaces="stamp", modified=older.archive.stamp)
    correction = replace(entry(3, newer).archive, version="00000002", replaces="stamp", modified=NOW)
    return [replace(older, archive=archive), replace(entry(3, newer), archive=correction)]


def test_a_corrected_file_is_one_archive_that_is_here() -> None:
    status = status_of(corrected())
    assert headline_of(status).startswith("1 archive since 11:57 is here")
    older, newer = status.sources[0].marks[::-1]
    assert (older.state, older.reason) == (DisplayState.SUPERSEDED, "version 00000002 replaces it")
    assert newer.state is DisplayState.PROCESSED


def test_a_correction_that_is_not_read_yet_is_told() -> None:
    assert slugs(status_of(corrected(State.RAW))) == ["correction_pending"]
    status = status_of(corrected(State.REFUSED))
    assert (slugs(status), status.severity) == (["correction_failed"], Severity.MISSING)
    assert headline_of(status).startswith("1 correction failed. ")


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (State.SEEN, DisplayState.SEEN),
        (State.COPYING, DisplayState.COPYING),
        (State.RAW, DisplayState.RAW),
        (State.PROCESSING, DisplayState.RAW),
        (State.PROCESSED, DisplayState.PROCESSED),
        (State.REFUSED, DisplayState.REFUSED),
        (State.EMPTY, DisplayState.EMPTY),
        (State.FAILED, DisplayState.FAILED),
        (State.EXPIRED, DisplayState.EXPIRED),
        (State.SUPERSEDED, DisplayState.SUPERSEDED),
    ],
)
def test_each_state_has_its_own_mark(state: State, shown: DisplayState) -> None:
    status = status_of([entry(3, state)])
    assert [mark.state for mark in status.sources[0].marks] == [shown]
    assert {display_state for display_state, number in status.sources[0].counts.items() if number} == {shown}


def test_a_file_that_was_only_touched_has_no_mark() -> None:
    assert [mark.stamp for mark in status_of([entry(3, State.SAME), entry(13)]).sources[0].marks] == [NOW - 13 * MINUTE]


def test_an_empty_archive_is_worth_a_look_and_is_not_here() -> None:
    status = status_of([entry(3, State.EMPTY, reason="the zip has no members"), entry(13), entry(23)])
    assert (slugs(status), status.severity) == (["empty"], Severity.NOTICE)
    assert headline_of(status) == "1 empty. 2 archives since 11:37 are here; newest 3 min ago."
    assert status.headline == "Everything is here; some archives are empty"


def test_a_finding_counts_refused_members_by_kind() -> None:
    one = entry(3, counts=Counts(members=3, images=1, refused=2, refused_kinds={".h5": 2}))
    other = entry(13, counts=Counts(members=4, images=1, refused=3, refused_kinds={".h5": 1, ".jpg": 2}))
    status = status_of([one, other])
    assert [mark.refused_kinds for mark in status.sources[0].marks] == [{".h5": 1, ".jpg": 2}, {".h5": 2}]
    (finding,) = status.findings
    assert (finding.name, finding.detail) == (
        "5 members of 2 archives",
        "3 .h5, 2 .jpg; all others can be read",
    )


def test_refused_members_are_worth_a_look_and_no_more() -> None:
    partly = entry(3, counts=Counts(members=3, images=1, refused=2))
    status = status_of([partly, entry(13)])
    assert headline_of(status) == "All 2 archives since 11:47 are here, 1 with refused members; newest 3 min ago."
    assert (status.severity, slugs(status)) == (Severity.NOTICE, ["members_refused"])
    assert status.findings[0].archive == f"{NOW - 3 * MINUTE:%Y%m%dT%H%M%SZ}.{partly.archive.version}"


def test_jitter_makes_no_hole_and_a_missing_archive_makes_one() -> None:
    jittery = [entry(minutes) for minutes in (3, 14.9, 21, 35.5)]
    assert not status_of(jittery).sources[0].gaps
    (gap,) = status_of([entry(minutes) for minutes in (3, 13, 43, 53)]).sources[0].gaps
    assert (gap.start, gap.end, gap.open, gap.missing) == (NOW - 43 * MINUTE, NOW - 13 * MINUTE, False, 2)


def test_holes_and_bad_ends_come_first_in_the_sentence() -> None:
    ends = [entry(3), entry(13, State.EXPIRED), entry(23, State.FAILED), entry(33, State.REFUSED), entry(63), entry(73)]
    status = status_of(ends)
    assert headline_of(status) == (
        "1 gap (about 2 missing), 1 expired, 1 failed and 1 refused. 3 archives since 10:47 are here; newest 3 min ago."
    )
    assert (status.severity, status.headline) == (Severity.MISSING, "Something is missing")
    assert slugs(status) == ["expired", "failed", "gap_closed", "refused"]
    assert "upload it" in status.findings[0].advice
    assert "replay --archive" in status.findings[1].advice


def test_a_gap_that_is_over_is_worth_a_look_and_no_alarm() -> None:
    status = status_of([entry(minutes) for minutes in (3, 13, 43, 53)])
    assert (status.severity, slugs(status)) == (Severity.NOTICE, ["gap_closed"])
    assert status.headline == "Everything that came is here; there were gaps"
    assert "about 2 archives missing" in status.findings[0].details


@pytest.mark.parametrize(("later", "shown"), [(True, []), (False, ["failed"])])
def test_what_came_right_in_another_way_is_history(later: bool, shown: list[str]) -> None:
    bad, other = entry(13, State.FAILED), entry(13, version="f" * 8)
    other = replace(other, times={State.PROCESSED: max(bad.times.values()) + (MINUTE if later else -MINUTE)})
    assert slugs(status_of([entry(3), bad, other, entry(23)])) == shown


def test_what_is_late_is_told_apart_from_what_is_missing() -> None:
    def named(name: str, entries: list[Entry]) -> StoredSource:
        of_source = [replace(each, archive=replace(each.archive, source=name)) for each in entries]
        return replace(stored_source(of_source), source=name)

    late = named("late", [*regular(4), entry(43, State.COPYING)])
    good = named("good", regular())
    lost = named("lost", [*regular(4), entry(43, State.FAILED)])
    held = Held(promises={name: Promises() for name in ("late", "good", "lost")})

    def headline(*sources: StoredSource) -> str:
        return assess(StoredStatus(sources=sources, queues=QUIET), held, NOW).headline

    assert headline(late) == "Something is late"
    assert headline(lost, good) == "Something is missing at 1 of 2 sources"
    assert headline(late, good, lost) == "Something is missing at 1 of 3 sources, and late at 1"


def test_an_archive_that_does_not_come_is_missed_while_it_is_missing() -> None:
    status = status_of(regular(4, newest=27))
    (gap,) = status.sources[0].gaps
    assert gap.open
    assert headline_of(status).startswith("Nothing has come for 27 min. 4 archives")


def test_the_last_archive_before_the_window_shows_the_hole_at_its_beginning() -> None:
    edge = [entry(minutes) for minutes in range(3, 40 * 60, 10)]
    assert not status_of(edge).sources[0].gaps
    (gap,) = status_of(edge, before=NOW - timedelta(hours=60)).sources[0].gaps
    assert gap.end == edge[-1].archive.stamp


def test_where_archives_are_left_out_there_is_no_hole_made_up() -> None:
    """There are too many to read, so older ones of the listing must not count either."""
    source_state = SourceState(
        source="radar", listed_at=NOW, tracked_files=(tracked_file(900, done=True), tracked_file(3, done=True))
    )
    status = status_of(regular(5), source_state, cut=True)
    assert (status.sources[0].gaps, status.sources[0].cut) == ([], True)


def test_an_archive_that_hangs_is_late() -> None:
    late = entry(23, State.SEEN, reason="no answer", version="0" * 8)
    state = SourceState(source="radar", listed_at=NOW, tracked_files=(tracked_file(23, failures=2),))
    status = status_of([entry(3), entry(13), late], state)
    assert headline_of(status).startswith("1 late. 2 archives")
    (finding,) = status.findings
    assert (finding.slug, finding.detail) == ("not_copied", "2 tries failed: no answer")
    assert slugs(status_of([entry(3), entry(13), late])) == ["no_longer_listed"]
    assert slugs(status_of([entry(3), entry(13), entry(23, State.PROCESSING)])) == ["not_preprocessed"]


def test_a_server_that_is_silent_is_named_with_its_error() -> None:
    source_state = SourceState(source="radar", listed_at=NOW - 50 * MINUTE, failures=4, error="no\x1b[2J route")
    status = status_of(regular(), source_state)
    assert headline_of(status).startswith("No answer from the server for 50 min. All 6 archives")
    assert (status.severity, slugs(status)) == (Severity.MISSING, ["source_silent"])
    assert status.sources[0].error == "no\N{REPLACEMENT CHARACTER}[2J route"


def test_a_server_that_rejects_us_is_not_called_silent() -> None:
    refused = Outage(start=NOW - 50 * MINUTE, end=None, error="wrong password", refused=True)
    source_state = SourceState(source="radar", listed_at=NOW - 50 * MINUTE, error="wrong password", outages=(refused,))
    status = status_of(regular(), source_state)
    assert headline_of(status).startswith("The server has rejected us for 50 min.")
    assert slugs(status) == ["source_rejects"]


def test_a_source_whose_promises_nobody_knows_is_not_judged_and_never_fine() -> None:
    status = status_of(regular(), SourceState(source="radar", listed_at=NOW), held=UNKNOWN)
    assert (status.severity, status.headline) == (Severity.NOTICE, "not judged: radar")
    given_up = status_of(regular(), queues=replace(QUIET, poison=1), held=UNKNOWN)
    assert given_up.headline == "messages were given up; not judged: radar"
    assert headline_of(status).startswith("Not judged: ")
    assert slugs(status) == ["not_judged"]


def test_no_settings_are_needed_to_tell_that_a_server_does_not_answer() -> None:
    source_state = SourceState(source="radar", listed_at=NOW - 12 * MINUTE, error="no route")
    status = status_of(regular(), source_state, held=UNKNOWN)
    assert status.severity is Severity.MISSING
    assert slugs(status) == ["source_silent", "not_judged"]


def test_while_the_server_does_not_answer_a_gap_is_not_laid_to_its_owner() -> None:
    entries = [entry(minutes) for minutes in (40, 50)]
    down = Outage(start=NOW - 32 * MINUTE, end=None, error="no route")
    source_state = SourceState(source="radar", listed_at=NOW - 33 * MINUTE, error="no route", outages=(down,))
    status = status_of(entries, source_state)
    (gap,) = [finding for finding in status.findings if "gap" in finding.slug]
    assert gap.slug == "gap_unheard"
    assert "no answer from 2026" in gap.detail
    assert "ask its owner" not in gap.advice
    back = replace(source_state, listed_at=NOW, error=None, outages=(replace(down, end=NOW - 2 * MINUTE),))
    (gap,) = status_of(entries, back).findings
    assert (gap.slug, gap.advice) == ("gap", "the server had nothing: ask its owner")
    assert "no answer from 2026" in gap.detail


def test_files_that_pattern_skips_are_named_in_place_of_the_gap() -> None:
    entries = [entry(minutes) for minutes in (40, 50)]
    passed_over = PassedOver(count=200, newest="cam_1.ZIPX", modified=NOW - 5 * MINUTE)
    source_state = SourceState(source="radar", listed_at=NOW, passed_over=passed_over)
    (finding,) = status_of(entries, source_state).findings
    assert (finding.slug, finding.name) == ("nothing_matches", "cam_1.ZIPX")
    assert "PATTERN *.zip skips 200 files, none matches it" in finding.detail
    old = replace(source_state, passed_over=replace(passed_over, modified=NOW - 60 * MINUTE))
    assert slugs(status_of(entries, old)) == ["gap"]
    assert slugs(status_of([], source_state)) == ["nothing_matches"]
    assert not slugs(status_of(regular(), source_state))


@pytest.mark.parametrize(
    ("incomplete", "slug", "severity"),
    [(True, "listing_incomplete", Severity.MISSING), (False, "entry_unreadable", Severity.NOTICE)],
)
def test_a_listing_that_could_not_be_read_whole_is_told_with_the_line(
    incomplete: bool, slug: str, severity: Severity
) -> None:
    unread = UnreadParts(count=2, texts=("-??- 12 a.zip", "x"), incomplete=incomplete)
    status = status_of(regular(), SourceState(source="radar", listed_at=NOW, unread=unread))
    (finding,) = status.findings
    assert (finding.slug, finding.name, status.severity) == (slug, "-??- 12 a.zip", severity)
    assert "2 parts of the last listing" in finding.detail


def test_a_stamp_that_fits_no_longer_is_named_with_the_newest_file() -> None:
    held = Held(promises={"radar": Promises(stamp="%Y%m%d_%H%M")})
    files = tuple(tracked_file(3, path=path, done=True) for path in ("radar_20260301_1157.zip", "radar_010126.zip"))
    source_state = SourceState(source="radar", listed_at=NOW, tracked_files=files)
    status = status_of(regular(), source_state, held=held)
    (finding,) = status.findings
    assert (finding.slug, finding.name) == ("stamp_misfit", "radar_010126.zip")
    assert "1 of 2 names" in finding.detail
    assert status.severity is Severity.NOTICE


@pytest.mark.parametrize(("again", "tail"), [(MINUTE, f" (asked again at {NOW + MINUTE:%H:%M:%S} UTC)"), (-MINUTE, "")])
def test_an_error_tells_when_the_server_is_asked_again(again: timedelta, tail: str) -> None:
    source_state = SourceState(
        source="radar", listed_at=NOW, failures=4, error="wrong password", not_before=NOW + again
    )
    assert status_of(regular(), source_state).sources[0].error == f"wrong password{tail}"


def test_before_the_first_poll_nothing_is_wrong_and_nothing_known_to_be_fine() -> None:
    status = status_of([], SourceState(source="radar"))
    assert (headline_of(status), status.severity) == ("Waiting for the first poll.", Severity.NOTICE)
    assert status.headline == "Nothing has arrived yet"
    assert headline_of(status_of([])) == "Polled; no archive has come yet."


def test_the_next_deletion_is_of_what_is_not_copied() -> None:
    files = (tracked_file(2800, done=True), tracked_file(1500, path="late.zip"), tracked_file(9, done=True))
    status = status_of(regular(), SourceState(source="radar", listed_at=NOW, tracked_files=files))
    deletion = status.sources[0].next_deletion
    assert deletion is not None
    assert (deletion.path, deletion.copied, deletion.near) == ("late.zip", False, True)
    assert deletion.at == NOW - 1500 * MINUTE + timedelta(hours=48)
    assert slugs(status)[0] == "near_deletion"
    done = (
        status_of(regular(), SourceState(source="radar", listed_at=NOW, tracked_files=files[::2]))
        .sources[0]
        .next_deletion
    )
    assert done is not None
    assert (done.copied, done.near) == (True, False)


def test_lag_is_from_the_server_to_readable_images() -> None:
    entries = regular(20)
    late = entries[7].archive.stamp + 90 * MINUTE
    slow = replace(entries[7], times={State.PROCESSED: late}, first_processed=late)
    ahead = replace(entries[8], modified=NOW + 9 * MINUTE)
    lag = status_of([*entries[:7], slow, ahead, *entries[9:]]).sources[0].lag
    assert lag is not None
    assert (lag.p50, lag.p95) == (6, 6)
    assert status_of([entry(3, State.RAW)]).sources[0].lag is None


def test_what_was_redone_long_after_it_was_readable_has_the_lag_of_its_first_end() -> None:
    redone = [replace(each, times={**each.times, State.PROCESSED: NOW}) for each in regular(20)]
    lag = status_of(redone).sources[0].lag
    assert lag is not None
    assert (lag.p50, lag.p95) == (6, 6)


def test_what_was_given_up_needs_a_person() -> None:
    status = status_of(regular(), queues=replace(QUIET, poison=2, dead_letters=MAX_DEAD_LETTERS))
    assert (status.severity, status.headline) == (Severity.MISSING, "Everything is here, and messages were given up")
    assert [(finding.slug, finding.name) for finding in status.findings] == [
        ("poison", "2 messages"),
        ("dead_letters", "100 dead letters or more"),
    ]


@pytest.mark.parametrize(
    ("every", "quiet", "fine"),
    [
        (timedelta(minutes=5), 19, True),
        (timedelta(minutes=5), 21, False),
        (timedelta(hours=1), 239, True),
        (timedelta(hours=1), 241, False),
        (timedelta(seconds=5), 9, True),
        (None, 100_000, True),
    ],
)
def test_a_reconcile_that_stands_still_needs_a_person(every: timedelta | None, quiet: int, fine: bool) -> None:
    run = LastRun(at=NOW - quiet * MINUTE, every=every)
    status = status_of(regular(), runs={"poll_sources": LastRun(at=NOW), "reconcile": run})
    assert status.reconciled_at == run.at
    if fine:
        assert (status.severity, status.headline, slugs(status)) == (Severity.FINE, "Everything is here", [])
    else:
        assert status.headline == "Everything is here, and nothing is checked: reconcile has stopped"
        assert (status.severity, slugs(status)) == (Severity.MISSING, ["function_overdue"])


@pytest.mark.parametrize(
    ("function", "minutes", "waiting", "stands"),
    [
        ("poll_sources", 11, 0, True),
        ("poll_sources", 9, 0, False),
        ("process_batch", 41, 1, True),
        ("process_batch", 41, 0, False),
        ("process_batch", 39, 1, False),
    ],
)
def test_each_function_that_should_run_is_missed_when_it_does_not(
    function: str, minutes: int, waiting: int, stands: bool
) -> None:
    timer, batch = timedelta(seconds=30), timedelta(minutes=30)
    runs = {"poll_sources": LastRun(at=NOW, every=timer), "reconcile": LastRun(at=NOW, every=5 * MINUTE)}
    runs["process_batch"] = LastRun(at=NOW, takes=batch)
    runs[function] = replace(runs[function], at=NOW - minutes * MINUTE)
    status = status_of(regular(), runs=runs, queues=replace(QUIET, batches=waiting))
    assert slugs(status) == ["function_overdue"] * stands


def test_a_timer_that_never_ran_is_told_once_another_function_has() -> None:
    status = status_of(regular(), runs={"poll_sources": LastRun(at=NOW, every=MINUTE)})
    assert [(finding.slug, finding.name) for finding in status.findings] == [("function_never_ran", "reconcile")]
    assert status.severity is Severity.NOTICE


def test_many_of_a_kind_are_counted_instead_of_listed() -> None:
    findings = status_of([entry(minutes, State.FAILED) for minutes in range(3, 203, 10)]).findings
    assert [finding.name for finding in findings][-1] == "10 more"
    assert len(findings) == 11


def test_where_the_newest_archives_were_refused_nothing_is_called_fine() -> None:
    hook = "PREPROCESS_HOOK (hooks.py:12) failed: KeyError: 'x'"
    bad = [entry(minutes, State.REFUSED, reason=hook) for minutes in (3, 13, 23)]
    status = status_of([*bad, *regular(3, 33)])
    assert (status.severity, status.headline) == (Severity.NOTICE, "Everything is here; some of it was refused")
    bad += [entry(minutes, State.REFUSED, reason=hook) for minutes in (33, 43, 53)]
    status = status_of([*bad, *regular(3, 63)])
    assert (status.severity, status.headline) == (Severity.MISSING, "The newest archives could not be read")
    assert headline_of(status).startswith(f"Nothing in 6 archives since 11:07 can be read: {hook}. ")
    assert slugs(status)[0] == "nothing_readable"


def test_an_app_that_preprocesses_nothing_is_red_with_the_reason() -> None:
    runs = {name: LastRun(at=NOW, every=MINUTE) for name in ("poll_sources", "reconcile")}
    assert status_of(regular(), runs=runs).severity is Severity.FINE
    runs["poll_sources"] = replace(runs["poll_sources"], stopped="pipeline dark: its results were made otherwise")
    status = status_of(regular(), runs=runs)
    assert (status.severity, status.headline) == (
        Severity.MISSING,
        "Everything is here, and nothing is preprocessed",
    )
    (found,) = status.findings
    assert (found.slug, found.detail) == ("pipeline_stopped", "pipeline dark: its results were made otherwise")


def test_raw_blobs_that_are_gone_are_told_of_what_was_copied() -> None:
    entries = [replace(each, archive=replace(each.archive, blob=f"radar/{number}.zip")) for number, each in enumerate(
        [*regular(3), entry(33, State.EXPIRED)]
    )]  # fmt: skip
    gone = {"radar/1.zip", "radar/3.zip"}
    status = status_of(entries, raw_missing=gone)
    assert [(found.slug, found.name) for found in status.findings if found.slug == "raw_missing"] == [
        ("raw_missing", "radar/1.zip")
    ]
    assert "1 raw missing" in headline_of(status)


@pytest.mark.parametrize(("files", "others", "near"), [(3, 0, False), (2, 2, True), (4, 0, True)])
def test_a_listing_that_comes_near_its_limit_is_told(
    files: int, others: int, near: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_checks, "MAX_FILES", 5)
    passed_over = PassedOver(count=others, newest="x", modified=NOW - 99 * MINUTE) if others else None
    tracked = tuple(tracked_file(3, done=True, path=f"{number}.zip") for number in range(files))
    state = SourceState(source="radar", listed_at=NOW, tracked_files=tracked, passed_over=passed_over)
    found = [one for one in status_of(regular(), state).findings if one.slug == "near_limit"]
    assert [(one.name, one.detail) for one in found] == [("files of a listing", "80% of 5")] * near


@pytest.mark.parametrize(("minutes", "near"), [(59, True), (61, False)])
def test_a_poll_that_took_nearly_all_of_its_budget_is_told_for_an_hour(minutes: int, near: bool) -> None:
    state = SourceState(source="radar", listed_at=NOW, long_poll_at=NOW - minutes * MINUTE)
    assert [one.name for one in status_of(regular(), state).findings] == ["BUDGET"] * near


@pytest.mark.parametrize(("minutes", "shown"), [(23 * 60, True), (25 * 60, False)])
def test_blocks_that_storage_did_not_check_by_a_crc64_are_told_for_a_day(minutes: int, shown: bool) -> None:
    state = SourceState(source="radar", listed_at=NOW, unchecked_at=NOW - minutes * MINUTE)
    assert slugs(status_of(regular(), state)) == ["blocks_unchecked"] * shown


def test_a_zip_put_by_hand_is_told() -> None:
    by_hand = replace(entry(3), archive=replace(entry(3).archive, origin=Origin.MANUAL))
    assert slugs(status_of([by_hand])) == ["by_hand"]


def test_what_is_not_in_the_settings_is_shown_only_while_it_has_archives() -> None:
    other = replace(stored_source(regular()), source="manual", source_state=None)
    shown = assess(StoredStatus(sources=[stored_source(regular()), other], queues=QUIET), Held(promises={}), NOW)
    assert [source.name for source in shown.sources] == ["radar", "manual"]
    empty = replace(other, entries=[])
    assert not assess(StoredStatus(sources=[empty], queues=QUIET), Held(promises={}), NOW).sources


def test_names_of_strangers_lose_what_steers_a_terminal_or_a_line() -> None:
    (mark,) = status_of([entry(3, path="a\u202egnp.zip\udcff\n")]).sources[0].marks
    assert mark.path == "a\N{REPLACEMENT CHARACTER}gnp.zip\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
