"""An archive that is announced before all its bytes exist waits for them; no outcome is recorded until then."""

import base64
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imagefeed.layout import format_stamp
from imagefeed.ledger import state_of
from imagefeed.model import ArchiveKey, Origin, RawArchive, State
from local.azurite import Azurite
from preprocess.context import Context
from preprocess.handlers import HandlerOutcome, handle_archive_created, handle_batch_message
from preprocess.model import BatchSizes, Limits, Recipe
from storage.blobs.raw import RawBlobs
from storage.clients import Clients, connected, development_connection
from storage.queues.messages import BatchMessage, BatchMessages, parse_batch_message
from storage.rebuild import rebuild
from storage.results import ShardsAndRows
from storage.tables.batches import TableBatchLedger
from tests.faults.copies import Copy, CopyProxy
from tests.unit.preprocess.pictures import encoded, smooth
from tests.unit.preprocess.zips import zipped

NOW = datetime.now(UTC).replace(microsecond=0)
CONTENT = zipped(*((f"{number}.jpg", encoded(smooth(30, 40), "JPEG")) for number in range(3)))
PENDING = [Copy("pending"), Copy("pending", copied=10, length=len(CONTENT))]
"""A copy into a new blob: the service may report no length before the end, or the last one at once."""
ENDED = [Copy("failed", description="404 ResourceNotFound"), Copy("aborted")]


type CopyTo = Callable[[str], str]


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[CopyProxy]:
    with CopyProxy(azurite.ports.blob) as found:
        yield found


@pytest.fixture
def through(azurite: Azurite, clients: Clients, proxy: CopyProxy) -> Iterator[Clients]:
    """Connections to storage in which copies take time; the queue has no messages of others."""
    clients.batch_queue.clear_messages()
    ports = {"Blob": proxy.port, "Queue": azurite.ports.queue, "Table": azurite.ports.table}
    with connected(development_connection(ports)) as found:
        yield found
    clients.batch_queue.clear_messages()


@pytest.fixture
def p(through: Clients, source: str) -> Context:
    return Context(
        raw=RawBlobs(through, lambda _source, _name: None),
        results=ShardsAndRows(through, "npy", 8),
        ledger=TableBatchLedger(through),
        queue=BatchMessages(through),
        recipe=Recipe(width=16, height=16),
        hook=None,
        pipeline=f"p-{source[2:]}",
        limits=Limits(),
        sizes=BatchSizes(),
    )


@pytest.fixture
def copy_to(clients: Clients, source: str) -> CopyTo:
    """Copy an archive into a blob, with metadata that copying wrote if it is a day folder's."""

    def copied(name: str) -> str:
        origin = clients.raw.get_blob_client(f"{source}/original")
        metadata = {"source": source, "stamp": format_stamp(NOW), "version": "0123abcd", "path": "a.zip"}
        origin.upload_blob(CONTENT, overwrite=True, metadata=metadata if "0123abcd" in name else None)
        clients.raw.get_blob_client(name).start_copy_from_url(origin.url)
        return name

    return copied


@pytest.fixture(params=["by hand", "restored"])
def blob(request: pytest.FixtureRequest, source: str) -> str:
    return f"{source}/a b.zip" if request.param == "by hand" else ArchiveKey(source, NOW, "0123abcd").raw_blob("a.zip")


def found(p: Context, blob: str) -> RawArchive:
    archive = p.raw.find(blob)
    assert archive is not None
    return archive


def states(clients: Clients, source: str) -> set[State]:
    """Return the states of all archives of a source in the ledger."""
    return {state_of(row) for row in clients.archives.query_entities(f"PartitionKey eq '{source}'")}


def reasons(clients: Clients, source: str) -> list[str]:
    rows = clients.archives.query_entities(f"PartitionKey eq '{source}'")
    return [row["reason"] for row in rows if row.get("reason")]


@pytest.mark.parametrize("copy", PENDING)
def test_an_archive_that_is_being_copied_is_processed_once_all_of_it_is_there(
    p: Context, through: Clients, proxy: CopyProxy, source: str, blob: str, copy: Copy, copy_to: CopyTo
) -> None:
    proxy.copies[copy_to(blob)] = copy
    assert handle_archive_created(blob, p) is HandlerOutcome.PENDING
    assert states(through, source) == set()
    assert through.batch_queue.receive_message() is None, "whoever took it at once would spend its five tries"
    assert p.queue.waiting() == 1
    for _ in range(10):
        assert handle_batch_message(BatchMessage(blob=blob), p) is HandlerOutcome.PENDING
    assert states(through, source) == set()
    proxy.copies.clear()
    time.sleep(5)
    message = through.batch_queue.receive_message()
    assert message is not None
    assert handle_batch_message(parse_batch_message(base64.b64decode(message.content)), p) is HandlerOutcome.QUEUED
    assert handle_batch_message(BatchMessage(blob=blob, pipeline=p.pipeline, batch=0), p) is HandlerOutcome.DONE
    assert states(through, source) == {State.RAW, State.PROCESSED}


@pytest.mark.parametrize("copy", PENDING)
def test_an_archive_that_is_being_copied_is_not_listed(
    through: Clients, proxy: CopyProxy, source: str, blob: str, copy: Copy, copy_to: CopyTo
) -> None:
    proxy.copies[copy_to(blob)] = copy
    raw = RawBlobs(through, lambda _source, _name: None)
    assert [*raw.recent(source, NOW), *raw.outside_layout(source)] == []
    assert rebuild(through, source, lambda _source, _name: None).archives == 0
    assert states(through, source) == set()
    proxy.copies.clear()
    assert [archive.blob for archive in (*raw.recent(source, NOW), *raw.outside_layout(source))] == [blob]


