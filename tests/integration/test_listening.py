"""A queue without a listener is distinguished from one whose listener is slow, busy, or works off a backlog."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.queue import QueueClient

from config.settings import read_settings
from imagefeed.model import Counts
from ingest.model import SourceState
from local.azurite import Azurite
from local.azurite import azurite as start_azurite
from ops.health.doctor.app import check_listeners
from ops.health.doctor.findings import CheckStatus
from ops.health.findings import Finding
from ops.health.listening import check_queues, queue_not_consumed
from preprocess.claim import ClaimKind
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients, connected, prepare
from storage.queues.messages import BatchMessages, PollMessages
from tests.integration.plant import HOUR, NOW, Plant

WINDOW = timedelta(hours=72)
LATER = timedelta(minutes=3)
"""The service sets the age of messages, so the test moves the observer's clock."""


@pytest.fixture(scope="module")
def azurite() -> Iterator[Azurite]:
    """A separate Azurite, because messages of other tests must not be in its queues."""
    with start_azurite() as server:
        yield server


@pytest.fixture
def clients(azurite: Azurite) -> Iterator[Clients]:
    with connected(azurite.connection) as connection:
        prepare(connection)
        for queue in (connection.poll_queue, connection.batch_queue):
            queue.clear_messages()
        yield connection


class Check:
    """Checks the queues, and counts how often it had to check twice."""

    def __init__(self, clients: Clients, source: str) -> None:
        self._clients = clients
        self._source = source
        self.pauses: list[float] = []

    def __call__(self, ahead: timedelta, meanwhile: Callable[[], object] = lambda: None) -> list[Finding]:
        def pause(seconds: float) -> None:
            self.pauses.append(seconds)
            meanwhile()

        return list(check_queues(self._clients, [self._source], datetime.now(UTC) + ahead, WINDOW, pause))


@pytest.fixture
def check(clients: Clients, source: str) -> Check:
    return Check(clients, source)


def take(queue: QueueClient) -> None:
    """Take the message in front, as a listener does."""
    message = queue.receive_message()
    assert message is not None
    queue.delete_message(message)


class TestBatches:
    """The queue that process_batch listens to."""

    @pytest.fixture
    def plant(self, clients: Clients, source: str) -> Plant:
        return Plant(clients, source)

    def test_where_nothing_waits_one_look_is_enough(self, check: Check) -> None:
        assert check(LATER) == []
        assert check.pauses == []

    def test_an_old_message_that_nobody_takes_is_a_symptom(self, clients: Clients, check: Check) -> None:
        BatchMessages(clients).put("radar/a.zip", None)
        (symptom,) = check(LATER)
        assert symptom.name == "process_batch"
        assert "has waited for 18" in symptom.detail
        assert "on the queue batches" in symptom.detail
        assert f"process_batch does not listen to the queues of {clients.queues.primary_hostname}" in symptom.detail
        assert check.pauses == [5]

    def test_a_message_that_has_not_waited_for_two_minutes_is_none(self, clients: Clients, check: Check) -> None:
        BatchMessages(clients).put("radar/a.zip", None)
        assert check(timedelta(seconds=110)) == []
        assert check.pauses == []

    def test_a_message_that_was_taken_and_put_back_is_none(self, clients: Clients, check: Check) -> None:
        BatchMessages(clients).put("radar/a.zip", None)
        message = clients.batch_queue.receive_message()
        assert message is not None
        clients.batch_queue.update_message(message, visibility_timeout=0)
        assert check(LATER) == []
        assert check.pauses == []
        # Nor does it say anything about others, which no listener has taken so far.
        BatchMessages(clients).put("radar/b.zip", None)
        assert len(check(LATER)) == 1

    def test_a_backlog_that_is_worked_off_is_none(self, clients: Clients, check: Check) -> None:
        for number in range(3):
            BatchMessages(clients).put(f"radar/{number}.zip", None)
        assert check(LATER, meanwhile=lambda: take(clients.batch_queue)) == []

    def test_what_is_put_meanwhile_makes_no_difference(self, clients: Clients, check: Check) -> None:
        queue = BatchMessages(clients)
        queue.put("radar/a.zip", None)
        assert len(check(LATER, meanwhile=lambda: queue.put("radar/b.zip", None))) == 1

    def test_messages_wait_their_turn_while_a_batch_is_claimed(
        self, clients: Clients, check: Check, plant: Plant
    ) -> None:
        """A batch may take half an hour, and its holder renews the claim while it lives."""
        now = datetime.now(UTC) + LATER
        first, _ = plant.plan(plant.copy(NOW - HOUR))
        BatchMessages(clients).put("radar/another.zip", None)
        assert len(check(LATER)) == 1
        assert plant.ledger.claim(first, "a process", ClaimKind.RUNNING, now, now + timedelta(minutes=1)) == 0
        assert check(LATER) == []
        # The claim has expired, or its holder is dead.
        assert plant.ledger.claim(first, "a process", ClaimKind.RUNNING, now, now - timedelta(seconds=1)) == 0
        assert len(check(LATER)) == 1

    def test_a_claim_to_what_is_done_keeps_nobody_waiting(self, clients: Clients, check: Check, plant: Plant) -> None:
        now = datetime.now(UTC) + LATER
        first, second = plant.plan(plant.copy(NOW - HOUR))
        BatchMessages(clients).put(second.archive.blob, second)
        plant.ledger.claim(first, "a process", ClaimKind.RUNNING, now, now + timedelta(minutes=1))
        plant.ledger.finish(first, Counts(members=2, images=2), now)
        assert len(check(LATER)) == 1

    def test_a_claim_to_an_old_archive_that_is_replayed_counts_as_well(
        self, clients: Clients, check: Check, plant: Plant
    ) -> None:
        now = datetime.now(UTC) + LATER
        first, second = plant.plan(plant.copy(NOW - 2 * WINDOW))
        plant.ledger.claim(first, "a process", ClaimKind.RUNNING, now, now + timedelta(minutes=1))
        BatchMessages(clients).put("radar/another.zip", None)
        assert len(check(LATER)) == 1
        BatchMessages(clients).put(second.archive.blob, second)
        assert check(LATER) == []

    def test_nonsense_in_front_waits_as_well(self, clients: Clients, check: Check) -> None:
        clients.batch_queue.send_message("no request")
        assert len(check(LATER)) == 1


