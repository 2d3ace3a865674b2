"""What triggers rely on: messages arrive as the functions host reads them, and nonsense is told from work."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from imagefeed.errors import PermanentError
from imagefeed.model import RawArchive
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
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
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
    """Queues have fixed names: no other test's messages may be in them, nor ours afterwards."""
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
    @pytest.mark.parametrize(
        ("blob", "hours"), [("smoke/0123456789abcdef0123456789abcdef.zip", 1), ("smoke/by-hand.zip", 24 * 7)]
    )
    def test_what_the_smoke_test_leaves_is_soon_gone(self, blob: str, hours: int, clients: Clients) -> None:
        BatchMessages(clients).put(blob, None)
        (message,) = clients.batch_queue.peek_messages()
        assert message.expires_on is not None
        assert message.inserted_on is not None
        assert message.expires_on - message.inserted_on == timedelta(hours=hours)

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

    def test_requests_to_poll_do_not_pile_up_behind_a_long_poll(self, clients: Clients) -> None:
        PollMessages(clients).put("radar")
        (waiting,) = clients.poll_queue.peek_messages()
        assert waiting.expires_on is not None
        assert waiting.inserted_on is not None
        assert waiting.expires_on - waiting.inserted_on == timedelta(minutes=1)

    def test_a_source_arrives_as_it_was_sent(self, clients: Clients) -> None:
        PollMessages(clients).put("radar-2", TRACE)
        body = receive(clients, "poll")
        asked = parse_poll_message(body)
        assert (asked.source, asked.traceparent) == ("radar-2", TRACE)
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


@pytest.mark.parametrize("body", [b'{"source": "radar"}', b'{"source": "radar", "traceparent": 5}'])
def test_a_poll_message_without_a_trace_is_a_poll_message(body: bytes) -> None:
    assert parse_poll_message(body) == PollMessage(source="radar")
    assert parse_poll_message(body).traceparent is None


@pytest.mark.parametrize("body", [b"", b"radar", b"{}", b'{"source": null}', b'{"source": "No Name"}'])
def test_a_poll_message_that_makes_no_sense_is_a_permanent_error(body: bytes) -> None:
    with pytest.raises(PermanentError, match="message"):
        parse_poll_message(body)
