"""Writes docs/limits.md from the limits that the code has: `python -m local.limits_page`."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.near import NEAR
from config.settings import Pipeline
from imagefeed.rows import PROPERTY_BYTES, ROW_LIMIT, TRANSACTION_BYTES, TRANSACTION_ROWS
from ingest.protocols.listing import MAX_BYTES, MAX_DEPTH, MAX_FOLDERS
from ingest.stager import LARGEST, MAX_BLOCKS
from ops.health.findings import FEW
from ops.health.limits import LIMITS
from ops.health.load import MAX_DAYS, MAX_DEAD_LETTERS, MAX_ROWS
from ops.health.load_archive import MAX_BYTES as MAX_IMAGE_BYTES
from ops.health.load_archive import MAX_ROWS as MAX_IMAGE_ROWS
from storage.blobs.runs import FUNCTION_TIMEOUT

PAGE = Path(__file__).parents[1] / "docs/limits.md"
_REST = "https://learn.microsoft.com/rest/api/storageservices"
_TABLES = f"[Table service data model]({_REST}/understanding-the-table-service-data-model)"
_TRANSACTIONS = f"[Performing entity group transactions]({_REST}/performing-entity-group-transactions)"
_BLOCKS = f"[Put Block]({_REST}/put-block)"
_NAMES = f"[Naming containers, blobs and metadata]({_REST}/naming-and-referencing-containers--blobs--and-metadata)"
_QUEUES = f"[Put Message]({_REST}/put-message)"
_EVENTS = "[Event Grid delivery and retry](https://learn.microsoft.com/azure/event-grid/delivery-and-retry)"
_HOST = "[host.json](https://learn.microsoft.com/azure/azure-functions/functions-host-json)"


@dataclass(frozen=True, slots=True)
class Row:
    """One limit, as the page shows it."""

    limit: str
    value: str
    setting: str
    beyond: str
    reason: str


def _mebibytes(count: int) -> str:
    return f"{count >> 20:,} MiB" if count >= 2**20 else f"{count >> 10} KiB"


_OURS = (
    Row("text of one FTP folder's listing", _mebibytes(MAX_BYTES), "",
        "listing fails: nothing more is copied from the source", "memory"),
    Row("folders below each other, with RECURSIVE", f"{MAX_DEPTH}", "",
        "deeper ones are not listed, and a finding names them", "folders that lead back to one above them"),
    Row("folders of a source, with RECURSIVE", f"{MAX_FOLDERS:,}", "",
        "the others are not listed, and a finding names one", "time of a poll"),
    Row("size of a file", f"{LARGEST / 2**40:.1f} TiB", "", "its copy fails, the others are not affected",
        f"{MAX_BLOCKS:,} blocks of a blob, at 256 MiB each"),
    Row("tries of a batch", f"{Pipeline().redrive_tries}", "PIPELINE_REDRIVE_TRIES", "the archive is failed",
        "an error that stays"),
    Row("age of archives that reconcile checks", f"{Pipeline().window.total_seconds() / 3600:.0f} h",
        "PIPELINE_WINDOW", "older ones are preprocessed again on request: "
        "`imagefeed replay --source SOURCE --since 30d`", "time of a call"),
    Row("rows of the ledger that the status page reads of a source", f"{MAX_ROWS:,}", "",
        "the oldest archives of the window are not shown, and the page says so", "time of a request"),
    Row("days whose raw blobs the status page looks for", f"{MAX_DAYS}", "",
        "only `imagefeed audit` reports whether older ones are gone", "time of a request"),
    Row("rows of an archive that its page reads", f"{MAX_IMAGE_ROWS:,}", "", "the page says that there are more",
        "time of a request"),
    Row("size of an image that a page shows", _mebibytes(MAX_IMAGE_BYTES), "", "the page names the command that "
        "writes it as a file", "memory"),
    Row("findings of one kind and source", f"{FEW}", "", "only the number of the others is shown",
        "a readable list"),
    Row("dead letters that are counted", f"{MAX_DEAD_LETTERS}", "", "the count says \"or more\"", "time of a request"),
)  # fmt: skip
_SERVICES = (
    Row("time of a call", f"{FUNCTION_TIMEOUT.total_seconds() / 60:.0f} min", "functionTimeout in host.json",
        "the host ends the process; the work of the call is done again", _HOST),
    Row("time until Event Grid considers a delivery lost", "30 s", "",
        "the event is sent again; the first call continues", _EVENTS),
    Row("deliveries of a message", "5", "maxDequeueCount in host.json", "it is put into the poison queue, from which "
        "reconcile takes it", _HOST),
    Row("blocks of a blob", f"50,000; ours {MAX_BLOCKS:,}", "", "larger files get larger blocks", _BLOCKS),
    Row("uncommitted blocks of a blob", "100,000", "", "after two inconsistent transfers of a file the ids of its "
        "blocks repeat", _BLOCKS),
    Row("a row", _mebibytes(ROW_LIMIT), "", "an image is divided into several rows", _TABLES),
    Row("a property of a row", _mebibytes(PROPERTY_BYTES), "", "bytes are divided, text is cut", _TABLES),
    Row("a transaction", f"{TRANSACTION_ROWS} rows, {_mebibytes(TRANSACTION_BYTES)}", "",
        "rows are written in several transactions", _TRANSACTIONS),
    Row("the name of a blob", "1,024 characters", "", "80 characters of a file's name are kept", _NAMES),
    Row("a message of a queue", "64 KiB", "", "messages contain names of blobs, no data", _QUEUES),
)  # fmt: skip


def page() -> str:
    """Return the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Limits"
    yield ""
    yield "Written by `python -m local.limits_page` from the limits in the code; a test checks that they agree."
    yield ""
    yield "## Warned of in advance"
    yield ""
    yield (
        f"At {NEAR:.0%} of one of these limits, the finding `near_limit` appears ([findings.md](findings.md)): in "
        "`imagefeed status`, in `imagefeed audit`, on the status page and in the log."
    )
    yield ""
    yield from _table(
        Row(limit.means, limit.default, limit.setting, f"{limit.beyond}; before that: {limit.cure}", limit.reason)
        for limit in LIMITS.values()
    )
    yield ""
    yield "## Others of this project"
    yield ""
    yield from _table(_OURS)
    yield ""
    yield "## Of the services"
    yield ""
    yield from _table(_SERVICES)


def _table(rows: Iterator[Row] | tuple[Row, ...]) -> Iterator[str]:
    yield "| limit | default | setting | what happens at it | where it comes from |"
    yield "|---|---|---|---|---|"
    for row in rows:
        setting = f"`{row.setting}`" if row.setting and " " not in row.setting else row.setting or "none"
        yield f"| {row.limit} | {row.value} | {setting} | {row.beyond} | {row.reason} |"


def main() -> None:
    """Write the page."""
    argparse.ArgumentParser(prog="python -m local.limits_page", description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
