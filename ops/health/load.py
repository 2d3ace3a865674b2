"""Reads the data of the status page from storage, in a bounded number of rows."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from azure.core.exceptions import ResourceNotFoundError

from imagefeed.azure_errors import azure_errors, each
from imagefeed.entities import moment, scan
from imagefeed.layout import BATCH_QUEUE, POISON, POLL_QUEUE, behind_stamp, day_prefix
from imagefeed.ledger import ARCHIVE_COLUMNS, Entry, entries, entry_of, group_by_archive, state_of
from imagefeed.model import Origin, RawArchive, State
from imagefeed.rows import ROW_COLUMNS, ImageRow, read_row
from imagefeed.versions import is_readable, with_newer
from ingest.model import Arrival, SourceState
from ops.health.archive_checks import COPIED, check_raw
from ops.health.findings import Finding
from ops.health.result_checks import check_results
from storage.blobs.raw_upload import stat_blob
from storage.blobs.runs import LastRun, last_runs
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients

MAX_ROWS = 2_000
"""Most ledger rows that one load reads for a source: two requests. An archive has two rows and one more for each
further pipeline, so 48 hours with an archive every ten minutes are 576 rows."""
MAX_ROWS_BEFORE = 20
"""Most rows to search for the last archive before the window."""
MAX_DAYS = 10
"""Most day folders of the raw container that one load lists for a source; 48 hours touch three."""
MAX_STRAYS = 10
"""Most manual uploads outside those folders that one load stats."""
MAX_DEAD_LETTERS = 100
"""Most dead letters to count."""
_NEWEST = 8
"""Most image rows to read for the contact sheet of a source."""
_AT_ONCE = 8
_UNUSED = {"stamp_replaced", "complete", "sha256", "etag", "error_at", "batches"}
# Reading columns takes half of the time of a load.
_COLUMNS = [column for column in ARCHIVE_COLUMNS if column not in _UNUSED]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """An image row; its pixels are not read."""

    archive: RawArchive
    pipeline: str
    row: ImageRow


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSource:
    """Stored data of one source."""

    source: str
    source_state: SourceState | None
    entries: Sequence[Entry]
    """Archives with a stamp within the window, newest first."""
    before: datetime | None
    """Stamp of the last archive before the window; None if not found."""
    rows: int
    """Number of ledger rows that were read."""
    cut: bool
    """More rows exist: the oldest archives are not among the entries."""
    images: Sequence[ImageEntry]
    """Images of the newest archive with images."""
    raw_missing: Collection[str] = frozenset()
    """Missing raw blobs of archives that are copied according to the ledger."""

    @property
    def state(self) -> SourceState:
        """Return the last listing, or an empty state if there was none."""
        return self.source_state or SourceState(source=self.source)

    @property
    def arrivals(self) -> Sequence[Arrival]:
        """Return the arrivals in the ledger and the last listing, as `reconcile` reads them."""
        arrivals = [
            Arrival(
                stamp=entry.archive.stamp,
                seen=entry.times.get(State.SEEN) or entry.times.get(State.RAW),
                by_hand=entry.archive.blob if entry.archive.origin is Origin.MANUAL else None,
            )
            for entry in self.entries
            if entry.state is not State.SAME
        ]
        arrivals += [Arrival(stamp=self.before)] if self.before else []
        return [*arrivals, *self.state.arrivals]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQueues:
    """Message counts of the queues, and dead letters."""

    batches: int
    polls: int
    poison: int
    dead_letters: int
    """At most MAX_DEAD_LETTERS are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStatus:
    """Data of the status page."""

    sources: Sequence[StoredSource]
    queues: StoredQueues
    runs: Mapping[str, LastRun] = field(default_factory=dict)
    """Last run of each function that has completed at least once."""


