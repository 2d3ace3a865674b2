"""The verb `rebuild`: restores a lost ledger from raw blobs and results."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict

from config.settings import read_specs
from imagefeed.errors import PermanentError
from imagefeed.layout import NAME
from imagefeed.ledger import require_source
from imagefeed.terminal import count, write, write_json
from ingest.timestamps import stamps_by
from storage.blobs.raw import MANUAL
from storage.clients import Clients, prepare
from storage.rebuild import RebuildOutcome, rebuild


def rebuild_ledger(options: argparse.Namespace, clients: Clients, texts: Mapping[str, str]) -> None:
    """Restore the ledger and print how much was restored. Raises PermanentError if the source is unknown."""
    source = options.source
    if source is not None and not NAME.fullmatch(source):
        raise PermanentError(f"rebuild the ledger of {source!r}: that is not a valid source name")
    prepare(clients)
    specs = read_specs(texts)
    rebuilt = rebuild(clients, source, stamps_by({name: spec.stamp for name, spec in specs.items()}) if specs else None)
    if source is not None and source not in (MANUAL, *specs) and not rebuilt.archives:
        require_source(clients, source, "rebuild the ledger of source")
    if options.json:
        write_json(asdict(rebuilt))
    else:
        _report(rebuilt)


def _report(done: RebuildOutcome) -> None:
    write(
        f"{count(done.archives, 'archive')} in the raw container: ledger rows restored of {done.restored}, "
        f"batch results restored of {done.results}"
    )
    if done.unprocessed:
        write(
            f"{count(done.unprocessed, 'archive')} not processed, or without proof of it; "
            f"oldest: {done.oldest:%Y-%m-%d %H:%M}. reconcile redrives those within PIPELINE_WINDOW; "
            "use replay for older ones"
        )
    if done.unread:
        write(
            f"{count(done.unread, 'blob')} uploaded by hand and not restored: set the app's SOURCES__… settings here, "
            "which define how their stamps are read"
        )
