"""Rows as a table: flat columns of one type each, for any images."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pandas as pd

from imagefeed import to_pandas
from imagefeed.codec import Encoding
from imagefeed.model import RawArchive
from imagefeed.rows import ImageRow
from imagefeed.tables import Result, StoredRow

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ARCHIVE = RawArchive(source="radar", stamp=NOON, version="0123abcd", blob="b", size=9, path="out/ä.zip", etag="1")
RESULT = Result(pipeline="p1", archive=ARCHIVE, processed_at=NOON + timedelta(seconds=7))


def row(member: int, shape: tuple[int, ...] = (480, 640, 3), captured_at: datetime | None = None) -> StoredRow:
    return StoredRow(
        result=RESULT,
        row=ImageRow(
            member=member,
            frame=1,
            name="ü.jpg",
            format="JPEG",
            captured_at=captured_at,
            encoding=Encoding(shape=shape, dtype="uint8", codec="npy", checksum="c"),
            parts=2,
            shard="s.tar",
            offset=512,
            length=10,
        ),
    )


def test_a_row_is_one_line_of_flat_columns() -> None:
    (line,) = to_pandas([row(7, captured_at=NOON)]).to_dict("records")
    assert pd.isna(line.pop("captured_local"))
    assert line == {
        "source": "radar",
        "stamp": pd.Timestamp(NOON),
        "version": "0123abcd",
        "archive": "out/ä.zip",
        "pipeline": "p1",
        "processed_at": pd.Timestamp(NOON + timedelta(seconds=7)),
        "member": 7,
        "frame": 1,
        "name": "ü.jpg",
        "format": "JPEG",
        "method": 1,
        "captured_at": pd.Timestamp(NOON),
        "height": 480,
        "width": 640,
        "channels": 3,
        "shape": "480x640x3",
        "dtype": "uint8",
        "codec": "npy",
        "checksum": "c",
        "parts": 2,
        "shard": "s.tar",
        "offset": 512,
        "length": 10,
        "id": "p1~radar~20260301T120000Z~0123abcd/000007-0001",
    }


def test_lines_stand_in_the_rows_order() -> None:
    table = to_pandas(row(member) for member in (3, 1, 2))
    assert table.index.tolist() == [0, 1, 2]
    assert table["member"].tolist() == [3, 1, 2]


def test_a_grey_picture_has_one_channel_and_what_is_no_picture_has_no_height() -> None:
    table = to_pandas([row(0, (4, 5)), row(1, (128,)), row(2, (2, 3, 4, 5)), row(3, ())])
    assert table["channels"].tolist() == [1, pd.NA, pd.NA, pd.NA]
    assert table["height"].tolist() == [4, pd.NA, pd.NA, pd.NA]
    assert table["width"].tolist() == [5, pd.NA, pd.NA, pd.NA]
    assert table["shape"].tolist() == ["4x5", "128", "2x3x4x5", ""]


def test_a_time_with_an_offset_is_utc_and_one_without_is_the_cameras() -> None:
    tokyo = datetime(2026, 3, 1, 21, tzinfo=timezone(timedelta(hours=9)))
    camera = datetime(2026, 3, 1, 3)  # noqa: DTZ001 - the camera's own clock
    table = to_pandas([row(0, captured_at=tokyo), row(1, captured_at=camera), row(2)])
    assert table["captured_at"].tolist() == [pd.Timestamp(NOON), pd.NaT, pd.NaT]
    assert table["captured_local"].tolist() == [pd.NaT, pd.Timestamp(camera), pd.NaT]


def test_no_rows_have_the_same_columns_and_types() -> None:
    assert to_pandas([]).dtypes.to_dict() == to_pandas([row(0, captured_at=NOON)]).dtypes.to_dict()


def test_an_archive_of_unknown_end_has_no_time() -> None:
    stored = row(0)
    unknown = replace(stored, result=replace(RESULT, processed_at=None))
    assert to_pandas([unknown])["processed_at"].isna().all()