@pytest.mark.parametrize("copy", ENDED)
def test_a_copy_that_ended_without_its_bytes_is_refused_with_the_services_reason(
    p: Context, through: Clients, proxy: CopyProxy, source: str, blob: str, copy: Copy, copy_to: CopyTo
) -> None:
    proxy.copies[copy_to(blob)] = copy
    assert handle_archive_created(blob, p) is HandlerOutcome.TERMINAL
    assert states(through, source) == {State.RAW, State.REFUSED}
    (reason,) = reasons(through, source)
    assert f"{copy.status}: {copy.description}" in reason
    assert "copy it again" in reason


@pytest.mark.parametrize("copy", ENDED)
def test_the_archive_whose_metadata_a_failed_copy_has_is_not_settled_by_it(
    p: Context, through: Clients, proxy: CopyProxy, source: str, copy: Copy, copy_to: CopyTo
) -> None:
    blob = ArchiveKey(source, NOW, "0123abcd").raw_blob("a.zip")
    proxy.copies[copy_to(blob)] = copy
    failed = found(p, blob)
    assert failed.origin is Origin.MANUAL
    assert [archive.origin for archive in p.raw.recent(source, NOW)] == [Origin.MANUAL]
    handle_archive_created(blob, p)
    proxy.copies.clear()
    copy_to(blob)
    assert handle_archive_created(blob, p) is HandlerOutcome.DONE
    assert found(p, blob).version == "0123abcd"
    assert State.PROCESSED in states(through, source)


def test_a_batch_waits_while_its_blob_is_copied_back(
    p: Context, through: Clients, proxy: CopyProxy, source: str, copy_to: CopyTo
) -> None:
    blob = copy_to(ArchiveKey(source, NOW, "0123abcd").raw_blob("a.zip"))
    assert handle_batch_message(BatchMessage(blob=blob), p) is HandlerOutcome.QUEUED
    through.batch_queue.clear_messages()
    proxy.copies[copy_to(blob)] = PENDING[0]
    batch = BatchMessage(blob=blob, pipeline=p.pipeline, batch=0)
    assert handle_batch_message(batch, p) is HandlerOutcome.PENDING
    (state,) = p.ledger.plan(found(p, blob), p.pipeline) or ()
    assert (state.attempts, state.failures, state.error) == (0, 0, None)
    proxy.copies.clear()
    time.sleep(5)
    message = through.batch_queue.receive_message()
    assert message is not None
    again = parse_batch_message(base64.b64decode(message.content))
    assert again == batch
    assert handle_batch_message(again, p) is HandlerOutcome.DONE
    assert states(through, source) == {State.RAW, State.PROCESSED}


def test_what_a_tool_makes_empty_and_fills_later_is_known_only_as_what_it_became(
    p: Context, clients: Clients, through: Clients, source: str
) -> None:
    blob = f"{source}/by hand.zip"
    clients.raw.upload_blob(blob, b"")
    assert handle_archive_created(blob, p) is HandlerOutcome.PENDING
    clients.raw.upload_blob(blob, CONTENT, overwrite=True)
    assert handle_archive_created(blob, p) is HandlerOutcome.DONE, "the second event"
    assert handle_batch_message(BatchMessage(blob=blob), p) is HandlerOutcome.KNOWN, (
        "what the first one left on the queue"
    )
    assert states(through, source) == {State.RAW, State.PROCESSED}


def test_an_append_blob_is_announced_only_when_it_is_made_and_processed_once_it_is_whole(
    p: Context, clients: Clients, through: Clients, source: str
) -> None:
    blob = clients.raw.get_blob_client(f"{source}/appended.zip")
    blob.create_append_blob()
    assert handle_archive_created(blob.blob_name, p) is HandlerOutcome.PENDING
    blob.append_block(CONTENT[:100])
    assert handle_batch_message(BatchMessage(blob=blob.blob_name), p) is HandlerOutcome.PENDING
    assert states(through, source) == set()
    blob.append_block(CONTENT[100:])
    assert handle_batch_message(BatchMessage(blob=blob.blob_name), p) is HandlerOutcome.QUEUED


def test_what_stays_unreadable_is_refused(p: Context, clients: Clients, through: Clients, source: str) -> None:
    blob = f"{source}/by hand.zip"
    clients.raw.upload_blob(blob, CONTENT[:-30])
    assert handle_archive_created(blob, p) is HandlerOutcome.PENDING
    later = replace(p, clock=lambda: datetime.now(UTC) + timedelta(minutes=5))
    assert handle_batch_message(BatchMessage(blob=blob), later) is HandlerOutcome.TERMINAL
    assert states(through, source) == {State.RAW, State.REFUSED}


def test_what_copying_published_is_refused_at_once(p: Context, clients: Clients, through: Clients, source: str) -> None:
    metadata = {"source": source, "stamp": format_stamp(NOW), "version": "0123abcd", "path": "a.zip"}
    blob = ArchiveKey(source, NOW, "0123abcd").raw_blob("a.zip")
    clients.raw.upload_blob(blob, CONTENT[:-30], metadata=metadata)
    assert handle_archive_created(blob, p) is HandlerOutcome.TERMINAL
    assert states(through, source) == {State.RAW, State.REFUSED}
