"""The lanes of one tick: each a connection that copies, the first the newest archives, the others the oldest."""

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Lock

from config import telemetry
from config.errors import LeaseLostError, OutOfTimeError, SourceRefusedError, SourceUnavailableError
from imagefeed.errors import PipelineError
from ingest.model import RemoteFile, SourceSpec, TrackedFile
from ingest.ports import ArchiveStore, Connection, Connector, ZipEnd
from ingest.tracked_files import StableFile, both_ends, nearly_gone, unknown, wanted
from ingest.tracker import FileTracker, Order
from ingest.transfer import CopyHooks, CopyJob, copy_archive

log = logging.getLogger(f"ingestion.{__name__}")

_AT_ONCE = 100
"""Unknown files that are looked at before copying goes on: of thousands, none waits for the looks at all."""
_LOOK_AGAIN = 5.0
"""Seconds after which a lane without work lists again, while others are at long copies."""


@dataclass(kw_only=True)
class CopyWorkers:
    """Everything that the lanes of a tick share."""

    spec: SourceSpec
    connector: Connector
    store: ArchiveStore
    zip_end: ZipEnd
    tracker: FileTracker
    now: Callable[[], datetime]
    wait: Callable[[float], None]
    _listing: Lock = field(default_factory=Lock)
    _listed_at: datetime | None = None
    _left_over: bool = False
    """There are unknown files that the last listing did not come to look at."""
    _begun: Event = field(default_factory=Event)
    """The first lane has its first archive: what is due now is more than it can do."""

    def run(self, connection: Connection) -> None:
        """List, and copy what is undone until nothing is due. The first connection is there, others are made."""
        self._list(connection)
        others = self.spec.max_connections - 1
        ended: PipelineError | None = None
        with ThreadPoolExecutor(max(others, 1), thread_name_prefix=f"lane-{self.spec.name}") as pool:
            # Each in a copy of this context, so that what it does is known to be of this poll.
            workers = [
                pool.submit(copy_context().run, self._extra_worker)
                for _ in range(others if self.tracker.waiting else 0)
            ]
            try:
                self._work(connection, itertools.repeat(Order.NEWEST_FIRST) if others else itertools.cycle(Order))
            except (SourceUnavailableError, SourceRefusedError, OutOfTimeError) as exc:
                # Lanes on other connections may still be fine; they end by themselves.
                ended = exc
            except BaseException:
                self.tracker.stop()
                raise
            finally:
                self._begun.set()
        for worker in workers:
            worker.result()
        if ended:
            raise ended

    def _extra_worker(self) -> None:
        """Work on a connection of our own, which is made only once there is something for it."""
        self._begun.wait()
        if not self.tracker.wait_for_work(_LOOK_AGAIN):
            return
        try:
            with self.connector.connect() as connection:
                # Whoever waited in vain has not waited to wait once more, but to see what has come meanwhile.
                self._list_again(connection)
                self._work(connection, itertools.repeat(Order.OLDEST_FIRST))
        except (SourceUnavailableError, SourceRefusedError) as exc:
            log.info("lane.ended source=%s error=%r", self.spec.name, str(exc))
        except OutOfTimeError:
            log.debug("lane.out_of_time source=%s", self.spec.name)
        except BaseException:
            self.tracker.stop()
            raise

    def _work(self, connection: Connection, ends: Iterable[Order]) -> None:
        """Copy one archive after the other until all lanes are at rest."""
        doubtful = False
        for end in ends:
            # Newcomers overtake; and after a failure, listing shows whether the server or the file was to blame.
            if end is Order.NEWEST_FIRST or doubtful:
                self._list_again(connection, even_if_fresh=doubtful)
            with self.tracker.take(end) as tracked_file:
                self._begun.set()
                doubtful = tracked_file is not None and not self._copy(connection, tracked_file)
            if tracked_file is None:
                if not self._left_over and not self.tracker.wait_for_work(_LOOK_AGAIN):
                    return
                self.tracker.check()
                self._list_again(connection, even_if_fresh=self._left_over)

    def _copy(self, connection: Connection, tracked_file: TrackedFile) -> bool:
        """Copy one archive; False if that failed, which is noted and costs no other archive anything."""
        tracker, archive, began = self.tracker, tracked_file.archive, time.monotonic()
        job = CopyJob(
            archive=archive,
            zip_end=self.zip_end,
            block_size=self.spec.block_size,
            previous_sha256=tracked_file.previous_sha256,
            accept_truncated=self._is_truncated_for_long(tracked_file),
        )
        hooks = CopyHooks(check=tracker.check, started=lambda: tracker.started(tracked_file))
        try:
            tracker.check()
            # A trace of its own: one poll may copy hundreds.
            with telemetry.span("copy", source=archive.source, archive=archive.version, root=True):
                tracker.begin(tracked_file)
                result = copy_archive(connection, self.store, job, hooks)
                tracker.finished(tracked_file, result, time.monotonic() - began)
        except (LeaseLostError, OutOfTimeError):
            raise
        except PipelineError as exc:
            tracker.fail(tracked_file, exc)
            return False
        return True

    def _is_truncated_for_long(self, tracked_file: TrackedFile) -> bool:
        since = tracked_file.truncated_since
        return since is not None and self.now() - since >= self.spec.stable_for_max

    def _list_again(self, connection: Connection, *, even_if_fresh: bool = False) -> None:
        """List, unless that was done, perhaps by another lane, within the time that files take to settle."""
        with self._listing:
            age = self.now() - self._listed_at if self._listed_at else timedelta.max
            if even_if_fresh or age >= self.spec.stable_for:
                self._list(connection)

    def _list(self, connection: Connection) -> None:
        """List the source, let unknown files settle, and take them in."""
        listed_at = self.now()
        files = wanted(self.spec, connection.list_files())
        files = [*files, *self._overlooked(connection, files)]
        strange = unknown(self.tracker.tracked_files, files)
        # While there is work, only what is newer than all of it is worth looking at before the work goes on.
        newest = self.tracker.newest_due()
        urgent = [file for file in strange if newest is None or file.modified >= newest]
        looked_at = both_ends(urgent, _AT_ONCE)
        settled = self._settle(connection, looked_at)
        self._left_over = len(looked_at) < len(strange)
        self.tracker.update(files, settled, listed_at)
        self._listed_at = self.now()

    def _overlooked(self, connection: Connection, files: Sequence[RemoteFile]) -> Iterator[RemoteFile]:
        """Files that would count as gone by this listing, and that the server has when it is asked for each.

        A listing that is cut short at the end of a line, by a server that calls it complete, looks like any other.
        """
        for tracked_file in nearly_gone(self.tracker.tracked_files, files):
            self.tracker.check()
            if self._is_there(connection, tracked_file):
                log.warning("listing.incomplete source=%s path=%r", self.spec.name, tracked_file.listed.path)
                yield tracked_file.listed

    def _is_there(self, connection: Connection, tracked_file: TrackedFile) -> bool:
        try:
            return connection.look(tracked_file.listed) is not None
        except SourceRefusedError:
            return False
        except SourceUnavailableError:
            # Some servers answer so for what is gone. It must neither hold up all others, nor be awaited for ever.
            return self.now() < tracked_file.first_seen + self.spec.retention

    def _settle(self, connection: Connection, files: Sequence[RemoteFile]) -> list[StableFile]:
        """Look at files twice, `stable_for` apart, and keep those that have not changed in between."""
        first = [StableFile(listed=file, certain=found) for file in files if (found := self._look(connection, file))]
        if not first:
            return []
        self.wait(self.spec.stable_for / timedelta(seconds=1))
        return [one for one in first if self._look(connection, one.listed) == one.certain]

    def _look(self, connection: Connection, file: RemoteFile) -> RemoteFile | None:
        # A hundred looks at a slow server take longer than a tick may.
        self.tracker.check()
        try:
            found = connection.look(file)
            # What is listed and yet not there, such as what we may not read, must not be passed over.
            return file if found is None and file in connection.list_files() else found
        except SourceRefusedError:
            # It costs no other file anything: taken in as listed, its copy fails for all to see.
            return file
        except SourceUnavailableError as exc:
            # Whether the server or the file is to blame, a listing shows: some are busy as long as they are written.
            connection.list_files()
            self.tracker.record_unreadable(file, exc)
            return None
