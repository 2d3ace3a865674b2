"""A source on a real server behind a proxy, copied into a real Azurite by real polls."""

import hashlib
import io
import os
import random
import time
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobLeaseClient

from imagefeed.layout import decode_path, source_state_blob
from imagefeed.ledger import Entry, entries
from imagefeed.model import State
from ingest.model import (
    Archive,
    Endpoint,
    Generation,
    RemoteFile,
    SourceSpec,
    SourceState,
    Span,
    TrackedFile,
    version_of,
)
from ingest.poll import PollReport, poll
from ingest.protocols.connect import connector
from preprocess.zip import end
from storage.blobs.raw_upload import BlobArchives
from storage.blobs.source_state import BlobSourceStates
from storage.clients import Clients
from storage.tables.archives import TableCopyLedger
from tests.fixtures.blocks import GENERATION, stage

MIB = 2**20
AN_HOUR_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


_MEMBER = 64 * MIB


def make_zip(size: int = 0, seed: int = 0) -> bytes:
    """Make a complete zip of somewhat more than `size` bytes that no compression shortens."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        noise = random.Random(seed)
        for start in range(0, max(size, 1), _MEMBER):
            archive.writestr(f"image{seed}-{start}.bin", noise.randbytes(min(size - start, _MEMBER)))
    return out.getvalue()


def all_at_once[C](cases: Iterable[C], claim: Callable[[C], None]) -> None:
    """Check a claim for many cases, which mostly wait."""
    cases = list(cases)
    with ThreadPoolExecutor(16) as pool:
        proofs = [pool.submit(claim, case) for case in cases]
    failed = [(case, proof) for case, proof in zip(cases, proofs, strict=True) if proof.exception()]
    for case, _ in failed:
        print("failed:", case)  # noqa: T201 - pytest shows it
    for _, proof in failed:
        proof.result()


@dataclass(kw_only=True)
class World:
    """The operations and observations of the tests."""

    root: Path
    """The served folder, as a path of this machine."""
    endpoint: Endpoint
    clients: Clients
    spec: SourceSpec
    ahead: timedelta = field(default_factory=timedelta)
    """How far the pollers' clock is ahead of this machine's, so that no test has to wait."""
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    wait: Callable[[float], None] = time.sleep

    def put(self, name: str, content: bytes, modified: datetime = AN_HOUR_AGO) -> bytes:
        """Place a complete file without the poller."""
        aside = self.root / f".{name}"
        aside.write_bytes(content)
        os.utime(aside, (modified.timestamp(), modified.timestamp()))
        aside.rename(self.root / name)
        return content

    def stage(self, name: str, content: bytes, spans: Iterable[Span]) -> None:
        """Leave the state of an earlier poll that stopped within a file which `put` placed."""
        file = RemoteFile(path=name, size=len(content), modified=AN_HOUR_AGO)
        archive = Archive(source=self.spec.name, file=file, version=version_of(file), stamp=file.modified)
        generation = Generation(token=GENERATION)
        tracked = TrackedFile(listed=file, archive=archive, first_seen=AN_HOUR_AGO, generation=generation)
        with BlobSourceStates(self.clients).hold(self.spec.name) as held:
            held.save(SourceState(source=self.spec.name, tracked_files=(tracked,)))
        stage(BlobArchives(self.clients).upload(archive), content, spans)

    def tick(self, clients: Clients | None = None, pause: timedelta = timedelta(minutes=11)) -> PollReport:
        """Poll once, and let enough time pass that the next tick does everything that is due."""
        clients = clients or self.clients
        adapters = BlobSourceStates(clients), BlobArchives(clients), TableCopyLedger(clients)
        try:
            return poll(self.spec, connector(self.endpoint), *adapters, zip_end=end, now=self.now, wait=self.wait)
        finally:
            self.ahead += pause

    def lease_runs_out(self) -> None:
        """Let the time pass after which a dead poller no longer blocks others."""
        source_state = self.clients.state.get_blob_client(source_state_blob(self.spec.name))
        # There may be no source state yet, or no process that holds it.
        with suppress(HttpResponseError):
            BlobLeaseClient(source_state).break_lease(0)

    def now(self) -> datetime:
        """Return the pollers' time."""
        return self.clock() + self.ahead

    def tick_until_copied(self, limit: int = 4) -> None:
        """Poll until nothing waits and nothing went wrong."""
        reports: list[PollReport] = []
        while len(reports) < limit:
            reports.append(report := self.tick())
            if report.error is None and report.failed == 0 and report.listed and not report.waiting:
                return
        raise AssertionError(f"not copied after {limit} polls: {reports}")

    def raw(self) -> list[tuple[str, bytes]]:
        """Return path and content of every raw blob of the source, by the names of the blobs."""
        blobs = self.clients.raw.list_blobs(name_starts_with=f"{self.spec.name}/", include=["metadata"])
        pairs = [(blob.metadata, self.clients.raw.download_blob(blob.name).readall()) for blob in blobs]
        for metadata, content in pairs:
            assert metadata["sha256"] == hashlib.sha256(content).hexdigest()
        return [(decode_path(metadata["path"]), content) for metadata, content in pairs]

    def entries(self) -> list[Entry]:
        """Return the ledger's rows."""
        return list(entries(self.clients, self.spec.name))

    def states(self, name: str) -> list[State]:
        """States of a path's versions."""
        return sorted(entry.state for entry in self.entries() if entry.archive.path == name)
