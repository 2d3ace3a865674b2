"""User stories, from a zip on a server to images that are read."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from config.schedules import longest_pause
from imagefeed.layout import decode_path
from imagefeed.ledger import state_of
from imagefeed.model import Pixels
from imagefeed.tables import Reader
from local.servers.needed import ProgramMissingError
from local.system import PROJECT, System
from storage.blobs.pipelines import known_fingerprint
from storage.blobs.runs import FUNCTIONS, last_runs
from storage.clients import Clients
from tests.e2e.conftest import HOSTS
from tests.fixtures.secrecy import secrets_in

type Row = Mapping[str, Any]

PATIENCE = 60.0


def picture(seed: int, *, size: tuple[int, int] = (224, 224)) -> bytes:
    """A PNG that is stored as it is: preprocessing to the same size leaves its pixels alone."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def archive(*members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for number, member in enumerate(members):
            file.writestr(f"{number:02}.png", member)
    return buffer.getvalue()


def pixels_of(png: bytes) -> Pixels:
    with Image.open(io.BytesIO(png)) as opened:
        return np.asarray(opened)


def drop(system: System, source: str, content: bytes) -> str:
    """Put a file on the server as an upload does: under another name first. Return its name."""
    name = f"{uuid4().hex}.zip"
    root = system.sources[source].root
    (root / f"{name}.part").write_bytes(content)
    (root / f"{name}.part").rename(root / name)
    return name


def eventually[T](probe: Callable[[], T | None], waited_for: str, system: System) -> T:
    """Repeat `look` until it returns something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        seen = probe()
        if seen is not None:
            return seen
        system.check()
        time.sleep(0.2)
    tail = (system.logs / "host.log").read_text(errors="replace")[-5000:]
    raise AssertionError(f"{waited_for}: not within {PATIENCE:.0f} s; the functions host said at last:\n{tail}")


def row_of(stored: Clients, source: str, name: str, *, pipeline: bool = False) -> Row | None:
    """Return the archive's own row of the ledger, or the row of its result under the pipeline."""
    rows = list(stored.archives.query_entities(f"PartitionKey eq '{source}'"))
    own = [row for row in rows if row["RowKey"].count("~") == 1 and decode_path(row["path"]) == name]
    if not own or not pipeline:
        return own[0] if own else None
    return next((row for row in rows if row["RowKey"].startswith(f"{own[0]['RowKey']}~")), None)


def time_of(stored: Clients, name: str, step: str) -> datetime | None:
    """Return when an archive of `north` reached a step; None if it has not."""
    return (row_of(stored, "north", name) or {}).get(f"{step}_at")


def settled(stored: Clients, source: str, name: str) -> str | None:
    """Return the terminal state of an archive under the pipeline; None while it has none."""
    row = row_of(stored, source, name, pipeline=True)
    state = str(state_of(row)) if row else ""
    return state if state in {"processed", "refused", "failed"} else None


def images_of(stored: Clients, source: str, name: str) -> dict[int, Pixels]:
    reader = Reader(stored)
    images = reader.between(source, datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC))
    return {image.metadata.member: image.pixels for image in images if image.metadata.archive == name}


def raw_bytes(stored: Clients, source: str, name: str) -> bytes:
    row = row_of(stored, source, name)
    assert row is not None
    return stored.raw.download_blob(row["blob"]).readall()


def results_of(stored: Clients, source: str, name: str) -> dict[str, object]:
    """Return every shard and every row of an archive, byte for byte, by its name or key."""
    row = row_of(stored, source, name)
    assert row is not None
    version = row["version"]
    shards = [blob.name for blob in stored.processed.list_blobs() if f".{version}." in blob.name]
    rows = stored.images.query_entities("PartitionKey ge ''")
    return {
        **{shard: hashlib.sha256(stored.processed.download_blob(shard).readall()).hexdigest() for shard in shards},
        **{f"{row['PartitionKey']}/{row['RowKey']}": dict(row) for row in rows if version in row["PartitionKey"]},
    }


