"""An archive of many kinds of members in a real Azurite, preprocessed by processes that may die; and its results."""

import base64
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Any

import numpy as np
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import TableClient
from azure.storage.queue import QueueMessage
from PIL import Image

from imagefeed.ledger import state_of
from imagefeed.model import ArchiveKey
from storage.clients import Clients
from tests.faults.forks import Done, Forks, Job
from tests.unit.preprocess.pictures import encoded, smooth
from tests.unit.preprocess.zips import zipped

PIPELINE = "faults"
VERSION = "0123abcd"
PATH = "out/all sorts.zip"
STAMP = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
PASSING = {
    *("plan", "attempts", "owner", "claimed_until", "next_drive", "error"),
    *("claim", "vanished", "failures", "put_at"),
}
"""Fields of the ledger that may differ after faults: owners, tries, and times; also every `…_at`."""

type Death = Mapping[str, Any]
"""The ways in which a job dies, as its fields."""


def all_sorts() -> bytes:
    """Eleven members: pictures, one of 110 frames, which takes two transactions, refused and skipped ones."""
    frames = [Image.new("L", (8, 6), shade) for shade in range(0, 220, 2)]
    return zipped(
        ("0.jpg", encoded(smooth(40, 60), "JPEG")),
        ("1.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])),
        ("2.jpg", encoded(smooth(40, 60), "JPEG")[:-100]),
        ("3.txt", b"no picture"),
        ("", encoded(smooth(20, 20), "PNG")),
        ("../5\0\n.png", encoded(np.full((9, 9), 7, np.uint16), "PNG")),
        ("6.png", b"no picture either"),
        *((f"{n}.jpg", encoded(smooth(30 + n, 40), "JPEG")) for n in range(7, 11)),
        method=zipfile.ZIP_DEFLATED,
    )


@dataclass
class Batches:
    """One archive, and all operations on it."""

    clients: Clients
    source: str
    forks: Forks
    ahead: float = 0.0
    """Seconds that the jobs' clocks are ahead."""
    deaths: int = 0

    @property
    def _key(self) -> ArchiveKey:
        return ArchiveKey(self.source, STAMP, VERSION)

    @property
    def blob(self) -> str:
        return self._key.raw_blob(PATH)

    def put(self, content: bytes) -> None:
        """Make an archive raw, as copying does."""
        stamp = f"{STAMP:%Y%m%dT%H%M%SZ}"
        metadata = {"source": self.source, "stamp": stamp, "version": VERSION, "path": PATH.replace(" ", "%20")}
        self.clients.raw.upload_blob(self.blob, content, overwrite=True, metadata=metadata)

    def event(self, **details: Any) -> Job:
        return Job(do="event", subject=self.blob, ahead=self.ahead, **details)

    def run(self, *jobs: Job) -> list[Done]:
        """Run jobs at once; afterwards claims of those that died have expired."""
        done = self.forks.run(*jobs)
        self.deaths += sum(each.killed for each in done)
        assert not any(each.settled or each.broken for each in done), done
        self.ahead += 120
        return done

    def drive(self, deaths: Iterator[Death] | None = None, *, members: int = 64, within: float = 60) -> None:
        """Take messages and reconcile, with calls that die as planned, until the archive is terminal."""
        dying = deaths or repeat({})
        deadline = time.monotonic() + within
        while self.messages(dying, members) or self.state() not in ("processed", "refused", "failed"):
            assert time.monotonic() < deadline, f"it is still {self.state()} after {self.deaths} deaths"
            self.ahead += 3600
            self.run(Job(do="reconcile", ahead=self.ahead, members=members, **next(dying)))

    def messages(self, deaths: Iterator[Death], members: int = 64) -> bool:
        """Take all messages that are on the queue now, as the functions host does; False if there was none."""
        taken = False
        queue = self.clients.batch_queue
        while (message := queue.receive_message(visibility_timeout=600)) is not None:
            taken = True
            job = Job(do="message", subject=_text(message), ahead=self.ahead, members=members, **next(deaths))
            (done,) = self.run(job)
            if done.killed or done.error:
                queue.update_message(message, content=_text(message), visibility_timeout=0)
            else:
                queue.delete_message(message)
        return taken

    def waiting(self) -> list[str]:
        """Take all messages off the queue, and return their texts."""
        texts = [_text(message) for message in self.clients.batch_queue.receive_messages(messages_per_page=32)]
        self.clients.batch_queue.clear_messages()
        return texts

    def state(self) -> str:
        with suppress(ResourceNotFoundError):
            row = self._key.ledger_row(PIPELINE)
            return str(state_of(self.clients.archives.get_entity(self.source, row)))
        return "unknown"

    def left_behind(self) -> Mapping[str, object]:
        """Return every blob with its metadata and every row of every table, without the fields that may differ."""
        left: dict[str, object] = {}
        for blob in self.clients.processed.list_blobs(f"{PIPELINE}/{self.source}/", include=["metadata"]):
            content = self.clients.processed.download_blob(blob.name).readall()
            left[blob.name] = (content, dict(blob.metadata))
        for name, table, partition in self._tables():
            for row in _rows(table, partition):
                known = {key: value for key, value in row.items() if key not in PASSING and not key.endswith("_at")}
                left[f"{name}/{row['RowKey']}"] = known
        return left

    def orderly(self) -> bool:
        """Check that data was written in order: shards, rows, batch rows, the archive's outcome."""
        blobs = set(self.clients.processed.list_blob_names(name_starts_with=f"{PIPELINE}/{self.source}/"))
        images, batches = (_rows(table, partition) for _, table, partition in self._tables()[:2])
        linked = {row["shard"] for row in images if "shard" in row}
        done = [row for row in batches if "done_at" in row]
        ended = self.state() in ("processed", "refused", "failed")
        return linked <= blobs and (bool(linked) or not done) and (not ended or len(done) == len(batches))

    def leave_stale(self) -> None:
        """Write rows of an older run: a frame that no longer exists, and a refusal that no longer applies."""
        partition = self._partition
        for row in ("000000~0007~00", "000004~refused", "000010~0000~05"):
            self.clients.images.upsert_entity({"PartitionKey": partition, "RowKey": row, "member": 0, "old": True})

    def begin_anew(self) -> None:
        """Remove everything but the raw archive."""
        for blob in self.clients.processed.list_blob_names(name_starts_with=f"{PIPELINE}/{self.source}/"):
            self.clients.processed.delete_blob(blob)
        for _, table, partition in self._tables():
            rows = [("delete", row) for row in _rows(table, partition)]
            for start in range(0, len(rows), 100):
                table.submit_transaction(rows[start : start + 100])
        self.clients.batch_queue.clear_messages()
        self.ahead = 0.0
        self.leave_stale()

    @property
    def _partition(self) -> str:
        return self._key.partition(PIPELINE)

    def _tables(self) -> Sequence[tuple[str, TableClient, str]]:
        return (
            ("images", self.clients.images, self._partition),
            ("batches", self.clients.batches, self._partition),
            ("archives", self.clients.archives, self.source),
        )


def _rows(table: TableClient, partition: str) -> list[Any]:
    return list(table.query_entities("PartitionKey eq @p", parameters={"p": partition}))


def _text(message: QueueMessage) -> str:
    return base64.b64decode(message.content).decode()
