"""Rows of the images table. An image takes as many rows as it needs to stay within the service's limits.

A row stays under 1 MiB, both by the service's formula and as it is sent in base64, which Azurite counts.
A transaction stays under 4 MiB as sent and within 100 rows
(https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from azure.data.tables import EntityProperty

from imagefeed.codec import Encoding, read_encoding
from imagefeed.entities import Properties, number, text, whole
from imagefeed.errors import ImageDamagedError
from imagefeed.layout import image_row, refusal_row
from imagefeed.model import Refusal

PROPERTY_BYTES = 64 * 1024
ROW_PROPERTIES = 11
ROW_BYTES = PROPERTY_BYTES * ROW_PROPERTIES
ROW_LIMIT = 2**20
TRANSACTION_ROWS = 100
TRANSACTION_BYTES = 4 * 2**20
# Bytes around each row of a transaction: headers, the operation, the address with the percent-encoded keys.
_ENVELOPE = 2_048
ROW_COLUMNS = [
    "RowKey",
    "member",
    "frame",
    "name",
    "format",
    "method",
    "captured_at",
    "shape",
    "dtype",
    "codec",
    "checksum",
    "part",
    "parts",
    "shard",
    "offset",
    "length",
]
"""All columns except the payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """An image's row in the table, without its payload."""

    member: int
    frame: int
    name: str
    format: str
    captured_at: datetime | None
    encoding: Encoding
    parts: int
    """Number of rows that hold the payload; 0 if only the shard holds it."""
    shard: str
    offset: int
    length: int
    method: int = 1


def parts_of(length: int, limit: int) -> int:
    """Return how many rows a payload takes; 0 if more than `limit`: then one row holds only the link to the shard."""
    parts = max(1, -(-length // ROW_BYTES))
    return parts if parts <= limit else 0


def pack(partition: str, row: ImageRow, payload: bytes) -> Iterator[Properties]:
    """Yield an image's entities: one for each part, or one with only the link to the shard."""
    metadata = _metadata(row)
    for part in range(max(1, row.parts)):
        start = part * ROW_BYTES
        piece = payload[start : start + ROW_BYTES] if row.parts else b""
        key = {"PartitionKey": partition, "RowKey": image_row(row.member, row.frame, part)}
        yield {**key, **metadata, "part": part, **_pieces(piece)}


def pack_refusal(partition: str, refusal: Refusal) -> Properties:
    """Return the entity of a refused member."""
    return {
        "PartitionKey": partition,
        "RowKey": refusal_row(refusal.member),
        "member": refusal.member,
        "name": text(refusal.name),
        "reason": text(refusal.reason),
        "error": text(refusal.error),
    }


def read_row(entity: Mapping[str, Any]) -> ImageRow:
    """Return the image's row in an entity. Raises ImageDamagedError if it is invalid."""
    try:
        return ImageRow(
            member=entity["member"],
            frame=entity["frame"],
            name=entity["name"],
            format=entity["format"],
            captured_at=datetime.fromisoformat(entity["captured_at"]) if entity.get("captured_at") else None,
            encoding=read_encoding({**entity, "shape": json.loads(entity["shape"])}),
            parts=entity["parts"],
            shard=entity["shard"],
            offset=number(entity["offset"]),
            length=number(entity["length"]),
            method=entity["method"],
        )
    except (KeyError, ValueError, TypeError) as exc:
        raise ImageDamagedError(f"read the row {_key(entity)}: it is not a valid image row: {exc}") from exc


def unpack(entities: Sequence[Mapping[str, Any]]) -> tuple[ImageRow, bytearray | None]:
    """Return an image's row and its payload, joined from all its entities; None if it is only in the shard.

    Raises ImageDamagedError if parts are missing or do not belong together.
    """
    row = read_row(entities[0])
    parts = [entity.get("part") for entity in entities]
    if parts != list(range(max(1, row.parts))) or any(read_row(entity) != row for entity in entities[1:]):
        raise ImageDamagedError(
            f"read the image {_key(entities[0])}: it has {row.parts} parts, but these were found: {parts}"
        )
    if row.parts == 0:
        return row, None
    return row, bytearray().join(entity[name] for entity in entities for name in _NAMES if entity.get(name) is not None)


def in_transactions(entities: Iterable[Properties]) -> Iterator[list[Properties]]:
    """Yield groups of entities, each of one partition and small enough for one transaction."""
    group: list[Properties] = []
    size = 0
    for entity in entities:
        more = sent_size(entity)
        full = len(group) == TRANSACTION_ROWS or size + more > TRANSACTION_BYTES
        if group and (full or entity["PartitionKey"] != group[0]["PartitionKey"]):
            yield group
            group, size = [], 0
        group.append(entity)
        size += more
    if group:
        yield group


def sent_size(entity: Mapping[str, Any]) -> int:
    """Return an upper bound of an entity's bytes within a transaction's request."""
    return _ENVELOPE + sum(len(name) + 64 + _sent(value) for name, value in entity.items())


_NAMES = tuple(f"data{number}" for number in range(ROW_PROPERTIES))


def _metadata(row: ImageRow) -> Properties:
    return {
        "member": row.member,
        "frame": row.frame,
        "name": row.name,
        "format": row.format,
        "method": row.method,
        # Stored as text, because the table would return a time without a zone as UTC.
        "captured_at": row.captured_at.isoformat() if row.captured_at else "",
        "shape": json.dumps(row.encoding.shape),
        "dtype": row.encoding.dtype,
        "codec": row.encoding.codec,
        "checksum": row.encoding.checksum,
        "parts": row.parts,
        "shard": row.shard,
        "offset": whole(row.offset),
        "length": whole(row.length),
    }


def _pieces(payload: bytes) -> Properties:
    starts = range(0, len(payload), PROPERTY_BYTES)
    return {name: payload[start : start + PROPERTY_BYTES] for name, start in zip(_NAMES, starts, strict=False)}


def _sent(value: object) -> int:
    match value:
        case str():
            return len(json.dumps(value))
        case bytes():
            return 4 * -(-len(value) // 3)
        case EntityProperty():
            return 2 * len(str(value.value))
        case _:
            return len(str(value))


def _key(entity: Mapping[str, Any]) -> str:
    return f"{entity.get('PartitionKey')}/{entity.get('RowKey')}"
