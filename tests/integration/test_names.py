"""Untrusted names are kept as labels in rows, shards and files, and do no harm."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagefeed.export import export
from imagefeed.layout import format_stamp
from imagefeed.model import ArchiveKey
from imagefeed.tables import Reader
from preprocess.context import Context
from preprocess.handlers import HandlerOutcome, handle_archive_created
from preprocess.model import BatchSizes, Limits, Recipe
from storage.blobs.raw import RawBlobs
from storage.clients import Clients
from storage.queues.messages import BatchMessages
from storage.results import ShardsAndRows
from storage.tables.batches import TableBatchLedger
from tests.unit.preprocess.pictures import encoded, smooth
from tests.unit.preprocess.zips import zipped

NOW = datetime.now(UTC).replace(microsecond=0)
NAMES = [
    "",
    "../../../etc/passwd.png",
    "/abs/olute.png",
    "c:\\windows\\..\\system32.png",
    "line\nbreak\r\x1b[2J\x07.png",
    "twice.png",
    "twice.png",
    "n" * 400 + ".png",
    "日本/ü\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe",
    "<script>alert(1)</script>.png",
    "a'b\"c&d#e?f%2e%2e.png",
    "😀" * 200 + ".png",
    "CON",
    "...",
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_are_labels_from_the_zip_to_the_exported_file(clients: Clients, source: str, tmp_path: Path) -> None:
    picture = encoded(smooth(20, 20), "PNG")
    nul = b"nul\0byte.png"
    content = zipped(*((name, picture) for name in NAMES), ("nul_byte.png", picture), ("nul_byte.png", b"none"))
    blob = ArchiveKey(source, NOW, "0123abcd").raw_blob("a.zip")
    metadata = {"source": source, "stamp": format_stamp(NOW), "version": "0123abcd", "path": "a.zip"}
    clients.raw.upload_blob(blob, content.replace(b"nul_byte.png", nul), metadata=metadata)
    p = Context(
        raw=RawBlobs(clients, lambda *_: None),
        results=ShardsAndRows(clients, "npy", max_rows_per_image=8),
        ledger=TableBatchLedger(clients),
        queue=BatchMessages(clients),
        recipe=Recipe(width=8, height=8),
        hook=None,
        pipeline="p1",
        limits=Limits(),
        sizes=BatchSizes(),
    )
    assert handle_archive_created(blob, p) is HandlerOutcome.DONE
    expected = [*NAMES, nul.decode()]
    reader = Reader(clients)
    assert [image.metadata.name for image in reader.latest(source)] == expected
    start, end = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    assert [image.metadata.name for image in reader.shards(source, start, end)] == expected
    export(clients, reader, source, start, tmp_path / "images", "png")
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 2 * len(expected)
    assert {path.parent for path in files} == {tmp_path / "images" / f"{format_stamp(NOW)}.0123abcd"}
    assert all(path.name.isascii() and path.name.isprintable() and len(path.name) < 120 for path in files)
    names = [json.loads(path.read_text())["name"] for path in files if path.suffix == ".json"]
    assert names == expected
