r"""Names of all blobs, containers, tables, rows and queues. They are deterministic and contain their own keys.

Limits: blob names 1,024 characters; table keys without `/ \ # ?` and control characters, at most 512 characters
(https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model).
"""

import re
from datetime import UTC, date, datetime
from pathlib import PurePosixPath
from urllib.parse import quote, unquote_to_bytes
from uuid import uuid4

SMOKE = "smoke"
"""The source name of the smoke test's archives, which are in no metric."""
SOURCES = "sources/"
"""Prefix of the sources' blobs in the state container."""
RAW_CONTAINER = "raw"
PROCESSED_CONTAINER = "processed"
STATE_CONTAINER = "state"
DEAD_LETTER_CONTAINER = "dead-letter"
"""The container to which Event Grid writes events that it could not deliver."""
ARCHIVES_TABLE = "archives"
BATCHES_TABLE = "batches"
IMAGES_TABLE = "images"
POLL_QUEUE = "poll"
BATCH_QUEUE = "batches"
POISON = "-poison"
"""Suffix of the queue to which the functions host moves a queue's messages that failed too often."""

NAME = re.compile(r"[a-z0-9-]{1,32}")
"""Names of sources and pipelines; `~` separates them in keys."""

SMOKE_BLOB = re.compile(rf"{SMOKE}/[0-9a-f]{{32}}\.zip")
"""Names of the smoke test's blobs in the raw container. Other blobs in that folder are not the smoke test's."""

OPEN = "open"
"""First part of the partitions of open archives. No pipeline has this name, with which other partitions begin."""

_STAMP = "%Y%m%dT%H%M%SZ"
_INVERT_FROM = 99_999_999_999_999
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def format_stamp(stamp: datetime) -> str:
    """Return a stamp as `yyyymmddTHHMMSSZ`."""
    return f"{stamp.astimezone(UTC):{_STAMP}}"


def parse_stamp(text: str) -> datetime:
    """Parse a stamp of `format_stamp`. Raises ValueError if it is invalid."""
    return datetime.strptime(text, _STAMP).replace(tzinfo=UTC)


def safe_stem(path: str) -> str:
    """Return the file stem of a remote path, reduced to `[A-Za-z0-9._-]` and at most 80 characters."""
    stem = re.sub(r"\.zip$", "", PurePosixPath(path).name, flags=re.IGNORECASE)
    return _UNSAFE.sub("_", stem)[:80].strip(".") or "archive"


def encode_path(path: str) -> str:
    """Return a remote path in ASCII, as blob metadata needs it. Bytes that are not UTF-8 are preserved."""
    return quote(path.encode("utf-8", "surrogateescape"))


def decode_path(text: str) -> str:
    """Return the remote path in a text of `encode_path`."""
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def smoke_blob() -> str:
    """Return a new name for a smoke test's archive in the raw container."""
    return f"{SMOKE}/{uuid4().hex}.zip"


def day_prefix(source: str, day: date) -> str:
    """Return the prefix of a source's raw blobs of one day."""
    return f"{source}/{day:%Y/%m/%d}/"


def hour_prefix(source: str, stamp: datetime) -> str:
    """Return the prefix of a source's raw blobs of one hour; after the pipeline's name, of its shards."""
    return f"{source}/{stamp.astimezone(UTC):%Y/%m/%d/%H}/"


def image_stem(member: int, frame: int) -> str:
    """Return the name of an image within its shard, without the suffix."""
    return f"{member:06}-{frame:04}"


def image_row(member: int, frame: int, part: int) -> str:
    """Return the RowKey of one part of an image."""
    return f"{member:06}~{frame:04}~{part:02}"


def refusal_row(member: int) -> str:
    """Return the RowKey of a refused member, which sorts after the member's images."""
    return f"{member:06}~refused"


def batch_row(number: int) -> str:
    """Return the RowKey of a batch."""
    return f"{number:04}"


def open_partition(pipeline: str, source: str) -> str:
    """Return the PartitionKey, in the batches table, of a source's archives that a pipeline has not finished."""
    return f"{OPEN}~{pipeline}~{source}"


def invert_stamp(stamp: datetime) -> str:
    """Return a stamp as text of which the newest sorts first."""
    return f"{_INVERT_FROM - int(f'{stamp.astimezone(UTC):%Y%m%d%H%M%S}'):014}"


def behind_stamp(stamp: datetime) -> str:
    """Return a RowKey that sorts after all rows of the ledger with this stamp or a newer one."""
    return f"{invert_stamp(stamp)}~~"


def source_state_blob(source: str) -> str:
    """Return the name of the blob with a source's state, in the state container."""
    return f"{SOURCES}{source}.json"


def pipeline_blob(pipeline: str) -> str:
    """Return the name of a pipeline's record in the state container."""
    return f"pipelines/{pipeline}.json"


def current_blob(source: str) -> str:
    """Return the name of the record, in the processed container, of a source's current pipeline.

    It begins with an underscore, which no pipeline's name has, so it is outside all pipelines' results.
    """
    return f"_current/v1/{source}.json"


def check_blob(source: str) -> str:
    """Return the name of the record, in the state container, of how far a source's results were last checked."""
    return f"checks/{source}.json"


def run_blob(function: str) -> str:
    """Return the name of the record, in the state container, of when a function last ended."""
    return f"runs/{function}.json"


def kept_blob(where: str, name: str) -> str:
    """Return the name of the copy, in the state container, of a dead letter of a queue or container."""
    return f"poison/{where}/{name.removesuffix('.json')}.json"
