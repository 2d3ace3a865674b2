r"""Names of everything that lies in storage. They are deterministic and carry their own keys.

Limits: blob names 1,024 characters; table keys without `/ \ # ?` and control characters, at most 512 characters
(https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model).
"""

import re
from datetime import UTC, date, datetime
from pathlib import PurePosixPath
from urllib.parse import quote, unquote_to_bytes
from uuid import uuid4

SMOKE = "smoke"
"""The source of what the smoke test sends through: nobody waits for it, and no metric knows it."""
SOURCES = "sources/"
"""Where the state container keeps a blob for each source."""
RAW_CONTAINER = "raw"
PROCESSED_CONTAINER = "processed"
STATE_CONTAINER = "state"
DEAD_LETTER_CONTAINER = "dead-letter"
"""Where the Event Grid subscription is to put events that it gives up."""
ARCHIVES_TABLE = "archives"
BATCHES_TABLE = "batches"
IMAGES_TABLE = "images"
POLL_QUEUE = "poll"
BATCH_QUEUE = "batches"
POISON = "-poison"
"""A queue's name and this is where the functions host puts messages that it gives up."""

NAME = re.compile(r"[a-z0-9-]{1,32}")
"""Names of sources and pipelines; `~` separates them in keys."""

SMOKE_BLOB = re.compile(rf"{SMOKE}/[0-9a-f]{{32}}\.zip")
"""Names of what the smoke test puts into the raw container; whatever else somebody puts there is no smoke test."""

OPEN = "open"
"""No name of a pipeline: keys of archives begin with those."""

_STAMP = "%Y%m%dT%H%M%SZ"
_INVERT_FROM = 99_999_999_999_999
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def format_stamp(stamp: datetime) -> str:
    """Write a stamp as `yyyymmddTHHMMSSZ`."""
    return f"{stamp.astimezone(UTC):{_STAMP}}"


def parse_stamp(text: str) -> datetime:
    """Read what `format_stamp` wrote. Raises ValueError."""
    return datetime.strptime(text, _STAMP).replace(tzinfo=UTC)


def safe_stem(path: str) -> str:
    """Reduce a remote path to its file's stem in `[A-Za-z0-9._-]`, at most 80 characters."""
    stem = re.sub(r"\.zip$", "", PurePosixPath(path).name, flags=re.IGNORECASE)
    return _UNSAFE.sub("_", stem)[:80].strip(".") or "archive"


def encode_path(path: str) -> str:
    """Write a true name in ASCII, as metadata needs it; bytes that were no UTF-8 survive."""
    return quote(path.encode("utf-8", "surrogateescape"))


def decode_path(text: str) -> str:
    """Read what `encode_path` wrote."""
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def smoke_blob() -> str:
    """Name a new archive of the smoke test in the raw container."""
    return f"{SMOKE}/{uuid4().hex}.zip"


def day_prefix(source: str, day: date) -> str:
    """Begin the names of a source's raw blobs of one day."""
    return f"{source}/{day:%Y/%m/%d}/"


def hour_prefix(source: str, stamp: datetime) -> str:
    """Begin the names of a source's raw blobs of one hour, and behind the pipeline those of its shards."""
    return f"{source}/{stamp.astimezone(UTC):%Y/%m/%d/%H}/"


def image_stem(member: int, frame: int) -> str:
    """Name an image within its shard, without the suffix."""
    return f"{member:06}-{frame:04}"


def image_row(member: int, frame: int, part: int) -> str:
    """RowKey of one part of an image."""
    return f"{member:06}~{frame:04}~{part:02}"


def refusal_row(member: int) -> str:
    """RowKey of a refused member; it sorts behind the member's images."""
    return f"{member:06}~refused"


def batch_row(number: int) -> str:
    """RowKey of a batch."""
    return f"{number:04}"


def open_partition(pipeline: str, source: str) -> str:
    """PartitionKey, in the batches table, of a source's archives that are not at their end under a pipeline."""
    return f"{OPEN}~{pipeline}~{source}"


def invert_stamp(stamp: datetime) -> str:
    """Write a stamp so that the newest sorts first."""
    return f"{_INVERT_FROM - int(f'{stamp.astimezone(UTC):%Y%m%d%H%M%S}'):014}"


def behind_stamp(stamp: datetime) -> str:
    """Bound the ledger's rows to those of `stamp` and newer: it sorts behind the last of them."""
    return f"{invert_stamp(stamp)}~~"


def source_state_blob(source: str) -> str:
    """Name a source's state in the state container."""
    return f"{SOURCES}{source}.json"


def pipeline_blob(pipeline: str) -> str:
    """Name what is known of a pipeline in the state container."""
    return f"pipelines/{pipeline}.json"


def current_blob(source: str) -> str:
    """Name what tells in the processed container which pipeline of a source is the current one.

    No pipeline's name has an underscore, so it lies among no pipeline's results.
    """
    return f"_current/v1/{source}.json"


def check_blob(source: str) -> str:
    """Name what tells in the state container how far a source's results were last looked through."""
    return f"checks/{source}.json"


def run_blob(function: str) -> str:
    """Name what tells in the state container when a function last came to its end."""
    return f"runs/{function}.json"


def kept_blob(where: str, name: str) -> str:
    """Name the copy of a dead letter of a queue or container in the state container."""
    return f"poison/{where}/{name.removesuffix('.json')}.json"
