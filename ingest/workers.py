"""Copy workers of one poll, each with its own connection. The first copies newest first, the others oldest first."""

import itertools
import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Event

from config import telemetry
from config.errors import LeaseLostError, OutOfTimeError, SourceRefusedError, SourceUnavailableError
from imagefeed.errors import PipelineError
from ingest.discover import Discovery
from ingest.model import SourceSpec, TrackedFile
from ingest.ports import ArchiveStore, Connection, Connector, ZipEnd
from ingest.tracker import FileTracker, Order
from ingest.transfer import CopyHooks, CopyJob, copy_archive

log = logging.getLogger(f"ingestion.{__name__}")

_LIST_AGAIN = 5.0
"""Seconds after which an idle worker lists again while other workers copy."""


@dataclass(kw_only=True)
class CopyWorkers:
    """Copy workers of one poll and the state that they share."""

    spec: SourceSpec
    connector: Connector
    store: ArchiveStore
    zip_end: ZipEnd
    tracker: FileTracker
    discovery: Discovery
    _busy: Event = field(default_factory=Event)
    """Set when the first worker has an archive, so that other due archives need more workers."""

    def run(self, connection: Connection) -> None:
        """List the source and copy its archives until nothing is due, on `connection` and on others opened if needed.

        Raises the error that ended the first worker, after the other workers have ended.
        """
        self.discovery.refresh(connection)
        others = self.spec.max_connections - 1
        ended: PipelineError | None = None
        with ThreadPoolExecutor(max(others, 1), thread_name_prefix=f"worker-{self.spec.name}") as pool:
            # Each runs in a copy of this context, so that its telemetry belongs to this poll.
            workers = [
                pool.submit(copy_context().run, self._extra_worker)
                for _ in range(others if self.tracker.waiting else 0)
            ]
            try:
                self._work(connection, itertools.repeat(Order.NEWEST_FIRST) if others else itertools.cycle(Order))
            except (SourceUnavailableError, SourceRefusedError, OutOfTimeError) as exc:
                # Workers on other connections may still work, and end by themselves.
                ended = exc
            except BaseException:
                self.tracker.stop()
                raise
            finally:
                self._busy.set()
        for worker in workers:
            worker.result()
        if ended:
            raise ended

    def _extra_worker(self) -> None:
        """Copy on a separate connection, opened only if there is work for it."""
        self._busy.wait()
        if not self.tracker.wait_for_work(_LIST_AGAIN):
            return
        try:
            with self.connector.connect() as connection:
                # The listing may be outdated after the wait.
                self.discovery.refresh(connection)
                self._work(connection, itertools.repeat(Order.OLDEST_FIRST))
        except (SourceUnavailableError, SourceRefusedError) as exc:
            log.info("worker.ended source=%s error=%r", self.spec.name, str(exc))
        except OutOfTimeError:
            log.debug("worker.out_of_time source=%s", self.spec.name)
        except BaseException:
            self.tracker.stop()
            raise

    def _work(self, connection: Connection, orders: Iterable[Order]) -> None:
        """Copy archives one by one until no worker copies and none is due."""
        doubtful = False
        for order in orders:
            # List so that new archives come first. After a failure, listing shows if the server or the file failed.
            if order is Order.NEWEST_FIRST or doubtful:
                self.discovery.refresh(connection, even_if_fresh=doubtful)
            with self.tracker.claim_next(order) as tracked_file:
                self._busy.set()
                doubtful = tracked_file is not None and not self._copy(connection, tracked_file)
            if tracked_file is None and not self.discovery.measure(connection, order):
                if not self.discovery.unchecked and not self.tracker.wait_for_work(_LIST_AGAIN):
                    return
                self.tracker.check()
                self.discovery.refresh(connection, even_if_fresh=self.discovery.unchecked)

    def _copy(self, connection: Connection, tracked_file: TrackedFile) -> bool:
        """Copy one archive; return False if it failed, which is recorded and does not affect other archives.

        Raises LeaseLostError, OutOfTimeError.
        """
        tracker, archive, started = self.tracker, tracked_file.archive, time.monotonic()
        hooks = CopyHooks(
            check=tracker.check,
            started=lambda: tracker.record_start(tracked_file),
            renew=lambda generation: tracker.record_generation(tracked_file, generation),
        )
        try:
            tracker.check()
            job = CopyJob(
                archive=archive,
                listed=tracked_file.listed,
                zip_end=self.zip_end,
                block_size=self.spec.block_size,
                generation=tracker.ensure_generation(tracked_file),
                previous_sha256=tracked_file.previous_sha256,
                accept_truncated=tracker.is_truncated_for_long(tracked_file),
                measured=tracker.is_measured(tracked_file),
            )
            # One poll may copy hundreds of archives, so each copy is a separate trace.
            with telemetry.span("copy", source=archive.source, archive=archive.version, root=True):
                tracker.ensure_recorded(tracked_file)
                result = copy_archive(connection, self.store, job, hooks)
                tracker.record_result(tracked_file, result, time.monotonic() - started)
        except LeaseLostError:
            raise
        except OutOfTimeError:
            if not tracker.ensure_generation(tracked_file).resumable:
                # Otherwise it would use up each poll, and no error would show the reason.
                tracker.record_failure(tracked_file, _too_slow(tracked_file))
            raise
        except PipelineError as exc:
            tracker.record_failure(tracked_file, exc)
            return False
        return True


def _too_slow(tracked_file: TrackedFile) -> PipelineError:
    """Return the error of an archive that is read from its start in each poll, and never to its end."""
    return SourceUnavailableError(
        f"copy {tracked_file.archive.file.path!r}: it takes longer than BUDGET, and is read from its start each time, "
        "because the server's bytes contradicted each other twice; raise BUDGET, or ask the server's owner"
    )