def post_event(system: System, blob: str, *, api: str = "PutBlockList") -> int:
    """Deliver an event as Event Grid does; return the status of the answer."""
    event = {
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
        "subject": f"/blobServices/default/containers/raw/blobs/{blob}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "id": str(uuid4()),
        "eventTime": datetime.now(UTC).isoformat(),
        "dataVersion": "",
        "metadataVersion": "1",
        "data": {"api": api, "contentType": "application/zip", "blobType": "BlockBlob", "sequencer": "0"},
    }
    request = urllib.request.Request(
        f"{system.host_url}/runtime/webhooks/EventGrid?functionName=on_raw_archive",
        data=json.dumps([event]).encode(),
        headers={"aeg-event-type": "Notification", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return int(answer.status)


def test_the_stories_are_told_on_both_hosts() -> None:
    if "func" not in HOSTS:
        raise ProgramMissingError("func", "these stories ran on our own host alone; docs/local.md says how to get it")


def test_a_small_archive_on_each_server_becomes_images(running: System, stored: Clients) -> None:
    for source in ("north", "south"):
        members = [picture(seed) for seed in range(3)]
        name = drop(running, source, archive(*members))
        assert eventually(partial(settled, stored, source, name), f"{source}/{name}", running) == "processed"
        images = images_of(stored, source, name)
        assert sorted(images) == [0, 1, 2]
        for member, image in images.items():
            np.testing.assert_array_equal(image, pixels_of(members[member]))


def test_a_large_archive_arrives_bit_for_bit_and_goes_over_the_queue(running: System, stored: Clients) -> None:
    content = archive(*(picture(seed, size=(1600, 1200)) for seed in range(10)))
    assert len(content) > 50 * 2**20
    name = drop(running, "north", content)
    assert eventually(lambda: settled(stored, "north", name), name, running) == "processed"
    assert raw_bytes(stored, "north", name) == content
    row = row_of(stored, "north", name)
    assert row is not None
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert sorted(images_of(stored, "north", name)) == list(range(10))
    assert sum(key.endswith(".tar") for key in results_of(stored, "north", name)) == 3


def test_a_broken_member_is_a_row_with_its_reason_and_costs_no_other(running: System, stored: Clients) -> None:
    name = drop(running, "south", archive(picture(1), picture(2)[:900], picture(3)))
    assert eventually(lambda: settled(stored, "south", name), name, running) == "processed"
    assert sorted(images_of(stored, "south", name)) == [0, 2]
    refused = [row for key, row in results_of(stored, "south", name).items() if key.endswith("~refused")]
    assert len(refused) == 1


def test_a_file_that_grows_in_place_is_copied_once_and_whole(running: System, stored: Clients) -> None:
    content = archive(*(picture(seed) for seed in range(4)))
    name = f"{uuid4().hex}.zip"
    with (running.sources["north"].root / name).open("wb") as file:
        for start in range(0, len(content), 50_000):
            file.write(content[start : start + 50_000])
            file.flush()
            time.sleep(0.4)  # an upload takes its time, which this test needs
    assert eventually(lambda: settled(stored, "north", name), name, running) == "processed"
    rows = stored.archives.query_entities("PartitionKey eq 'north'")
    sizes = [row["size"].value for row in rows if row["RowKey"].count("~") == 1 and decode_path(row["path"]) == name]
    assert sizes == [len(content)]


def test_ten_deliveries_of_an_event_at_once_change_nothing(running: System, stored: Clients) -> None:
    name = drop(running, "north", archive(*(picture(seed) for seed in range(6))))
    eventually(lambda: settled(stored, "north", name), name, running)
    before = results_of(stored, "north", name)
    row = row_of(stored, "north", name)
    assert row is not None
    blob = str(row["blob"])
    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(lambda _: post_event(running, blob), range(10))) == {202}
    assert results_of(stored, "north", name) == before


def test_events_of_others_and_of_what_is_gone_are_passed_over(running: System) -> None:
    assert post_event(running, "north/2026/01/01/00/20260101T000000Z.00000000.gone.zip") == 202
    assert post_event(running, "notes.txt") == 202
    assert post_event(running, "north/half.zip", api="CreateFile") == 202


def test_a_zip_that_someone_puts_into_the_container_is_preprocessed_too(running: System, stored: Clients) -> None:
    blob = f"north/by-hand/{uuid4().hex}.zip"
    stored.raw.upload_blob(blob, archive(picture(1)))
    assert eventually(lambda: settled(stored, "north", blob), blob, running) == "processed"
    assert sorted(images_of(stored, "north", blob)) == [0]
    log = running.logs / "host.log"
    expected = re.compile(rf"finding\.by_hand source=north since=\S+ until=- name='{blob}'")
    eventually(lambda: expected.search(log.read_text(errors="replace")), expected.pattern, running)


def test_what_no_event_told_of_is_found_by_reconcile(running: System, stored: Clients) -> None:
    running.stop_relay()
    try:
        name = drop(running, "north", archive(picture(1), picture(2)))
        assert eventually(lambda: settled(stored, "north", name), name, running) == "processed"
    finally:
        running.start_relay()


def test_killing_the_host_loses_nothing_and_doubles_nothing(running: System, stored: Clients) -> None:
    content = archive(*(picture(seed, size=(1600, 1200)) for seed in range(12)))
    name = drop(running, "north", content)
    for stage in ("copying", "raw"):
        eventually(partial(time_of, stored, name, stage), f"{name} {stage}", running)
        running.kill_host()
        running.start_host()
    assert eventually(lambda: settled(stored, "north", name), name, running) == "processed"
    assert raw_bytes(stored, "north", name) == content
    assert sorted(images_of(stored, "north", name)) == list(range(12))
    versions = {blob.name for blob in stored.raw.list_blobs("north/") if name.removesuffix(".zip") in blob.name}
    assert len(versions) == 1


def test_a_host_that_ends_by_itself_is_started_again_and_that_is_said(running: System, stored: Clients) -> None:
    if running.host_kind != "local":
        pytest.skip("only the local host's workers can be told from the host itself")
    said = None
    while said is None:
        # The third death of a worker ends the host.
        running.kill_worker()
        time.sleep(0.2)
        said = running.check()
    assert "the functions host has ended and is restarted" in said
    name = drop(running, "north", archive(picture(1)))
    assert eventually(lambda: settled(stored, "north", name), name, running) == "processed"


SCRIPTS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in ("README.md", *sorted(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md")))
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```$", (PROJECT / page).read_text(), re.MULTILINE | re.DOTALL)
    )
    if "open_reader(" in block
]
TORCH = """
class IterableDataset: pass
class DataLoader:
    def __init__(self, dataset, *, batch_size, num_workers):
        assert batch_size is None
        self.dataset, self.workers = dataset, [Info(number, num_workers) for number in range(num_workers)]
    def __iter__(self):
        global worker
        for worker in self.workers:
            yield from self.dataset
class Info:
    def __init__(self, id, num_workers): self.id, self.num_workers = id, num_workers
def get_worker_info(): return worker
worker = None
"""
"""The part of torch.utils.data that a snippet uses, because torch takes hundreds of megabytes: several workers."""


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_of_the_pages_read_images(running: System, stored: Clients, tmp_path: Path, script: str) -> None:
    name = drop(running, "south", archive(picture(1)))
    eventually(lambda: settled(stored, "south", name), name, running)
    address = '"https://ACCOUNT.blob.core.windows.net"'
    assert address in script
    script = script.replace("radar", "south").replace(address, repr(running.connection))
    package = tmp_path / "torch" / "utils"
    package.mkdir(parents=True)
    (package / "data.py").write_text(TORCH)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = [text for text in ("image.pixels.shape, image.pixels.dtype", "pixels.shape") if text in script]
    assert not shown or ("(224, 224, 3) uint8" if "dtype" in shown[0] else "(224, 224, 3)") in done.stdout


def test_the_commands_show_and_export_what_is_stored(running: System, stored: Clients, tmp_path: Any) -> None:
    member = picture(7)
    name = drop(running, "south", archive(member))
    eventually(lambda: settled(stored, "south", name), name, running)
    environment = {**os.environ, "DATA_STORAGE": running.connection, "COLUMNS": "200"}

    def command(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ops.cli", *arguments],
            cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = command("ls", "south")
    assert name in listed
    assert "processed" in listed
    assert "00.png" in command("latest", "south")
    command("export", "south", "--since", "1h", "--to", str(tmp_path / "out"))
    exported = [pixels_of(path.read_bytes()) for path in (tmp_path / "out").rglob("*.png")]
    assert any(np.array_equal(image, pixels_of(member)) for image in exported)


def test_the_status_page_shows_what_arrived(running: System) -> None:
    name = drop(running, "south", archive(picture(1), b"no picture"))

    def shown() -> Mapping[str, Any] | None:
        with urllib.request.urlopen(f"{running.status_url}.json", timeout=60) as answer:
            (south,) = [source for source in json.load(answer)["sources"] if source["name"] == "south"]
        return next((mark for mark in south["marks"] if mark["path"] == name and mark["lag"] is not None), None)

    mark = eventually(shown, name, running)
    assert (mark["state"], mark["images"], mark["refused"]) == ("refused in part", 1, 1)
    with urllib.request.urlopen(running.status_url, timeout=60) as answer:
        assert f"archives/south/{mark['id']}" in answer.read().decode()


def test_each_function_leaves_a_mark_of_its_last_run(running: System, stored: Clients) -> None:
    drop(running, "south", archive(*(picture(seed) for seed in range(5))))
    eventually(lambda: True if last_runs(stored).keys() == set(FUNCTIONS) else None, "the marks of all", running)
    runs, settings = last_runs(stored), running.settings
    assert runs["reconcile"].every == longest_pause(settings["RECONCILE_SCHEDULE"])
    assert runs["poll_sources"].every == longest_pause(settings["POLL_SCHEDULE"])
    assert known_fingerprint(stored, str(runs["poll_sources"].pipeline)) == runs["poll_sources"].fingerprint
    assert not [name for name, run in runs.items() if run.is_overdue(datetime.now(UTC), waiting=1)]


def test_no_secret_is_logged_or_stored(running: System, stored: Clients) -> None:
    name = drop(running, "south", archive(picture(9)))
    assert eventually(lambda: settled(stored, "south", name), name, running) == "processed"
    assert secrets_in(str(running.settings)), "else it is not searched for what there is"
    for log in running.logs.glob("*.log"):
        assert not secrets_in(log.read_text(errors="replace")), log
    for container in (stored.raw, stored.processed, stored.state):
        assert not secrets_in(str([(blob.name, blob.metadata) for blob in container.list_blobs(include=["metadata"])]))
    for source_state in stored.state.list_blob_names():
        assert not secrets_in(stored.state.download_blob(source_state).readall().decode()), source_state
    for table in (stored.archives, stored.batches):
        assert not secrets_in(str(list(table.list_entities())))