def load_status(clients: Clients, since: Sequence[tuple[str, datetime]]) -> StoredStatus:
    """Read (source, since) pairs, the queues and the last runs. Raises StoreUnavailableError, StoreRefusedError."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="status") as pool:
        queues, runs = pool.submit(read_queues, clients), pool.submit(last_runs, clients)
        sources = list(pool.map(lambda window: read_source(clients, *window), since))
        return StoredStatus(sources=sources, queues=queues.result(), runs=runs.result())


def read_source(clients: Clients, source: str, since: datetime, limit: int = MAX_ROWS) -> StoredSource:
    """Read a source's state, at most `limit` and MAX_ROWS_BEFORE rows of the ledger, and rows of the newest images."""
    behind = behind_stamp(since)
    rows = list(islice(scan(clients.archives, source, end=behind, select=_COLUMNS), limit))
    cut = len(rows) == limit
    archives = [entry_of(source, group, None) for group in group_by_archive(rows)]
    if cut:
        # Further rows of the last archive may be missing, so its state is unknown.
        archives.pop()
    older = list(
        islice(
            scan(clients.archives, source, first=behind, select=_COLUMNS, page=MAX_ROWS_BEFORE),
            0 if cut else MAX_ROWS_BEFORE,
        )
    )
    stamps = (moment(row.get("stamp")) for row in older if state_of(row) is not State.SAME)
    return StoredSource(
        source=source,
        source_state=BlobSourceStates(clients).look(source),
        entries=archives,
        before=next((stamp for stamp in stamps if stamp is not None), None),
        rows=len(rows) + len(older),
        cut=cut,
        images=list(_newest_images(clients, archives)),
        raw_missing=raw_missing(clients, source, archives),
    )


def find_in_results(clients: Clients, source: str, since: datetime, now: datetime) -> Iterator[Finding]:
    """Yield problems of raw blobs and results of a source's archives with a stamp from `since` on."""
    known = list(entries(clients, source, start=since))
    yield from check_raw(known, raw_missing(clients, source, known))
    yield from check_results(source, known, now)


def raw_missing(clients: Clients, source: str, entries: Sequence[Entry]) -> Collection[str]:
    """Return missing raw blobs of archives that are copied according to `entries` (newest first).

    Makes one request per day with an archive, for at most MAX_DAYS days, and one per manual upload outside these
    folders, for at most MAX_STRAYS blobs. Read `entries` before the call.
    """
    copied = [entry.archive for entry in entries if entry.state in COPIED]
    days = dict.fromkeys(day_prefix(source, archive.stamp.astimezone(UTC).date()) for archive in copied)
    listed = tuple(islice(days, MAX_DAYS))
    there = {name for prefix in listed for name in _names(clients, prefix)}
    strays = (archive.blob for archive in copied if archive.origin is Origin.MANUAL and archive.blob not in there)
    judged = {archive.blob for archive in copied if archive.blob.startswith(listed)}
    gone = {blob for blob in islice(strays, MAX_STRAYS) if stat_blob(clients.raw, blob) is None}
    return frozenset(judged - there | gone)


def _names(clients: Clients, prefix: str) -> Iterator[str]:
    return each(clients.raw.list_blob_names(name_starts_with=prefix), f"list raw/{prefix}")


def read_queues(clients: Clients) -> StoredQueues:
    """Return the number of waiting messages, poison messages and dead letters."""
    return StoredQueues(
        batches=_waiting(clients, BATCH_QUEUE),
        polls=_waiting(clients, POLL_QUEUE),
        poison=sum(_waiting(clients, f"{name}{POISON}") for name in (BATCH_QUEUE, POLL_QUEUE)),
        dead_letters=_dead_letters(clients),
    )


def _newest_images(clients: Clients, archives: Sequence[Entry]) -> Iterator[ImageEntry]:
    for entry, newer in with_newer(archives):
        if is_readable(entry, newer) and entry.pipeline and entry.counts and entry.counts.images:
            yield from read_image_entries(clients, entry, _NEWEST)
            return


def read_image_entries(clients: Clients, entry: Entry, limit: int) -> Iterator[ImageEntry]:
    """Yield the images among an archive's first `limit` rows; no pixels are read."""
    archive = entry.archive
    if entry.pipeline is None:
        return
    partition = archive.key.partition(entry.pipeline)
    for row in islice(scan(clients.images, partition, select=ROW_COLUMNS, page=limit), limit):
        if row.get("part") == 0:
            yield ImageEntry(archive=archive, pipeline=entry.pipeline, row=read_row(row))


def _waiting(clients: Clients, name: str) -> int:
    with azure_errors(f"count the messages of the queue {name}"):
        try:
            properties = clients.queues.get_queue_client(name).get_queue_properties()
        except ResourceNotFoundError:
            # The functions host creates a poison queue with its first message.
            return 0
    return int(properties.approximate_message_count or 0)


def _dead_letters(clients: Clients) -> int:
    with azure_errors(f"list the container {clients.dead_letters.container_name}"):
        try:
            pages = clients.dead_letters.list_blob_names(results_per_page=MAX_DEAD_LETTERS).by_page()
            return len(list(next(pages, ())))
        except ResourceNotFoundError:
            return 0
