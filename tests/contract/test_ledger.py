"""The ledger's contract for copying: times once set stay, even if a write is late or repeated."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagefeed.ledger import state_of, time_of
from imagefeed.model import State
from ingest.model import Archive, CopyMetadata, RemoteFile, Step, version_of
from ingest.ports import CopyLedger
from storage.clients import Clients
from storage.tables.archives import TableCopyLedger
from tests.fakes.copying import FakeLedger, key_of

MOMENT = datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC)
LATER = MOMENT + timedelta(seconds=1.25)
METADATA = CopyMetadata(sha256="ab" * 32, complete=False)


def archive_of(source: str, path: str = "out/a.zip") -> Archive:
    file = RemoteFile(path=path, size=5 * 2**40, modified=MOMENT)
    return Archive(source=source, file=file, version=version_of(file), stamp=MOMENT)


class CopyLedgerContract(ABC):
    ledger: CopyLedger
    source: str

    @abstractmethod
    def times(self, archive: Archive) -> Mapping[Step, datetime]:
        """Read the times without the ledger."""

    @abstractmethod
    def recorded(self, archive: Archive) -> tuple[str | None, str | None]:
        """Read hash and error without the ledger."""

    def test_each_step_has_its_time(self) -> None:
        archive = archive_of(self.source)
        for number, step in enumerate(Step):
            self.ledger.record(archive, step, MOMENT + timedelta(seconds=number))
        assert self.times(archive) == {step: MOMENT + timedelta(seconds=number) for number, step in enumerate(Step)}

    def test_a_time_once_set_stays(self) -> None:
        archive = archive_of(self.source)
        self.ledger.record(archive, Step.SEEN, MOMENT)
        self.ledger.record(archive, Step.SEEN, LATER)
        assert self.times(archive) == {Step.SEEN: MOMENT}

    def test_steps_may_come_in_any_order(self) -> None:
        archive = archive_of(self.source)
        self.ledger.record(archive, Step.RAW, LATER, METADATA)
        self.ledger.record(archive, Step.SEEN, MOMENT)
        assert self.times(archive) == {Step.SEEN: MOMENT, Step.RAW: LATER}
        assert self.recorded(archive) == (METADATA.sha256, None)

    def test_the_last_trouble_is_kept_and_is_no_step(self) -> None:
        archive = archive_of(self.source)
        self.ledger.trouble(archive, "no route", MOMENT)
        self.ledger.trouble(archive, "no login \udcff", LATER)
        assert self.times(archive) == {}
        hashed, error = self.recorded(archive)
        assert hashed is None
        assert error is not None
        assert error.startswith("no login")

    def test_versions_have_rows_of_their_own(self) -> None:
        first, second = archive_of(self.source), archive_of(self.source, "no utf-8 \udcff.zip")
        self.ledger.record(first, Step.SEEN, MOMENT)
        self.ledger.record(second, Step.COPYING, LATER)
        assert self.times(first) == {Step.SEEN: MOMENT}
        assert self.times(second) == {Step.COPYING: LATER}

    def test_ten_writers_at_once_lose_nothing_of_each_other(self) -> None:
        archive = archive_of(self.source)
        steps = [step for step in Step for _ in range(2)]
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda step: self.ledger.record(archive, step, MOMENT), steps))
        assert self.times(archive) == dict.fromkeys(Step, MOMENT)


class TestFakeLedger(CopyLedgerContract):
    @pytest.fixture(autouse=True)
    def _arrange(self) -> None:
        self.fake = FakeLedger()
        self.ledger = self.fake
        self.source = "radar"

    def times(self, archive: Archive) -> Mapping[Step, datetime]:
        return self.fake.times.get(key_of(archive), {})

    def recorded(self, archive: Archive) -> tuple[str | None, str | None]:
        metadata = self.fake.metadata.get(key_of(archive))
        return metadata.sha256 if metadata else None, self.fake.errors.get(key_of(archive))


class TestTableCopyLedger(CopyLedgerContract):
    @pytest.fixture(autouse=True)
    def _arrange(self, clients: Clients, source: str) -> None:
        self.ledger = TableCopyLedger(clients)
        self.source = source
        self.table = clients.tables.get_table_client("archives")

    def row(self, archive: Archive) -> Mapping[str, Any]:
        return self.table.get_entity(archive.source, archive.key.ledger_row())

    def times(self, archive: Archive) -> Mapping[Step, datetime]:
        row = self.row(archive)
        return {step: row[f"{step}_at"] for step in Step if row.get(f"{step}_at") is not None}

    def recorded(self, archive: Archive) -> tuple[str | None, str | None]:
        row = self.row(archive)
        return row.get("sha256"), row.get("error")

    def test_a_row_tells_what_is_known_of_the_archive(self) -> None:
        archive = replace(archive_of(self.source, "ü/a b.zip"), replaces="path")
        self.ledger.record(archive, Step.RAW, MOMENT, METADATA)
        row = self.row(archive)
        assert row["replaces"] == "path"
        assert row["RowKey"] == f"79739698897969~{archive.version}"
        assert row["path"] == "%C3%BC/a%20b.zip"
        assert row["size"].value == 5 * 2**40
        assert (row["modified"], row["stamp"], row["version"]) == (MOMENT, MOMENT, archive.version)
        assert (row["origin"], row["complete"], row["stamp_replaced"]) == ("copied", False, False)


@pytest.mark.parametrize(
    ("times", "state"),
    [
        ((), State.SEEN),
        ((State.SEEN,), State.SEEN),
        ((State.SEEN, State.COPYING), State.COPYING),
        ((State.SEEN, State.COPYING, State.RAW), State.RAW),
        ((State.RAW, State.PROCESSING), State.PROCESSING),
        ((State.PROCESSING, State.PROCESSED), State.PROCESSED),
        ((State.PROCESSING, State.REFUSED), State.REFUSED),
        ((State.PROCESSING, State.FAILED), State.FAILED),
        ((State.SEEN, State.COPYING, State.SAME), State.SAME),
        ((State.SEEN, State.COPYING, State.SUPERSEDED), State.SUPERSEDED),
        ((State.SEEN, State.EXPIRED), State.EXPIRED),
        # The late writes: the blob exists, the batches are done.
        ((State.EXPIRED, State.RAW), State.RAW),
        ((State.SUPERSEDED, State.RAW), State.RAW),
        ((State.FAILED, State.PROCESSED), State.PROCESSED),
    ],
)
def test_the_state_is_derived_from_the_times_that_are_set(times: tuple[State, ...], state: State) -> None:
    row = {time_of(each): None for each in State} | {time_of(each): MOMENT for each in times}
    assert state_of(row) is state
