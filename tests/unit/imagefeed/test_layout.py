"""Names in storage: unique by their keys, sorted by time, and made only of letters that every service takes."""

import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from imagefeed.layout import decode_path, encode_path, format_stamp, image_row, parse_stamp, refusal_row, safe_stem
from imagefeed.model import ArchiveKey

STAMPS = st.datetimes(datetime(1970, 1, 1), datetime(2999, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001 - bounds
    lambda stamp: stamp.replace(microsecond=0)
)
NAMES = st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
BYTES_AS_TEXT = st.binary(min_size=1, max_size=200).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
FORBIDDEN_IN_KEYS = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")


@given(STAMPS)
def test_a_stamp_survives_being_written_and_read(stamp: datetime) -> None:
    assert parse_stamp(format_stamp(stamp)) == stamp


@given(STAMPS, STAMPS, VERSIONS)
def test_the_ledger_sorts_the_newest_first_and_the_images_the_oldest(a: datetime, b: datetime, version: str) -> None:
    older, newer = (ArchiveKey("s", stamp, version) for stamp in sorted((a, b)))
    if older != newer:
        assert newer.ledger_row() < older.ledger_row()
        assert older.partition("p") < newer.partition("p")


@given(NAMES, STAMPS, VERSIONS, NAMES)
def test_keys_hold_nothing_that_the_table_service_forbids(
    source: str, stamp: datetime, version: str, pipeline: str
) -> None:
    archive = ArchiveKey(source, stamp, version)
    keys = [
        archive.ledger_row(pipeline),
        archive.partition(pipeline),
        image_row(99_999, 999, 99),
        refusal_row(99_999),
    ]
    assert not [key for key in keys if FORBIDDEN_IN_KEYS.search(key) or len(key) > 512]


@given(st.text(max_size=300) | BYTES_AS_TEXT)
def test_any_file_name_becomes_a_stem_that_is_no_path(path: str) -> None:
    stem = safe_stem(path)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,80}", stem)
    assert stem.strip(".")


@given(NAMES, STAMPS, VERSIONS, st.text(max_size=300) | BYTES_AS_TEXT)
def test_blob_names_lie_in_their_hour_and_keep_within_the_limit(
    source: str, stamp: datetime, version: str, path: str
) -> None:
    archive = ArchiveKey(source, stamp, version)
    raw = archive.raw_blob(path)
    shard = archive.shard("p", path, 7)
    hour = f"{source}/{stamp:%Y/%m/%d/%H}/"
    assert raw.startswith(f"{hour}{format_stamp(stamp)}.{version}.")
    assert shard.startswith(f"p/{hour}")
    assert raw.endswith(".zip")
    assert shard.endswith("/0007.tar")
    assert max(len(raw), len(shard)) < 1_024
    assert raw.count("/") == 5


@given(BYTES_AS_TEXT)
def test_a_true_name_survives_metadata(path: str) -> None:
    text = encode_path(path)
    assert text.isascii()
    assert decode_path(text) == path


@given(st.tuples(st.integers(0, 99_999), st.integers(0, 9_999), st.integers(0, 99)))
def test_rows_of_a_partition_sort_by_member_frame_and_part(place: tuple[int, int, int]) -> None:
    member, frame, part = place
    assert image_row(member, frame, part) < image_row(member, frame, part + 1) or part == 99
    assert image_row(member, frame, part) < refusal_row(member) < image_row(member + 1, 0, 0)
