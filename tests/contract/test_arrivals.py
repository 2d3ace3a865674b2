"""The contract of reading arrivals: every archive of a time range as the ledger has it, and the last one before."""

from datetime import UTC, datetime, timedelta

import pytest

from imagefeed.model import Origin, RawArchive
from ingest.model import Archive, Arrival, RemoteFile, Step, version_of
from storage.clients import Clients
from storage.tables.archives import TableCopyLedger
from storage.tables.arrivals import TableArrivals
from storage.tables.batches import TableBatchLedger

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def copied(clients: Clients) -> TableCopyLedger:
    return TableCopyLedger(clients)


def archive(source: str, stamp: datetime) -> Archive:
    file = RemoteFile(path=f"{stamp:%d%H}.zip", size=1, modified=stamp)
    return Archive(source=source, file=file, version=version_of(file), stamp=stamp)


def test_archives_since_a_time_and_the_last_one_before_it(
    clients: Clients, source: str, copied: TableCopyLedger
) -> None:
    for hours in range(6):
        copied.record(archive(source, NOON - hours * HOUR), Step.SEEN, NOON)
    # Newest first; the third hour is where the range begins, the fourth is the last one before it.
    arrivals = TableArrivals(clients).since(source, NOON - 2 * HOUR)
    assert arrivals == [Arrival(stamp=NOON - hours * HOUR, seen=NOON) for hours in range(4)]


def test_what_was_only_touched_is_nothing_new(clients: Clients, source: str, copied: TableCopyLedger) -> None:
    for hours in (1, 3):
        copied.record(archive(source, NOON - hours * HOUR), Step.SAME, NOON)
    copied.record(archive(source, NOON - 4 * HOUR), Step.EXPIRED, NOON)
    arrivals = TableArrivals(clients).since(source, NOON - 2 * HOUR)
    assert [arrival.stamp for arrival in arrivals] == [NOON - 4 * HOUR]


def test_what_was_put_there_by_hand_is_told_by_its_blob(clients: Clients, source: str) -> None:
    ledger, blob = TableBatchLedger(clients), f"{source}/by hand.zip"
    put = RawArchive(
        source=source, stamp=NOON, version="0123abcd", blob=blob, size=1, path=blob, origin=Origin.MANUAL, etag="1"
    )
    ledger.record_raw(put, NOON + HOUR)
    ledger.refuse(put, "p1", "no zip", NOON + HOUR)
    assert TableArrivals(clients).since(source, NOON) == [Arrival(stamp=NOON, seen=NOON + HOUR, by_hand=blob)]


def test_a_source_that_nobody_knows_has_none(clients: Clients, source: str) -> None:
    assert TableArrivals(clients).since(source, NOON) == []
