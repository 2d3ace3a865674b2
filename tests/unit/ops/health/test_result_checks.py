"""Findings about a source's results as a whole: nothing readable, limits almost reached, results of old decoders."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from imagefeed.ledger import Entry
from imagefeed.model import Counts, State
from ops.health.findings import Finding, Severity, Slug
from ops.health.result_checks import check_results
from preprocess.image.formats import METHODS
from tests.unit.ops.web.made import NOW, entry

HOOK = "PREPROCESS_HOOK (hooks.py:12) failed: ZeroDivisionError: division by zero"


def refused(minutes: float, reason: str = "no zip") -> Entry:
    return entry(minutes, State.REFUSED, reason=reason)


def find(entries: Sequence[Entry], slug: Slug) -> list[Finding]:
    return [finding for finding in check_results("radar", entries, NOW) if finding.slug is slug]


def unreadable(entries: Sequence[Entry]) -> list[str]:
    return [finding.name for finding in find(entries, Slug.NOTHING_READABLE)]


def test_nothing_can_be_read_where_every_archive_of_the_last_hour_was_refused() -> None:
    wholly = f"none of its 9 members gave an image (9 .jpg, 2 of other kinds): {HOOK}"
    bad = [refused(3), refused(13, wholly), refused(23, wholly.replace("9", "8")), refused(33), refused(43, HOOK)]
    (found,) = find([*bad, entry(63), entry(73)], Slug.NOTHING_READABLE)
    assert (found.severity, found.detail, found.since) == (Severity.MISSING, HOOK, bad[-1].archive.stamp)
    assert found.name == "5 archives since 11:17"
    assert found.archive == bad[0].archive.key.id
    assert "imagefeed replay --source radar --since 48h" in found.advice


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        # An archive that was read, among the last hour's or among the newest three.
        ([refused(3), refused(13), entry(23), refused(33)], []),
        ([refused(3), entry(70)], []),
        ([refused(200), refused(2_000), entry(3_000), refused(4_000)], []),
        ([refused(200), refused(2_000), refused(3_000), entry(4_000)], ["3 archives since 10:00"]),
        # A source's only archive.
        ([refused(3)], ["1 archive since 11:57"]),
        # A failed archive has its own finding, and an archive in progress has none.
        ([entry(3, State.FAILED), entry(13, State.FAILED)], []),
        ([entry(3, State.FAILED), refused(13)], ["2 archives since 11:47"]),
        ([entry(1, State.RAW), refused(3), refused(13), refused(23)], ["3 archives since 11:37"]),
        ([], []),
    ],
)
def test_a_single_broken_upload_is_no_alarm(entries: Sequence[Entry], names: list[str]) -> None:
    assert unreadable(entries) == names


def test_of_each_limit_the_archive_that_came_nearest_is_told() -> None:
    near = [
        replace(entry(3), near={"LIMIT_PIXELS": 0.81}),
        replace(entry(13, path="big.zip"), near={"LIMIT_PIXELS": 0.97, "LIMIT_FRAMES": 0.9}),
        # Perhaps by the limit of another day.
        replace(entry(2_000), near={"LIMIT_PIXELS": 0.99, "LIMIT_RATIO": 0.9}),
    ]
    found = find(near, Slug.NEAR_LIMIT)
    assert [(one.name, one.detail) for one in found] == [
        ("LIMIT_FRAMES", "90% of it: big.zip"),
        ("LIMIT_PIXELS", "97% of it: big.zip"),
    ]
    assert {one.severity for one in found} == {Severity.NOTICE}
    assert found[1].advice.startswith("raise LIMIT_PIXELS")


def test_results_of_older_decoders_are_counted_with_their_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "BMP", 1)
    monkeypatch.setitem(METHODS, "TIFF", 1)
    made = [entry(number, counts=Counts(images=2, methods={"TIFF": 1, "BMP": 1})) for number in (3, 13, 23)]
    assert find(made, Slug.OUTDATED_RESULTS) == []
    monkeypatch.setitem(METHODS, "TIFF", 2)
    newer = entry(33, counts=Counts(images=2, methods={"TIFF": 2}))
    (found,) = find([*made, newer, refused(43)], Slug.OUTDATED_RESULTS)
    assert (found.name, found.detail) == ("tiff<2", "3 archives made by an older decoder of TIFF")
    assert found.severity is Severity.NOTICE
    assert "`imagefeed replay --source radar --method 'tiff<2' --since 30d`" in found.advice
