"""The contract of queues for triggers: messages arrive as the functions host reads them; others are recognised."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from imagefeed.errors import PermanentError
from imagefeed.model import RawArchive
from local.host.app import parse_time_span
from local.host.intervals import Intervals
from local.system import PROJECT
from preprocess.model import Batch
from preprocess.ports import BatchQueue
from storage.clients import Clients
from storage.queues.messages import (
    BatchMessage,
    BatchMessages,
    PollMessage,
    PollMessages,
    parse_batch_message,
    parse_poll_message,
)

ARCHIVE = RawArchive(
    source="radar", stamp=datetime(2026, 3, 1, tzinfo=UTC), version="0123abcd", blob="x.zip", size=1, path="x", etag="1"
)
BATCH = Batch(archive=ARCHIVE, pipeline="p1", number=3, first=0, end=10)
SHADOWING = {
    "id",
    "dequeuecount",
    "popreceipt",
    "insertiontime",
    "expirationtime",
    "nextvisibletime",
    "queuetrigger",
    "body",
}


@pytest.fixture
def _emptied(clients: Clients) -> Iterator[None]:
    """Queues have fixed names, so messages of other tests must not be in them, nor ours afterwards."""
    queues = [clients.queues.get_queue_client(name) for name in ("batches", "poll")]
    for queue in queues:
        queue.clear_messages()
    yield
    for queue in queues:
        queue.clear_messages()


def receive(clients: Clients, queue: str) -> bytes:
    message = clients.queues.get_queue_client(queue).receive_message()
    assert message is not None
    return base64.b64decode(message.content, validate=True)


@pytest.mark.usefixtures("_emptied")
class TestMessages:
    @pytest.mark.parametrize("blob", ["radar/x.zip", "smoke/0123456789abcdef0123456789abcdef.zip"])
    def test_a_request_for_a_batch_has_no_end_that_a_host_could_come_upon(self, blob: str, clients: Clients) -> None:
        BatchMessages(clients).put(blob, None)
        (message,) = clients.batch_queue.peek_messages()
        assert message.expires_on is not None
        assert message.expires_on.year == 9999

    @pytest.mark.parametrize(
        ("batch", "message"),
        [
            (BATCH, BatchMessage(blob="radar/ü.zip", pipeline="p1", batch=3)),
            (None, BatchMessage(blob="radar/ü.zip")),
        ],
    )
    def test_a_batch_arrives_as_it_was_sent(self, clients: Clients, batch: Batch | None, message: BatchMessage) -> None:
        queue: BatchQueue = BatchMessages(clients)
        queue.put("radar/ü.zip", batch)
        assert queue.waiting() == 1
        body = receive(clients, "batches")
        assert parse_batch_message(body) == message
        assert not {name.lower() for name in json.loads(body)} & SHADOWING

    def test_a_request_to_poll_outlives_the_longest_poll_that_it_can_start(self, clients: Clients) -> None:
        """If a host hides a message for longer than it lives, the service answers 400, and the host ends."""
        host = json.loads((PROJECT / "host.json").read_text())
        run, retry = host["functionTimeout"], host["extensions"]["queues"]["visibilityTimeout"]
        lease = timedelta(seconds=Intervals().message_lease)
        PollMessages(clients).put("radar")
        (waiting,) = clients.poll_queue.peek_messages()
        assert waiting.expires_on is not None
        assert waiting.inserted_on is not None
        asked = parse_poll_message(base64.b64decode(waiting.content))
        begun_at = waiting.inserted_on + timedelta(seconds=58)
        assert not asked.is_stale(begun_at)
        hidden_until = begun_at + parse_time_span(run) + max(lease, parse_time_span(retry))
        assert hidden_until < waiting.expires_on < waiting.inserted_on + timedelta(hours=2)

    def test_requests_that_piled_up_behind_a_long_poll_are_stale(self, clients: Clients) -> None:
        PollMessages(clients).put("radar")
        asked = parse_poll_message(receive(clients, "poll"))
        assert asked.is_stale(datetime.now(UTC) + timedelta(seconds=61))

    def test_a_source_arrives_as_it_was_sent(self, clients: Clients) -> None:
        PollMessages(clients).put("radar-2")
        body = receive(clients, "poll")
        assert parse_poll_message(body) == PollMessage(source="radar-2")
        assert not {name.lower() for name in json.loads(body)} & SHADOWING


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b'{"blob": ""}',
        b'{"blob": 5}',
        rb'{"blob": "\ud800.zip"}',
        rb'{"blob": "a\u0000.zip"}',
        b"[" * 40_000,
        b'{"blob": "x", "pipeline": "p1"}',
        b'{"blob": "x", "batch": 1}',
        b'{"blob": "x", "pipeline": "../p", "batch": 1}',
        b'{"blob": "x", "pipeline": "p1", "batch": -1}',
        b'{"blob": "x", "pipeline": "p1", "batch": true}',
        b'{"blob": "x", "pipeline": "p1", "batch": "1"}',
    ],
)
def test_a_batch_message_that_makes_no_sense_is_a_permanent_error(body: bytes) -> None:
    with pytest.raises(PermanentError, match="message"):
        parse_batch_message(body)


@pytest.mark.parametrize("more", [{}, {"traceparent": 5, "put_at": 5}, {"put_at": "x"}, {"put_at": "2026-03-01"}])
def test_a_request_to_poll_that_a_person_wrote_has_no_trace_and_is_never_stale(more: dict[str, object]) -> None:
    asked = parse_poll_message(json.dumps({"source": "radar", **more}))
    assert asked == PollMessage(source="radar")
    assert asked.traceparent is None
    assert not asked.is_stale(datetime.now(UTC))


@pytest.mark.parametrize("body", [b"", b"radar", b"{}", b'{"source": null}', b'{"source": "No Name"}'])
def test_a_poll_message_that_makes_no_sense_is_a_permanent_error(body: bytes) -> None:
    with pytest.raises(PermanentError, match="message"):
        parse_poll_message(body)
