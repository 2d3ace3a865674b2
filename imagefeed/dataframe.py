"""Converts rows of the images table to a pandas DataFrame with flat columns, as Parquet and SQL need them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from imagefeed.layout import image_stem

if TYPE_CHECKING:
    from imagefeed.tables import StoredRow

_UTC = "datetime64[us, UTC]"
_COLUMNS = {
    "source": "str",
    "stamp": _UTC,
    "version": "str",
    "archive": "str",
    "pipeline": "str",
    "processed_at": _UTC,
    "member": "int64",
    "frame": "int64",
    "name": "str",
    "format": "str",
    "method": "int64",
    "captured_at": _UTC,
    "captured_local": "datetime64[us]",
    "height": "Int64",
    "width": "Int64",
    "channels": "Int64",
    "shape": "str",
    "dtype": "str",
    "codec": "str",
    "checksum": "str",
    "parts": "int64",
    "shard": "str",
    "offset": "int64",
    "length": "int64",
    "id": "str",
}


def to_pandas(rows: "Iterable[StoredRow]") -> pd.DataFrame:
    """Return a DataFrame with one line for each row, in the rows' order. Without rows it has the same columns.

    `height`, `width` and `channels` (1 for grey) are missing if a hook returned an array with another number of
    dimensions; `shape` is always there: "480x640x3". `captured_at` is UTC, and missing if EXIF has no offset; then
    `captured_local` has the time of the camera's clock. `id` is unique, and is the image's key in shards: pipeline,
    source, stamp, version, member and frame.
    """
    lines = [_line(row) for row in rows]
    return pd.DataFrame(
        {name: pd.Series([line[name] for line in lines], dtype=dtype) for name, dtype in _COLUMNS.items()}
    )


def _line(stored: "StoredRow") -> dict[str, Any]:
    result, row = stored.result, stored.row
    shape = row.encoding.shape
    height, width, channels = (*shape, 1)[:3] if len(shape) in (2, 3) else (None, None, None)
    captured = row.captured_at
    aware = captured is not None and captured.tzinfo is not None
    return {
        "source": result.archive.source,
        "stamp": result.archive.stamp,
        "version": result.archive.version,
        "archive": result.archive.path,
        "pipeline": result.pipeline,
        "processed_at": result.processed_at,
        "member": row.member,
        "frame": row.frame,
        "name": row.name,
        "format": row.format,
        "method": row.method,
        "captured_at": captured if aware else None,
        "captured_local": None if aware else captured,
        "height": height,
        "width": width,
        "channels": channels,
        "shape": "x".join(map(str, shape)),
        "dtype": row.encoding.dtype,
        "codec": row.encoding.codec,
        "checksum": row.encoding.checksum,
        "parts": row.parts,
        "shard": row.shard,
        "offset": row.offset,
        "length": row.length,
        "id": f"{result.partition}/{image_stem(row.member, row.frame)}",
    }
