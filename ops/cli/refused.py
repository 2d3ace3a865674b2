"""The verb `refused`: lists archive members that could not be preprocessed, with the reasons."""

import argparse
from dataclasses import asdict

from imagefeed.ledger import entries, refusals, require_source
from imagefeed.pipelines import require_pipeline
from imagefeed.terminal import Column, Table, clean, write, write_json
from storage.clients import Clients


def show_refused(options: argparse.Namespace, clients: Clients) -> None:
    """Print the refused members of a source in a time range. Raises PermanentError if the source is unknown."""
    source = options.source
    if options.pipeline is not None:
        require_pipeline(clients, options.pipeline)
    refused = [
        (entry.archive, refusal)
        for entry in entries(clients, source, pipeline=options.pipeline, start=options.since, end=options.until)
        for refusal in refusals(clients, entry)
    ]
    if not refused:
        require_source(clients, source, "show refused members of source")
    if options.json:
        members = [{"stamp": a.stamp, "version": a.version, "blob": a.blob, **asdict(r)} for a, r in refused]
        write_json({"source": source, "since": options.since, "until": options.until, "refused": members})
        return
    titles = ("stamp (UTC)", "version", "member", "error", "name")
    table = Table(columns=[*(Column(title=title) for title in titles), Column(title="reason", own=True)])
    for archive, r in refused:
        texts = map(clean, (r.error, r.name, r.reason))
        table.add(f"{archive.stamp:%Y-%m-%d %H:%M:%S}", archive.version, str(r.member), *texts)
    write(table if refused else f"no member of source {source} was refused in that time")
