"""Find the new, stable files of a source. All workers of a poll share one listing at a time."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from threading import Lock

from config.errors import InconsistentTransferError, OutOfTimeError, SourceRefusedError, SourceUnavailableError
from ingest.model import Listing, RemoteFile, Scope, SourceSpec, TrackedFile, Unread
from ingest.ports import Connection
from ingest.tracked_files import (
    StableFile,
    both_ends,
    forget_before,
    left_out,
    nearly_gone,
    relevant,
    unknown,
    wanted,
    wants,
)
from ingest.tracker import FileTracker, Order

log = logging.getLogger(f"ingestion.{__name__}")

_AT_ONCE = 100
"""Unknown files that are checked at once, so that copying need not wait until thousands are checked."""


@dataclass(kw_only=True)
class Discovery:
    """Lists a source and tracks its new, stable files."""

    spec: SourceSpec
    tracker: FileTracker
    now: Callable[[], datetime]
    wait: Callable[[float], None]
    unchecked: bool = False
    """True if the last listing had unknown files that were not checked."""
    _unreadable: dict[str, Unread] = field(default_factory=dict)
    """Files of the last listing of which the server tells nothing for now, by path."""
    _lock: Lock = field(default_factory=Lock)
    _listed_at: datetime | None = None

    @property
    def _scope(self) -> Scope:
        return Scope(wants=partial(wants, self.spec), check=self.tracker.check)

    def _scope_of(self, *paths: str) -> Scope:
        """Return a scope of a few files, of which a listing is wanted because the server tells nothing of them."""
        return Scope(wants={*paths}.__contains__, check=self.tracker.check)

    def refresh(self, connection: Connection, *, even_if_fresh: bool = False) -> None:
        """List the source, unless a worker did so less than `stable_for` ago and `even_if_fresh` is false."""
        with self._lock:
            age = self.now() - self._listed_at if self._listed_at else timedelta.max
            if even_if_fresh or age >= self.spec.stable_for:
                self._list(connection)

    def _list(self, connection: Connection) -> None:
        """List the source, check unknown files for stability, and track the stable ones."""
        listed_at = self.now()
        try:
            listed = connection.list_files(self._scope)
        except OutOfTimeError as exc:
            if self._listed_at is not None:
                raise
            # Each poll would end like this one, and copy nothing.
            raise SourceUnavailableError(
                f"list {self.spec.name}: it takes longer than BUDGET, so nothing is copied; raise BUDGET, or ask the "
                "server's owner for MLSD or fewer files"
            ) from exc
        self._unreadable = {}
        passed_over = left_out(self.spec, [*listed.files, *listed.unsized])
        listing = self.tracker.with_known_sizes(
            Listing(
                files=wanted(self.spec, listed.files),
                unread=relevant(self.spec, listed.unread),
                unsized=wanted(self.spec, listed.unsized),
            )
        )
        listing = replace(listing, files=[*listing.files, *self._overlooked(connection, listing, listed_at)])
        unknown_files = unknown(self.tracker.tracked_files, listing.files)
        # While archives are due, check only files that are newer than all of them, so that copying goes on.
        newest = self.tracker.newest_due()
        urgent = [file for file in unknown_files if newest is None or file.modified >= newest]
        checked = both_ends(urgent, _AT_ONCE)
        stable = self._stable(connection, checked)
        self.unchecked = len(checked) < len(unknown_files)
        listing = replace(listing, unread=[*listing.unread, *self._unreadable.values()])
        self.tracker.update(listing, stable, listed_at, passed_over)
        self._listed_at = self.now()

    def measure(self, connection: Connection, order: Order) -> bool:
        """Count the bytes of one file whose size the server does not give, and track it; return False if none is due.

        Done only when nothing is due to be copied, and one file at a time, so that no file delays others for long.
        """
        with self.tracker.claim_unsized(order) as file:
            if file is None:
                return False
            # A file that is being written is not read: its times differ. The size is replaced below.
            for stable in self._stable(connection, [file.of_size(0)]):
                try:
                    size = connection.measure(file, self.tracker.check)
                except OutOfTimeError as exc:
                    self.tracker.record_unmeasured(file, _out_of_time(file.path, exc))
                    raise
                except (SourceUnavailableError, SourceRefusedError, InconsistentTransferError) as exc:
                    self.tracker.record_unmeasured(file, exc)
                    # Shows whether the server failed or only this file.
                    self.refresh(connection, even_if_fresh=True)
                else:
                    counted = StableFile(listed=file.of_size(size), certain=replace(stable.certain, size=size))
                    self.tracker.record_measured(counted)
        return True

    def _overlooked(self, connection: Connection, listing: Listing, now: datetime) -> Iterator[RemoteFile]:
        """Yield files that would count as gone after this listing, but that the server still has when asked for each.

        Some servers cut a listing short at the end of a line and report it as complete.
        """
        for tracked_file in nearly_gone(self.tracker.tracked_files, listing, forget_before(self.spec, now)):
            self.tracker.check()
            if self._exists(connection, tracked_file):
                log.warning("listing.incomplete source=%s path=%r", self.spec.name, tracked_file.listed.path)
                yield tracked_file.listed

    def _exists(self, connection: Connection, tracked_file: TrackedFile) -> bool:
        try:
            return connection.stat(tracked_file.listed) is not None
        except SourceRefusedError:
            return False
        except SourceUnavailableError:
            # Some servers raise this for a deleted file. It must neither fail the poll nor be kept for ever.
            return self.now() < tracked_file.first_seen + self.spec.retention

    def _stable(self, connection: Connection, files: Sequence[RemoteFile]) -> list[StableFile]:
        """Stat files twice, `stable_for` apart, and return those that did not change in between."""
        first = self._look(connection, files)
        if not first:
            return []
        self.wait(self.spec.stable_for / timedelta(seconds=1))
        second = self._look(connection, list(first))
        return [
            StableFile(listed=file, certain=certain) for file, certain in first.items() if second.get(file) == certain
        ]

    def _look(self, connection: Connection, files: Iterable[RemoteFile]) -> dict[RemoteFile, RemoteFile]:
        """Return the current facts of each file that is there, by the file as it was listed."""
        seen, refused = dict[RemoteFile, RemoteFile](), list[RemoteFile]()
        failed = dict[RemoteFile, SourceUnavailableError]()
        for file in files:
            # Check before each call, because a hundred calls to a slow server can take longer than a tick may.
            self.tracker.check()
            try:
                if now := connection.stat(file):
                    seen[file] = now
                else:
                    refused.append(file)
            except SourceRefusedError:
                # Track the file as listed; its copy will fail and record the reason without blocking other files.
                seen[file] = file
            except SourceUnavailableError as exc:
                # The server may be down, or only this file busy because it is being written: a listing tells which.
                if not failed:
                    connection.list_files(self._scope_of(file.path))
                failed[file] = exc
        if refused or len(failed) > 1:
            # A file that is listed but not found, for example for lack of permission, must still be tracked.
            listing = connection.list_files(self._scope_of(*(file.path for file in refused)))
            seen |= {file: found for file in refused if (found := listing.find(file.path, file.size))}
        for file, error in failed.items():
            self.tracker.record_unreadable(file, error)
            self._unreadable[file.path] = Unread(text=str(error), path=file.path)
        return seen


def _out_of_time(path: str, error: OutOfTimeError) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"count the bytes of {path!r}, whose size the server does not give: {error}; raise BUDGET if this stays so"
    )
