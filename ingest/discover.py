"""Find the new, stable files of a source. All workers of a poll share one listing at a time."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Lock

from config.errors import SourceRefusedError, SourceUnavailableError
from ingest.model import Listing, RemoteFile, SourceSpec, TrackedFile
from ingest.ports import Connection
from ingest.tracked_files import StableFile, both_ends, left_out, nearly_gone, relevant, unknown, wanted
from ingest.tracker import FileTracker

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
    _lock: Lock = field(default_factory=Lock)
    _listed_at: datetime | None = None

    def refresh(self, connection: Connection, *, even_if_fresh: bool = False) -> None:
        """List the source, unless a worker did so less than `stable_for` ago and `even_if_fresh` is false."""
        with self._lock:
            age = self.now() - self._listed_at if self._listed_at else timedelta.max
            if even_if_fresh or age >= self.spec.stable_for:
                self._list(connection)

    def _list(self, connection: Connection) -> None:
        """List the source, check unknown files for stability, and track the stable ones."""
        listed_at = self.now()
        listed = connection.list_files()
        passed_over = left_out(self.spec, listed.files)
        listing = Listing(files=wanted(self.spec, listed.files), unread=relevant(self.spec, listed.unread))
        listing = replace(listing, files=[*listing.files, *self._overlooked(connection, listing)])
        unknown_files = unknown(self.tracker.tracked_files, listing.files)
        # While archives are due, check only files that are newer than all of them, so that copying goes on.
        newest = self.tracker.newest_due()
        urgent = [file for file in unknown_files if newest is None or file.modified >= newest]
        checked = both_ends(urgent, _AT_ONCE)
        stable = self._stable(connection, checked)
        self.unchecked = len(checked) < len(unknown_files)
        self.tracker.update(listing, stable, listed_at, passed_over)
        self._listed_at = self.now()

    def _overlooked(self, connection: Connection, listing: Listing) -> Iterator[RemoteFile]:
        """Yield files that would count as gone after this listing, but that the server still has when asked for each.

        Some servers cut a listing short at the end of a line and report it as complete.
        """
        for tracked_file in nearly_gone(self.tracker.tracked_files, listing):
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
                connection.list_files()
                self.tracker.record_unreadable(file, exc)
        if refused:
            # A file that is listed but not found, for example for lack of permission, must still be tracked.
            listed = {file.path: file for file in connection.list_files().files}
            seen |= {file: listed[file.path] for file in refused if file.path in listed}
        return seen
