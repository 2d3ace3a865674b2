"""What the status page knows of a source and of the queues: read from storage, in a bounded number of rows."""

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
"""Of the ledger that one look reads for a source: two requests. An archive takes two rows, one more for each further
pipeline, so 48 hours of an archive every ten minutes are 576."""
MAX_ROWS_BEFORE = 20
"""Rows that are looked at for the last archive before the window."""
MAX_DAYS = 10
"""Day folders of the raw container that one look lists for a source; 48 hours touch three."""
MAX_STRAYS = 10
"""Blobs put there by hand, outside those folders, that one look asks for."""
MAX_DEAD_LETTERS = 100
"""Dead letters that are counted."""
_NEWEST = 8
"""Image rows that are read for the contact sheet of a source."""
_AT_ONCE = 8
_UNUSED = {"stamp_replaced", "complete", "sha256", "etag", "error_at", "batches"}
# Half of a look's time is spent on reading columns.
_COLUMNS = [column for column in ARCHIVE_COLUMNS if column not in _UNUSED]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """An image in the table, its pixels not read."""

    archive: RawArchive
    pipeline: str
    row: ImageRow


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSource:
    """All that one look reads of a source."""

    source: str
    source_state: SourceState | None
    entries: Sequence[Entry]
    """Archives with a stamp within the window, newest first."""
    before: datetime | None
    """The stamp of the last archive before the window, where it was found."""
    rows: int
    """Rows of the ledger that were read."""
    cut: bool
    """There were more: the oldest archives are not among the entries."""
    images: Sequence[ImageEntry]
    """Images of the newest archive that has any."""
    raw_missing: Collection[str] = frozenset()
    """Raw blobs that the ledger has as copied, and that are gone."""

    @property
    def state(self) -> SourceState:
        """Its last listing, or that there was none."""
        return self.source_state or SourceState(source=self.source)

    @property
    def arrivals(self) -> Sequence[Arrival]:
        """What has come, by the ledger and by the last listing, as `reconcile` sees it."""
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
    """What waits, and what was given up."""

    batches: int
    polls: int
    poison: int
    dead_letters: int
    """At most MAX_DEAD_LETTERS are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStatus:
    """All that one look reads."""

    sources: Sequence[StoredSource]
    queues: StoredQueues
    runs: Mapping[str, LastRun] = field(default_factory=dict)
    """The last of each function that has come to its end yet."""


def load_status(clients: Clients, since: Sequence[tuple[str, datetime]]) -> StoredStatus:
    """Read what there is of sources, each from a time on. Raises StoreUnavailableError, StoreRefusedError."""
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
        # The last one's further rows were not read: its state would be a guess.
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
    """Find what is the matter with raw blobs and results of a source's archives with a stamp from `since` on."""
    known = list(entries(clients, source, start=since))
    yield from check_raw(known, raw_missing(clients, source, known))
    yield from check_results(source, known, now)


def raw_missing(clients: Clients, source: str, entries: Sequence[Entry]) -> Collection[str]:
    """Name raw blobs of archives, newest first, that the ledger has as copied and that are gone.

    It costs one request for each day with an archive, of at most MAX_DAYS days, and one for each blob outside their
    folders, of at most MAX_STRAYS blobs that were put there by hand. `entries` were read before.
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
    """Count what waits in the queues, and what was given up."""
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
    """Give an archive's first images, of at most `limit` rows; no pixels are read."""
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
            # The functions host makes a poison queue when it needs one.
            return 0
    return int(properties.approximate_message_count or 0)


def _dead_letters(clients: Clients) -> int:
    with azure_errors(f"list the container {clients.dead_letters.container_name}"):
        try:
            pages = clients.dead_letters.list_blob_names(results_per_page=MAX_DEAD_LETTERS).by_page()
            return len(list(next(pages, ())))
        except ResourceNotFoundError:
            return 0
