"""What polling relies on: one holder of a roster at a time, and none that writes after another took over."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import BlobLeaseClient

from config.errors import LeaseLostError
from imagefeed.layout import source_state_blob
from imagefeed.ledger import polled_sources
from ingest.model import Archive, RemoteFile, Roster, Sighting, version_of
from ingest.ports import RosterStore
from storage.blobs.source_state import BlobRosters
from storage.clients import Clients
from tests.fakes.copying import FakeRosters

MOMENT = datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC)


def roster_of(source: str, *paths: str) -> Roster:
    files = [RemoteFile(path=path, size=7, modified=MOMENT) for path in paths]
    sightings = (
        Sighting(
            listed=file,
            archive=Archive(source=source, file=file, version=version_of(file), stamp=MOMENT, stamp_replaced=True),
            first_seen=MOMENT,
            done=True,
            sha256="ab",
            unsound_since=MOMENT,
            not_before=MOMENT + timedelta(seconds=1.5),
        )
        for file in files
    )
    return Roster(source=source, listed_at=MOMENT, sightings=tuple(sightings), failures=2, error="no route")


class RosterStoreContract(ABC):
    rosters: RosterStore
    source: str

    @abstractmethod
    def take_over(self) -> None:
        """Give the lease to somebody else, behind the holder's back."""

    def test_the_first_roster_is_empty(self) -> None:
        with self.rosters.hold(self.source) as held:
            assert held.load() == Roster(source=self.source)

    def test_a_roster_comes_back_as_it_was_saved(self) -> None:
        roster = roster_of(self.source, "a.zip", "ü b/c.zip", "no utf-8 \udcff.zip")
        with self.rosters.hold(self.source) as held:
            held.save(roster)
        with self.rosters.hold(self.source) as held:
            assert held.load() == roster

    def test_a_second_holder_is_turned_away_until_the_first_is_done(self) -> None:
        with self.rosters.hold(self.source), pytest.raises(LeaseLostError), self.rosters.hold(self.source):
            pytest.fail("two hold the same roster")
        with self.rosters.hold(self.source) as held:
            held.check()

    def test_sources_do_not_wait_for_each_other(self) -> None:
        with self.rosters.hold(self.source), self.rosters.hold(f"{self.source}-2") as held:
            held.check()

    def test_an_error_inside_gives_the_roster_free(self) -> None:
        with pytest.raises(ZeroDivisionError), self.rosters.hold(self.source):
            raise ZeroDivisionError
        with self.rosters.hold(self.source) as held:
            held.check()

    def test_who_lost_the_lease_cannot_write_any_more(self) -> None:
        with self.rosters.hold(self.source) as held:
            held.save(roster_of(self.source, "mine.zip"))
            self.take_over()
            with pytest.raises(LeaseLostError):
                held.save(roster_of(self.source, "late.zip"))
            with pytest.raises(LeaseLostError):
                held.check()
            assert held.load() == roster_of(self.source, "mine.zip")


class TestFakeRosters(RosterStoreContract):
    @pytest.fixture(autouse=True)
    def _arrange(self) -> None:
        self.fake = FakeRosters()
        self.rosters = self.fake
        self.source = "radar"

    def take_over(self) -> None:
        self.fake.lost = True


class TestBlobRosters(RosterStoreContract):
    @pytest.fixture(autouse=True)
    def _arrange(self, clients: Clients, source: str) -> None:
        self.rosters = BlobRosters(clients)
        self.source = source
        self.blob = clients.state.get_blob_client(source_state_blob(source))
        self.clients = clients

    def take_over(self) -> None:
        BlobLeaseClient(self.blob).break_lease(0)
        self.blob.acquire_lease(60)

    def test_the_lease_is_renewed_while_held(self) -> None:
        with BlobRosters(self.clients, lease_seconds=15, renew_seconds=0.05).hold(self.source) as held:
            self.take_over()
            # Only a renewal can have noticed: nothing else talks to the service here.
            eventually(lambda: _lost(held.check))

    def test_a_roster_of_another_shape_is_begun_anew(self, caplog: pytest.LogCaptureFixture) -> None:
        for text in ('{"source": 1, "sightings": "none"}', "no json", "\x80"):
            with self.rosters.hold(self.source) as held:
                held.save(roster_of(self.source, "a.zip"))
            self.blob.upload_blob(text.encode("latin-1"), overwrite=True)
            with self.rosters.hold(self.source) as held:
                assert held.load() == Roster(source=self.source)
        assert "begins anew" in caplog.text

    def test_who_only_looks_needs_no_lease_and_disturbs_no_holder(self) -> None:
        roster = roster_of(self.source, "a.zip", "no utf-8 \udcff.zip")
        looker = BlobRosters(self.clients)
        assert looker.look(self.source) is None
        with self.rosters.hold(self.source) as held:
            held.save(roster)
            assert looker.look(self.source) == roster
            held.save(roster)
        assert self.source in polled_sources(self.clients)

    def test_a_holder_that_died_blocks_nobody_for_longer_than_its_lease(self) -> None:
        with self.rosters.hold(self.source):
            pass
        # A lease that nobody renews or gives back; the service allows no shorter one.
        self.blob.acquire_lease(15)
        with pytest.raises(LeaseLostError), self.rosters.hold(self.source):
            pytest.fail("two hold the same roster")
        eventually(self._holds, within=20)

    def _holds(self) -> bool:
        try:
            with self.rosters.hold(self.source):
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
