"""Names are untrusted: they are shown as they are, and affect neither the places we write to nor the terminal."""

import json
import re
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagefeed.model import ArchiveKey, Counts, RawArchive, Refusal
from ingest.model import Archive, CopyMetadata, RemoteFile, version_of
from local.azurite import Azurite
from ops.cli.__main__ import main
from preprocess.model import Batch
from storage.blobs.raw import RawBlobs
from storage.blobs.raw_upload import BlobArchives
from storage.clients import Clients
from storage.results import ShardsAndRows
from tests.fixtures.blocks import stage_whole
from tests.integration.test_reader import Producer, made

NOW = datetime.now(UTC).replace(microsecond=0)
HOSTILE = {
    "terminal codes": "\x1b[2J\x1b]0;owned\x07\x9b31m\x08\x7f.zip",
    "markup": ":skull: [red]all is well[/red] [/] [link=http://x.example]here[/link].zip",
    "lines": "a\r\n2026-01-01 processed\n\u2028\u2029\x0b\x0c\x85b.zip",
    "a path upwards": "../../../../../../tmp/etc/passwd",
    "an absolute path": "/etc/passwd",
    "a Windows path": "C:\\Windows\\..\\system32\\con.zip",
    "reversed": "\u202egpj.exe\u2066 \u200b\ufeff.zip",
    "no text at all": "\udcff\udcfe\x00.zip",
    "nothing but dots": "..",
    "nothing": "",
    "very long": "ä" * 30_000 + ".zip",
    "a formula": "=cmd|' /C calc'!A0 <script>alert(1)</script> %s {0} $(id) `id`.zip",
}


@pytest.fixture(params=list(HOSTILE))
def name(request: pytest.FixtureRequest) -> str:
    return HOSTILE[request.param]


@pytest.fixture
def stored(clients: Clients, source: str, name: str, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> RawArchive:
    """An archive with a hostile name, whose one image has it too, and whose other member was refused because of it."""
    monkeypatch.setenv("DATA_STORAGE", azurite.connection)
    producer = Producer(clients, source)
    # Servers' paths end at 4,096 bytes, members' names at 65,535.
    path = name[:2_000]
    archive = replace(producer.archive(NOW), path=path, blob=ArchiveKey(source, NOW, "0123abcd").raw_blob(path))
    producer.ledger.record_raw(archive, NOW)
    batch = Batch(archive=archive, pipeline="p1", number=0, first=0, end=2)
    producer.ledger.insert_plan([batch], NOW, NOW)
    with ShardsAndRows(clients, "npy", max_rows_per_image=2).write(batch) as writer:
        image = made(archive, 0)
        writer.add([replace(image, metadata=replace(image.metadata, name=name))])
        writer.refuse(Refusal(member=1, name=name, reason=f"broken: {name}", error="E"))
        size = writer.publish()
    producer.ledger.finish(batch, Counts(members=2, images=1, refused=1, bytes_out=size), NOW)
    failed = replace(producer.archive(NOW, "0123dead"), path=path)
    producer.ledger.record_raw(failed, NOW)
    producer.ledger.refuse(failed, "p1", f"no zip: {name}", NOW)
    return archive


def shown(name: str) -> str:
    """Return the part of a name that must be shown unchanged; a name too long for a column ends in dots."""
    if len(name) > 200:
        return name[:5]
    return max(re.split(r"[^ -~]+", name), key=len)[:24]


def harmless(text: str) -> bool:
    return all(letter == "\n" or unicodedata.category(letter)[0] != "C" for letter in text)


@pytest.mark.parametrize("arguments", [["ls", "SOURCE"], ["latest", "SOURCE"]], ids=["ls", "latest"])
def test_a_name_is_one_line_of_plain_text(
    stored: RawArchive, arguments: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([stored.source if part == "SOURCE" else part for part in arguments]) == 0
    output = capsys.readouterr().out
    assert harmless(output)
    assert shown(name).strip() in output


def test_export_writes_below_its_folder_alone(
    stored: RawArchive, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "deep" / "below" / "images"
    assert main(["export", stored.source, "--since", "1h", "--to", str(to)]) == 0
    assert harmless(capsys.readouterr().out)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert all(path.parent.parent == to for path in files)
    assert all(re.fullmatch(r"000000-0000[A-Za-z0-9._-]{0,82}\.(png|json)", path.name) for path in files)
    output = (to / f"{stored.blob.split('/')[-1].split('.')[0]}.0123abcd").glob("*.json")
    metadata = json.loads(next(output).read_text())
    assert metadata["name"] == name


def test_a_copied_blob_tells_the_true_path_within_what_metadata_may_hold(
    clients: Clients, source: str, name: str
) -> None:
    path = f"{name[:2_000]}/a.zip"
    file = RemoteFile(path=path, size=1, modified=NOW)
    upload = BlobArchives(clients).upload(Archive(source=source, file=file, version=version_of(file), stamp=NOW))
    upload.commit(stage_whole(upload, b"x"), CopyMetadata(sha256="ab" * 32, complete=False))
    (blob,) = clients.raw.list_blobs(f"{source}/", include=["metadata"])
    assert sum(len(key) + len(value) for key, value in blob.metadata.items()) < 8_192
    output = RawBlobs(clients, lambda *_: None).find(blob.name)
    assert output is not None
    assert path.endswith(output.path.lstrip("\udca4"))
    assert len(path) > 1_000 or output.path == path


def test_a_blob_s_name_is_safe_whatever_the_file_s_is(source: str, name: str) -> None:
    blob = ArchiveKey(source, NOW, "0123abcd").raw_blob(name)
    assert re.fullmatch(r"[a-z0-9-]+/\d{4}/\d\d/\d\d/\d\d/\d{8}T\d{6}Z\.[0-9a-f]{8}\.[A-Za-z0-9._-]{1,80}\.zip", blob)


def test_an_error_that_repeats_a_stranger_s_text_is_one_harmless_line(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv("DATA_STORAGE", azurite.connection)
    assert main(["ls", f"nobody {name[:200].encode(errors='replace').decode()}"]) == 2
    output = capsys.readouterr().err
    assert harmless(output)
    assert len(output.splitlines()) == 1
