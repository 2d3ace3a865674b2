"""Rows fit the service's limits by construction, and parts that do not belong together are never returned."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagefeed.codec import checked_pixels, encode, encoding_of
from imagefeed.entities import number, whole
from imagefeed.errors import ImageDamagedError
from imagefeed.model import Refusal
from imagefeed.rows import (
    PROPERTY_BYTES,
    ROW_BYTES,
    ROW_LIMIT,
    TRANSACTION_BYTES,
    ImageRow,
    in_transactions,
    pack,
    pack_refusal,
    parts_of,
    sent_size,
    unpack,
)

PARTITION = f"{'p' * 32}~{'s' * 32}~20260301T102030Z~0123abcd"
PIXELS = np.arange(48, dtype=np.uint16).reshape(4, 4, 3)
PAYLOAD = encode(PIXELS, "npy")
EDGES = [edge + more for edge in (PROPERTY_BYTES, ROW_BYTES, 2**20, 2 * ROW_BYTES, 4 * 2**20) for more in (-1, 0, 1)]
sizes = st.one_of(st.sampled_from([0, 1, *EDGES]), st.integers(0, 5 * 2**20))
# The widest row: a name of the greatest length, every letter of which is sent as `\uXXXX`.
LONG_NAME = "\N{LATIN SMALL LETTER O WITH DIAERESIS}" * 1_000


def row_of(payload: bytes, limit: int = 8, *, name: str = "a.jpg", member: int = 7) -> ImageRow:
    return ImageRow(
        member=member,
        frame=3,
        name=name,
        format="JPEG",
        captured_at=datetime(2026, 3, 1, tzinfo=UTC),
        encoding=encoding_of(PIXELS, "npy", payload),
        parts=parts_of(len(payload), limit),
        shard=f"{'p' * 32}/{'s' * 32}/2026/03/01/10/20260301T102030Z.0123abcd.{'x' * 80}/0000.tar",
        offset=2**40,
        length=len(payload),
    )


@given(sizes, st.integers(1, 8))
def test_every_size_of_image_fits_its_rows_and_comes_back(size: int, limit: int) -> None:
    payload = bytes(size)
    entities = list(pack(PARTITION, row_of(payload, limit, name=LONG_NAME), payload))
    assert max(map(stored_size, entities)) <= ROW_LIMIT
    assert max(map(as_sent, entities)) <= ROW_LIMIT
    assert len(entities) <= limit
    row, found = unpack(entities)
    assert row == row_of(payload, limit, name=LONG_NAME)
    assert found == (payload if size <= limit * ROW_BYTES else None)


@pytest.mark.parametrize(
    ("size", "rows"),
    [(0, 1), (1, 1), (ROW_BYTES, 1), (ROW_BYTES + 1, 2), (8 * ROW_BYTES, 8), (8 * ROW_BYTES + 1, 1)],
)
def test_an_image_takes_as_few_rows_as_it_can(size: int, rows: int) -> None:
    payload = bytes(size)
    assert len(list(pack(PARTITION, row_of(payload), payload))) == rows


@settings(max_examples=20)  # each is megabytes
@given(st.lists(sizes, max_size=6), st.integers(0, 300))
def test_transactions_hold_every_row_once_in_order_and_fit(big: list[int], small: int) -> None:
    payloads = [bytes(size) for size in [*big, *[100] * small]]
    entities = [
        entity
        for number, payload in enumerate(payloads)
        for entity in pack(PARTITION, row_of(payload, name=LONG_NAME, member=number), payload)
    ]
    groups = list(in_transactions(entities))
    assert [entity for group in groups for entity in group] == entities
    assert all(0 < len(group) <= 100 for group in groups)
    assert all(sum(map(as_sent, group)) + 1_024 * len(group) <= TRANSACTION_BYTES for group in groups)


def test_a_transaction_is_of_one_partition() -> None:
    entities = [{"PartitionKey": key, "RowKey": f"{row}"} for row, key in enumerate("aabba")]
    assert ["".join(entity["PartitionKey"] for entity in group) for group in in_transactions(entities)] == [
        "aa",
        "bb",
        "a",
    ]


def test_the_size_as_sent_is_never_underestimated() -> None:
    for entity in pack(PARTITION, row_of(bytes(ROW_BYTES), name=LONG_NAME), bytes(ROW_BYTES)):
        assert as_sent(entity) <= sent_size(entity)


def test_parts_that_are_missing_doubled_or_strange_are_damage() -> None:
    payload = bytes(3 * ROW_BYTES)
    first, second, third = pack(PARTITION, row_of(payload), payload)
    strange = {**second, "checksum": "0" * 64}
    for parts in ([first, second], [second, third], [first, first, third], [first, strange, third], [third, second]):
        with pytest.raises(ImageDamagedError, match="parts"):
            unpack(parts)


def test_a_row_that_is_none_of_ours_is_damage() -> None:
    (entity,) = pack(PARTITION, row_of(PAYLOAD), PAYLOAD)
    for name in ("shape", "codec", "checksum", "shard"):
        with pytest.raises(ImageDamagedError, match="not a valid image row"):
            unpack([{other: value for other, value in entity.items() if other != name}])
    with pytest.raises(ImageDamagedError, match="codec"):
        unpack([{**entity, "codec": "pickle"}])


def test_pixels_are_given_only_if_they_fit_checksum_shape_and_type() -> None:
    encoding = encoding_of(PIXELS, "npy", PAYLOAD)
    assert np.array_equal(checked_pixels(PAYLOAD, encoding, "here"), PIXELS)
    flipped = PAYLOAD[:-1] + bytes([PAYLOAD[-1] ^ 1])
    with pytest.raises(ImageDamagedError, match=r"here.*checksum"):
        checked_pixels(flipped, encoding, "here")
    with pytest.raises(ImageDamagedError, match="reshape"):
        checked_pixels(PAYLOAD, replace(encoding, shape=(5, 5, 3)), "here")
    with pytest.raises(ImageDamagedError, match="uint16"):
        checked_pixels(PAYLOAD, replace(encoding, dtype="uint8"), "here")
    with pytest.raises(ImageDamagedError, match="here"):
        checked_pixels(b"junk", replace(encoding_of(PIXELS, "npy", b"junk")), "here")


@pytest.mark.parametrize(
    "captured_at",
    [
        None,
        datetime(2026, 3, 1, 10),  # noqa: DTZ001 - a camera's clock, without a zone
        datetime(2026, 3, 1, 10, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_a_cameras_clock_without_a_zone_stays_without_one(captured_at: datetime | None) -> None:
    row = replace(row_of(PAYLOAD), captured_at=captured_at)
    found, _ = unpack(list(pack(PARTITION, row, PAYLOAD)))
    assert found.captured_at == captured_at
    assert getattr(found.captured_at, "tzinfo", None) == getattr(captured_at, "tzinfo", None)


def test_a_refusal_sorts_behind_the_members_images() -> None:
    refusal = pack_refusal(PARTITION, Refusal(member=7, name="\udcff" * 5_000, reason="r", error="E"))
    (image,) = pack(PARTITION, row_of(PAYLOAD), PAYLOAD)
    (next_image,) = pack(PARTITION, row_of(PAYLOAD, member=8), PAYLOAD)
    assert image["RowKey"] < refusal["RowKey"] < next_image["RowKey"]
    assert len(refusal["name"].encode()) <= 3_000


def as_sent(entity: dict[str, Any]) -> int:
    """Size of an entity as the service gets it: JSON, binary values in base64, types beside them."""
    members: dict[str, Any] = {}
    for name, value in entity.items():
        members[name] = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        members[f"{name}@odata.type"] = "Edm.DateTime"
    return len(json.dumps(members, default=str).encode())


def stored_size(entity: dict[str, Any]) -> int:
    """Size of an entity by the service's formula; all of ours are texts, bytes and numbers."""

    def size(value: object) -> int:
        if isinstance(value, str):
            return 4 + len(value.encode("utf-16-le"))
        return 4 + len(value) if isinstance(value, bytes) else 8

    keys = 2 * len(entity["PartitionKey"]) + 2 * len(entity["RowKey"])
    others = ((name, value) for name, value in entity.items() if name not in ("PartitionKey", "RowKey"))
    return 4 + keys + sum(8 + 2 * len(name) + size(value) for name, value in others)


@pytest.mark.parametrize(("size", "written"), [(2**40, 2**40), (2**64, 2**63 - 1), (-(2**80), -(2**63))])
def test_a_size_that_no_property_can_hold_is_written_as_the_nearest(size: int, written: int) -> None:
    """SFTP servers may send unsigned 64 bits, FTP servers any number; the SDK fails with both."""
    assert number(whole(size)) == written
