"""Messages in poison queues and in the dead-letter container are found, sent back or kept, and never lost."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import pytest

from imagefeed.layout import RAW_CONTAINER
from local.relay.delivery import Answer, Delivery, dead_letter
from local.relay.events import Blob, blob_created
from preprocess.event import archive_blob
from preprocess.ports import DeadLetter
from preprocess.recovery.dead_letters import DeadLettersOutcome, send_back
from storage.clients import Clients
from storage.queues.dead_letters import DeadLetteredEvent, count_dead_letters, dead_letters, poison_messages
from storage.queues.messages import BatchMessage, parse_batch_message
from tests.fixtures.storage_events import NAME, Schema, storage_event

ANNOUNCED = partial(archive_blob, container=RAW_CONTAINER)


@pytest.fixture(autouse=True)
def _emptied(clients: Clients) -> Iterator[None]:
    """The names are fixed, so messages of other tests must not be in the queues, nor ours afterwards."""
    _empty(clients)
    yield
    _empty(clients)


def _empty(clients: Clients) -> None:
    for name in ("batches", "poll", "batches-poison", "poll-poison"):
        clients.queues.get_queue_client(name).clear_messages()
    for container, prefix in ((clients.dead_letters, ""), (clients.state, "poison/")):
        for blob in container.list_blob_names(name_starts_with=prefix):
            container.delete_blob(blob)


def poison(clients: Clients, queue: str, *bodies: bytes) -> None:
    """Give messages up as the functions host does: unchanged."""
    client = clients.queues.get_queue_client(f"{queue}-poison")
    for body in bodies:
        client.send_message(base64.b64encode(body).decode())


def waiting(clients: Clients, queue: str) -> list[str]:
    messages = clients.queues.get_queue_client(queue).receive_messages()
    return [base64.b64decode(message.content).decode() for message in messages]


def letter(blob: str) -> tuple[str, bytes]:
    """An event that was given up, as Event Grid writes it."""
    now = datetime.now(UTC)
    about = Blob(
        name=blob,
        created=now,
        modified=now,
        etag="0x1",
        size=3,
        content_type="application/zip",
        md5="",
        type="BlockBlob",
        tier="Hot",
    )
    event = blob_created(about, account="a", container="raw", url=f"http://a/raw/{blob}", blocks=())
    gave_up = Answer(status=500, detail="", seconds=1)
    return dead_letter(Delivery(event, attempts=30), gave_up, "MaxDeliveryAttemptsExceeded")


def kept(clients: Clients) -> dict[str, dict[str, str]]:
    names = clients.state.list_blob_names(name_starts_with="poison/")
    return {name: json.loads(clients.state.download_blob(name).readall()) for name in names}


def test_every_message_that_was_given_up_is_found_once(clients: Clients) -> None:
    poison(clients, "batches", *(f'{{"blob": "{number}.zip"}}'.encode() for number in range(70)))
    letters = list(poison_messages(clients))
    assert sorted(int(dead_letter.requests[0].blob.removesuffix(".zip")) for dead_letter in letters) == list(range(70))
    assert {(dead_letter.nonsense, dead_letter.requests[0].batch) for dead_letter in letters} == {(None, None)}
    assert "given up" in letters[0].why
    assert list(poison_messages(clients)) == [], "they are hidden while somebody looks at them"


def test_a_dead_letter_that_somebody_else_took_meanwhile_is_passed_over(clients: Clients) -> None:
    names = sorted(clients.dead_letters.upload_blob(*letter(f"{number}.zip")).blob_name for number in range(2))
    letters = dead_letters(clients, ANNOUNCED)
    first = next(letters)
    clients.dead_letters.delete_blob(names[1])
    assert (first.name.rpartition("/")[2], list(letters)) == (names[0].rpartition("/")[2], [])


def test_messages_that_are_sent_back_arrive_as_they_were(clients: Clients) -> None:
    body = json.dumps({"blob": "radar/ü.zip", "pipeline": "p1", "batch": 3})
    poison(clients, "batches", body.encode())
    poison(clients, "poll", b'{"source": "radar"}')
    assert send_back(poison_messages(clients)) == DeadLettersOutcome(taken=2)
    (message,) = waiting(clients, "batches")
    assert parse_batch_message(message) == BatchMessage(blob="radar/ü.zip", pipeline="p1", batch=3)
    assert waiting(clients, "poll") == [], "every tick asks anew"
    for queue in ("batches-poison", "poll-poison"):
        assert clients.queues.get_queue_client(queue).get_queue_properties().approximate_message_count == 0


@pytest.mark.parametrize("queue", ["batches", "poll"])
def test_messages_that_make_no_sense_are_kept_with_the_reason(clients: Clients, queue: str) -> None:
    poison(clients, queue, b"what?", b'{"blob": ""}')
    clients.queues.get_queue_client(f"{queue}-poison").send_message("no base64 ~")
    assert send_back(poison_messages(clients)) == DeadLettersOutcome(kept=3)
    copies = kept(clients)
    assert all(name.startswith(f"poison/{queue}-poison/") for name in copies)
    assert {each["content"] for each in copies.values()} >= {base64.b64encode(b"what?").decode(), "no base64 ~"}
    assert all(each["reason"] for each in copies.values())
    assert clients.queues.get_queue_client(f"{queue}-poison").get_queue_properties().approximate_message_count == 0


def test_events_that_were_given_up_are_planned_and_then_removed(clients: Clients) -> None:
    blobs = ["radar/2026/01/01/00/a b ü.zip", "radar/b.zip"]
    for blob in blobs:
        clients.dead_letters.upload_blob(*letter(blob))
    letters: list[DeadLetter] = list(dead_letters(clients, ANNOUNCED))
    assert {each.why for each in letters} == {
        "Event Grid stopped delivering its event after 30 attempts: MaxDeliveryAttemptsExceeded"
    }
    assert send_back(letters) == DeadLettersOutcome(taken=2)
    assert {parse_batch_message(body).blob for body in waiting(clients, "batches")} == set(blobs)
    assert list(clients.dead_letters.list_blob_names()) == []
    assert kept(clients) == {}


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b"[1]", b'[{"eventType": "x", "data": 1}]'])
def test_letters_that_announce_no_archive_are_kept_with_the_reason(clients: Clients, content: bytes) -> None:
    clients.dead_letters.upload_blob("SUB/2026/1/1/x.json", content)
    assert send_back(dead_letters(clients, ANNOUNCED)) == DeadLettersOutcome(kept=1)
    ((name, copy),) = kept(clients).items()
    assert name == "poison/dead-letter/SUB/2026/1/1/x.json"
    assert "dead letter" in copy["reason"]
    assert list(clients.dead_letters.list_blob_names()) == []


def test_what_somebody_else_removed_meanwhile_is_no_error(clients: Clients) -> None:
    poison(clients, "batches", b'{"blob": "a.zip"}')
    (message,) = poison_messages(clients)
    message.remove()
    message.remove()
    gone = DeadLetteredEvent(clients, "gone.json", b"[]", ANNOUNCED)
    gone.remove()


@pytest.mark.parametrize("schema", ["EventGrid", "CloudEvents"])
def test_a_dead_letter_is_read_in_either_schema(clients: Clients, schema: Schema) -> None:
    content = json.dumps([storage_event("PutBlockList", schema)]).encode()
    letter = DeadLetteredEvent(clients, "a.json", content, ANNOUNCED)
    assert [request.blob for request in letter.requests] == [NAME]


def test_what_was_given_up_is_counted_place_by_place(clients: Clients) -> None:
    assert count_dead_letters(clients) == ({"poll": 0, "batches": 0}, 0)
    poison(clients, "batches", b"{}", b"{}")
    clients.dead_letters.upload_blob("a.json", b"[]")
    assert count_dead_letters(clients) == ({"poll": 0, "batches": 2}, 1)