class TestPolls:
    """The queue that poll_source listens to: a request lives for an hour, and every tick puts a new one."""

    def test_a_request_that_nobody_takes_is_a_symptom(self, clients: Clients, check: Check, source: str) -> None:
        PollMessages(clients).put(source)
        (symptom,) = check(LATER)
        assert symptom.name == "poll_source"
        assert "on the queue poll, and no call runs: the trigger of poll_source" in symptom.detail

    def test_a_young_request_is_none(self, clients: Clients, check: Check, source: str) -> None:
        PollMessages(clients).put(source)
        assert check(timedelta(seconds=110)) == []
        assert check.pauses == []

    def test_one_that_expires_before_the_second_look_is_none(self, clients: Clients, check: Check, source: str) -> None:
        PollMessages(clients).put(source)
        assert check(timedelta(minutes=59, seconds=55)) == []
        assert check.pauses == []

    def test_requests_wait_their_turn_during_a_poll(self, clients: Clients, check: Check, source: str) -> None:
        PollMessages(clients).put(source)
        with BlobSourceStates(clients).hold(source):
            assert check(LATER) == []
        assert len(check(LATER)) == 1

    def test_a_listing_of_just_now_shows_that_somebody_polls(self, clients: Clients, check: Check, source: str) -> None:
        now = datetime.now(UTC) + LATER
        for minutes, symptoms in ((1, 0), (3, 1)):
            with BlobSourceStates(clients).hold(source) as held:
                held.save(SourceState(source=source, listed_at=now - timedelta(minutes=minutes)))
            clients.poll_queue.clear_messages()
            PollMessages(clients).put(source)
            assert len(check(LATER)) == symptoms


def test_the_doctor_says_so(clients: Clients) -> None:
    settings = read_settings({"DATA_STORAGE": "x", "SOURCES__RADAR__URL": "ftp://127.0.0.1:1/"})
    (fine,) = check_listeners(clients, settings, datetime.now(UTC))
    assert (fine.status, "no message waits too long" in fine.message) == (CheckStatus.OK, True)
    BatchMessages(clients).put("radar/a.zip", None)
    (symptom,) = check_listeners(clients, settings, datetime.now(UTC) + LATER)
    assert (symptom.status, "process_batch does not listen" in symptom.message) == (CheckStatus.WRONG, True)


@pytest.mark.parametrize(
    ("queue", "seconds", "worked_on", "is_one"),
    [
        ("batches", 121, False, True),
        ("batches", 119, False, False),
        ("batches", 9_999, True, False),
        ("poll", 121, False, True),
    ],
)
def test_the_judgement(queue: str, seconds: int, worked_on: bool, is_one: bool) -> None:
    symptom = queue_not_consumed(queue, timedelta(seconds=seconds), "queue.core.windows.net", worked_on=worked_on)
    assert (symptom is not None) == is_one
