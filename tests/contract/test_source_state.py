"""The contract of source states: one holder at a time, and no writes after another process took over."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import BlobLeaseClient

from config.errors import LeaseLostError
from imagefeed.layout import source_state_blob
from imagefeed.ledger import polled_sources
from ingest.model import (
    Archive,
    Outage,
    PassedOver,
    Promises,
    RemoteFile,
    SourceState,
    TrackedFile,
    Unmeasured,
    UnreadParts,
    UnsizedFile,
    version_of,
)
from ingest.ports import SourceStateStore
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients
from tests.fakes.copying import FakeSourceStates

MOMENT = datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC)


def source_state_of(source: str, *paths: str) -> SourceState:
    files = [RemoteFile(path=path, size=7, modified=MOMENT) for path in paths]
    tracked_files = (
        TrackedFile(
            listed=file,
            archive=Archive(source=source, file=file, version=version_of(file), stamp=MOMENT, stamp_replaced=True),
            first_seen=MOMENT,
            done=True,
            sha256="ab",
            truncated_since=MOMENT,
            not_before=MOMENT + timedelta(seconds=1.5),
        )
        for file in files
    )
    return SourceState(
        source=source,
        promises=Promises(interval=timedelta(seconds=90), stamp="%Y", active="Mo-Su 06:00-20:00 Europe/Berlin"),
        listed_at=MOMENT,
        passed_over=PassedOver(count=2, newest="no utf-8 \udcff.rar", modified=MOMENT),
        unread=UnreadParts(count=2, texts=("??? a.zip \udcff",), incomplete=True),
        outages=(Outage(start=MOMENT, end=None, error="no route", refused=True),),
        tracked_files=tuple(tracked_files),
        unmeasured=(
            Unmeasured(
                file=UnsizedFile(path="no utf-8 \udcff.zip", modified=MOMENT),
                failures=3,
                not_before=MOMENT + timedelta(seconds=1.5),
                error="550 no",
            ),
        ),
        failures=2,
        error="no route",
    )


class SourceStateStoreContract(ABC):
    source_states: SourceStateStore
    source: str

    @abstractmethod
    def take_over(self) -> None:
        """Give the lease to another process, without the holder's knowledge."""

    def test_the_first_source_state_is_empty(self) -> None:
        with self.source_states.hold(self.source) as held:
            assert held.load() == SourceState(source=self.source)

    def test_a_source_state_comes_back_as_it_was_saved(self) -> None:
        source_state = source_state_of(self.source, "a.zip", "ü b/c.zip", "no utf-8 \udcff.zip")
        with self.source_states.hold(self.source) as held:
            held.save(source_state)
        with self.source_states.hold(self.source) as held:
            assert held.load() == source_state

    def test_a_second_holder_is_turned_away_until_the_first_is_done(self) -> None:
        with self.source_states.hold(self.source), pytest.raises(LeaseLostError), self.source_states.hold(self.source):
            pytest.fail("two hold the same source state")
        with self.source_states.hold(self.source) as held:
            held.check()

    def test_sources_do_not_wait_for_each_other(self) -> None:
        with self.source_states.hold(self.source), self.source_states.hold(f"{self.source}-2") as held:
            held.check()

    def test_an_error_inside_gives_the_source_state_free(self) -> None:
        with pytest.raises(ZeroDivisionError), self.source_states.hold(self.source):
            raise ZeroDivisionError
        with self.source_states.hold(self.source) as held:
            held.check()

    def test_who_lost_the_lease_cannot_write_any_more(self) -> None:
        with self.source_states.hold(self.source) as held:
            held.save(source_state_of(self.source, "mine.zip"))
            self.take_over()
            with pytest.raises(LeaseLostError):
                held.save(source_state_of(self.source, "late.zip"))
            with pytest.raises(LeaseLostError):
                held.check()
            assert held.load() == source_state_of(self.source, "mine.zip")


class TestFakeSourceStates(SourceStateStoreContract):
    @pytest.fixture(autouse=True)
    def _arrange(self) -> None:
        self.fake = FakeSourceStates()
        self.source_states = self.fake
        self.source = "radar"

    def take_over(self) -> None:
        self.fake.lost = True


class TestBlobSourceStates(SourceStateStoreContract):
    @pytest.fixture(autouse=True)
    def _arrange(self, clients: Clients, source: str) -> None:
        self.source_states = BlobSourceStates(clients)
        self.source = source
        self.blob = clients.state.get_blob_client(source_state_blob(source))
        self.clients = clients

    def take_over(self) -> None:
        BlobLeaseClient(self.blob).break_lease(0)
        self.blob.acquire_lease(60)

    def test_the_lease_is_renewed_while_held(self) -> None:
        with BlobSourceStates(self.clients, lease_seconds=15, renew_seconds=0.05).hold(self.source) as held:
            self.take_over()
            # Only a renewal can have noticed: nothing else talks to the service here.
            eventually(lambda: _lost(held.check))

    def test_a_source_state_of_another_shape_is_begun_anew(self, caplog: pytest.LogCaptureFixture) -> None:
        for text in ('{"source": 1, "tracked_files": "none"}', "no json", "\x80"):
            with self.source_states.hold(self.source) as held:
                held.save(source_state_of(self.source, "a.zip"))
            self.blob.upload_blob(text.encode("latin-1"), overwrite=True)
            with self.source_states.hold(self.source) as held:
                assert held.load() == SourceState(source=self.source)
        assert "continues with an empty state" in caplog.text

    def test_who_only_looks_needs_no_lease_and_disturbs_no_holder(self) -> None:
        source_state = source_state_of(self.source, "a.zip", "no utf-8 \udcff.zip")
        looker = BlobSourceStates(self.clients)
        assert looker.look(self.source) is None
        with self.source_states.hold(self.source) as held:
            held.save(source_state)
            assert looker.look(self.source) == source_state
            held.save(source_state)
        assert self.source in polled_sources(self.clients)

    def test_a_holder_that_died_blocks_nobody_for_longer_than_its_lease(self) -> None:
        with self.source_states.hold(self.source):
            pass
        # A lease that no process renews or releases; the service allows no shorter one.
        self.blob.acquire_lease(15)
        with pytest.raises(LeaseLostError), self.source_states.hold(self.source):
            pytest.fail("two hold the same source state")
        eventually(self._holds, within=20)

    def _holds(self) -> bool:
        try:
            with self.source_states.hold(self.source):
                return True
        except LeaseLostError:
            return False


def _lost(check: Callable[[], None]) -> bool:
    try:
        check()
    except LeaseLostError:
        return True
    return False


def eventually(claim: Callable[[], bool], within: float = 10) -> None:
    deadline = time.monotonic() + within
    while not claim():
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.05)
