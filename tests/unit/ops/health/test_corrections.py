"""Findings about newer versions of a file that readers do not use yet; none about older ones that no reader needs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imagefeed.ledger import Entry
from imagefeed.model import Origin, RawArchive, State
from ingest.model import SourceState
from ops.health.archive_checks import check_archives
from ops.health.findings import Severity, Slug

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def version(minute: int, state: State, at: datetime | None = None) -> Entry:
    """Return a version that was modified this many minutes after noon, and reached its state at `at`."""
    archive = RawArchive(
        source="radar",
        stamp=NOON,
        version=f"{minute:08x}",
        blob=f"radar/{minute}.zip",
        size=9,
        path="a.zip",
        etag="",
        modified=NOON + minute * MINUTE,
        replaces="stamp",
    )
    times = {state: at or NOON + minute * MINUTE}
    return Entry(archive=archive, state=state, times=times, pipeline="p1", counts=None, reason="why")


def found(*entries: Entry) -> list[tuple[Slug, str]]:
    findings = check_archives("radar", entries, SourceState(source="radar"), NOON + 2 * MINUTE, HOUR)
    return [(finding.slug, finding.archive[-1]) for finding in findings]


@pytest.mark.parametrize(
    ("state", "slug"),
    [
        (State.SEEN, Slug.CORRECTION_PENDING),
        (State.COPYING, Slug.CORRECTION_PENDING),
        (State.RAW, Slug.CORRECTION_PENDING),
        (State.PROCESSING, Slug.CORRECTION_PENDING),
        (State.REFUSED, Slug.CORRECTION_FAILED),
        (State.FAILED, Slug.CORRECTION_FAILED),
        (State.EXPIRED, Slug.EXPIRED),
        (State.EMPTY, Slug.EMPTY),
    ],
)
@pytest.mark.parametrize("replayed", [False, True])
def test_a_correction_that_is_not_processed_is_named_also_if_the_older_one_was_replayed_since(
    state: State, slug: Slug, replayed: bool
) -> None:
    older = version(0, State.PROCESSED, NOON + HOUR if replayed else None)
    assert found(version(1, state), older) == [(slug, "1")]


@pytest.mark.parametrize("state", [State.PROCESSED, State.SAME, State.SUPERSEDED])
def test_a_correction_that_is_read_or_will_never_be_is_no_finding(state: State) -> None:
    assert found(version(1, state), version(0, State.PROCESSED)) == []


@pytest.mark.parametrize("state", [State.REFUSED, State.FAILED, State.EXPIRED, State.RAW])
def test_nobody_waits_for_an_older_version_of_what_is_read(state: State) -> None:
    assert found(version(1, State.PROCESSED), version(0, state, NOON + HOUR)) == []


def test_a_correction_of_what_nobody_can_read_is_none() -> None:
    assert found(version(1, State.RAW), version(0, State.RAW)) == []
    assert found(version(1, State.FAILED), version(0, State.REFUSED)) == [(Slug.FAILED, "1"), (Slug.REFUSED, "0")]
    assert found(version(1, State.EMPTY), version(0, State.FAILED)) == [(Slug.EMPTY, "1"), (Slug.FAILED, "0")]


def test_a_correction_that_stands_still_is_missing_too() -> None:
    late = version(1, State.RAW, NOON - 3 * HOUR)
    assert found(late, version(0, State.PROCESSED)) == [(Slug.CORRECTION_PENDING, "1"), (Slug.NOT_PREPROCESSED, "1")]


def test_only_a_correction_that_was_refused_or_failed_needs_a_person() -> None:
    entries = [version(2, State.FAILED), version(1, State.RAW), version(0, State.PROCESSED)]
    findings = check_archives("radar", entries, SourceState(source="radar"), NOON, HOUR)
    assert [(each.severity, each.detail) for each in findings] == [
        (Severity.MISSING, "readers use version 00000000; it is failed: why"),
        (Severity.NOTICE, "readers use version 00000000; it is raw: why"),
    ]


def test_readers_keep_the_older_version_of_one_that_is_empty() -> None:
    entries = [version(1, State.EMPTY), version(0, State.PROCESSED)]
    (finding,) = check_archives("radar", entries, SourceState(source="radar"), NOON, HOUR)
    assert (finding.severity, finding.detail) == (
        Severity.NOTICE,
        "readers use version 00000000; it is empty: why",
    )


def test_without_a_rule_every_version_counts_for_itself() -> None:
    newer, older = version(1, State.FAILED), version(0, State.PROCESSED)
    newer = replace(newer, archive=replace(newer.archive, replaces="never"))
    assert found(newer, older) == [(Slug.FAILED, "1")]


@pytest.mark.parametrize("state", [State.FAILED, State.REFUSED, State.EMPTY, State.EXPIRED])
def test_only_the_same_file_or_a_zip_put_there_by_hand_cures_what_failed(state: State) -> None:
    """Two products of one time have the same stamp; if one is processed, the other may not be."""
    failed = version(0, state)
    failed = replace(failed, archive=replace(failed.archive, replaces="never"))
    later = version(1, State.PROCESSED)
    same = replace(later, archive=replace(later.archive, replaces="never"))
    another = replace(same, archive=replace(same.archive, path="b.zip"))
    by_hand = replace(another, archive=replace(another.archive, origin=Origin.MANUAL))
    assert found(failed, same) == []
    assert found(failed, by_hand) == []
    assert found(failed, another) == [(Slug(state.value), "0")]
