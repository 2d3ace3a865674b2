"""`python -m tests.faults.copier FILE`: polls one source until all is copied, or until it is killed."""

import json
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from ingest.model import Endpoint, SourceSpec
from ingest.poll import poll
from ingest.protocols.connect import connector
from preprocess.zip import end
from storage.blobs.raw_upload import BlobArchives
from storage.blobs.source_state import BlobSourceStates
from storage.clients import connected
from storage.tables.archives import TableCopyLedger


def write_job(file: Path, connection: str, endpoint: Endpoint, spec: SourceSpec) -> None:
    """Write a copier's job to a file."""
    settings = {"name": spec.name, "block_size": spec.block_size, "budget": spec.budget.total_seconds()}
    file.write_text(json.dumps({"connection": connection, "endpoint": asdict(endpoint), "spec": settings}))


def main() -> int:
    """Do the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    settings = job["spec"] | {"budget": timedelta(seconds=job["spec"]["budget"])}
    spec = SourceSpec(**settings, max_connections=1, stable_for=timedelta(milliseconds=20))
    source = connector(Endpoint(**job["endpoint"]))
    with connected(job["connection"]) as clients:
        while True:
            adapters = BlobSourceStates(clients), BlobArchives(clients), TableCopyLedger(clients)
            report = poll(spec, source, *adapters, zip_end=end)
            if report.listed and not report.waiting:
                return 0


if __name__ == "__main__":
    sys.exit(main())
