"""The requests to storage that preprocessing an archive takes, which must not increase unnoticed."""

import base64
from collections import Counter
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from benchmarks.operations import counted
from imagefeed.model import ArchiveKey, RawArchive
from preprocess.context import Context
from preprocess.handlers import handle_archive_created, handle_batch_message
from preprocess.model import Batch, BatchSizes, Limits, Recipe
from storage.blobs.raw import RawBlobs
from storage.clients import Clients
from storage.queues.messages import BatchMessages, parse_batch_message
from storage.results import ShardsAndRows
from storage.tables.batches import TableBatchLedger
from tests.integration.test_reader import made
from tests.unit.preprocess.pictures import encoded, smooth
from tests.unit.preprocess.zips import zipped

STAMP = datetime(2026, 3, 1, tzinfo=UTC)
PLANNED = Counter(
    {"HEAD raw": 1, "GET raw": 1, "GET archives": 3, "PATCH batches": 1, "POST archives": 2, "POST $batch": 1}
)
"""Of each archive, in the event's own call."""
NOTED = Counter({"POST $batch": 1})
"""Of all batches of an archive that go to the queue together."""
AT_WORK = Counter(
    {"GET batches": 3, "PATCH batches": 2, "GET archives": 1, "PUT processed": 1, "POST $batch": 1, "GET images": 1}
)
"""Of each batch, with up to 23 images of the usual size: claim, shard, rows, a look for older rows, its end."""
BY_MESSAGE = Counter({"HEAD raw": 1, "GET raw": 1, "GET archives": 1, "GET batches": 1})
"""For each batch that comes by the queue: its rows, and the zip (the directory of a small one contains all of it)."""


@pytest.mark.parametrize(("batches", "inline_bytes"), [(1, 2**20), (3, 2**20), (1, 0), (3, 0)])
def test_an_archive_takes_so_many_requests_and_no_more(
    clients: Clients, source: str, batches: int, inline_bytes: int
) -> None:
    version = uuid4().hex[:8]
    blob = ArchiveKey(source, STAMP, version).raw_blob("a.zip")
    content = zipped(*((f"{number}.jpg", encoded(smooth(30, 40), "JPEG")) for number in range(2 * batches)))
    metadata = {"source": source, "stamp": f"{STAMP:%Y%m%dT%H%M%SZ}", "version": version, "path": "a.zip"}
    clients.raw.upload_blob(blob, content, metadata=metadata)
    p = Context(
        raw=RawBlobs(clients, lambda _source, _name: None),
        results=ShardsAndRows(clients, "npy", 8),
        ledger=TableBatchLedger(clients),
        queue=BatchMessages(clients),
        recipe=Recipe(width=16, height=16),
        hook=None,
        pipeline=f"p-{source[:8]}",
        limits=Limits(),
        sizes=BatchSizes(members=2, inline_bytes=inline_bytes),
    )
    with counted() as at_event:
        handle_archive_created(blob, p)
    messages = [m for m in clients.batch_queue.receive_messages() if blob in base64.b64decode(m.content).decode()]
    with counted() as at_batches:
        for message in messages:
            handle_batch_message(parse_batch_message(base64.b64decode(message.content)), p)
    for message in messages:
        clients.batch_queue.delete_message(message)
    here, queued = (batches, 0) if inline_bytes else (0, batches)
    ends = Counter({"PATCH archives": 1, "GET archives": 1, "DELETE batches": 1})
    puts = Counter({"POST batches": queued}) + _times(bool(queued), NOTED)
    in_event = PLANNED + _times(here, AT_WORK) + puts + _times(bool(here), ends)
    of_queue = _times(queued, AT_WORK + BY_MESSAGE) + _times(bool(queued), ends)
    assert (at_event.kinds, at_batches.kinds) == (in_event, of_queue)
    # As stated in docs/performance.md.
    assert at_event.total + at_batches.total == 12 + 9 * here + 14 * queued + bool(queued)


def _times(number: int, kinds: Counter[str]) -> Counter[str]:
    return Counter({kind: number * count for kind, count in kinds.items() if number})


def test_a_shard_is_sent_at_once_as_long_as_it_lies_in_memory(clients: Clients, source: str) -> None:
    archive = RawArchive(source=source, stamp=STAMP, version="0123abcd", blob="a.zip", size=1, path="a.zip", etag="e")
    batch = Batch(archive=archive, pipeline="p", number=0, first=0, end=1)
    with ShardsAndRows(clients, "npy", 0).write(batch) as writer:
        writer.add([made(archive, 0, size=2_000)])
        with counted() as requests:
            writer.publish()
    assert requests.kinds["PUT processed"] == 1
