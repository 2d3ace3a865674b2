"""Users replay an archive that was refused, once its cause is removed."""

import base64
import json
import os
import subprocess
from uuid import uuid4

import numpy as np

from local.system import PROJECT, System
from storage.clients import Clients
from tests.e2e.test_stories import archive, drop, eventually, images_of, picture, pixels_of, row_of, settled


def test_a_refused_archive_is_processed_after_its_cause_is_removed_and_it_is_replayed(
    running: System, stored: Clients
) -> None:
    members = [picture(seed) for seed in range(3)]
    running.change_settings({"LIMIT_ARCHIVE_MEMBERS": "2"})
    try:
        running.restart_host()
        name = drop(running, "south", archive(*members))
        assert eventually(lambda: settled(stored, "south", name), name, running) == "refused"
        row = row_of(stored, "south", name, pipeline=True)
        assert row is not None
        assert "LIMIT_ARCHIVE_MEMBERS" in row["reason"]
    finally:
        running.change_settings({"LIMIT_ARCHIVE_MEMBERS": "100000"})
        running.restart_host()

    replayed = subprocess.run(
        [PROJECT / "local" / "bin" / "imagefeed", "replay", "--refused", "--since", "1h", "--source", "south"],
        env={**os.environ, **running.settings}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stderr
    assert "1 archive: 1 queued" in replayed.stdout

    def processed() -> bool | None:
        return settled(stored, "south", name) == "processed" or None

    eventually(processed, f"{name} after the replay", running)
    images = images_of(stored, "south", name)
    assert sorted(images) == [0, 1, 2]
    for member, image in images.items():
        np.testing.assert_array_equal(image, pixels_of(members[member]))


def test_what_queues_and_event_grid_gave_up_is_taken_up_again_by_reconcile(running: System, stored: Clients) -> None:
    blob = f"north/by-hand/{uuid4().hex}.zip"
    event = {
        "eventType": "Microsoft.Storage.BlobCreated",
        "subject": f"/blobServices/default/containers/raw/blobs/{blob}",
        "data": {"api": "PutBlob"},
        "deadLetterReason": "MaxDeliveryAttemptsExceeded",
        "deliveryAttempts": 30,
    }
    running.stop_relay()
    try:
        stored.raw.upload_blob(blob, archive(picture(1)))
        # It has no event, and reconcile lists only folders of days, so this dead letter is the only trace.
        stored.dead_letters.upload_blob(f"{uuid4()}.json", json.dumps([event]))
        poison = stored.queues.get_queue_client("batches-poison")
        poison.send_message(base64.b64encode(b"what?").decode())
        assert eventually(lambda: settled(stored, "north", blob), blob, running) == "processed"
    finally:
        running.start_relay()

    def kept() -> str | None:
        names = stored.state.list_blob_names(name_starts_with="poison/batches-poison/")
        messages = (stored.state.download_blob(name).readall().decode() for name in names)
        return next((each for each in messages if "it is not valid JSON" in each), None)

    eventually(kept, "the message that makes no sense", running)
    eventually(lambda: not list(stored.dead_letters.list_blob_names()) or None, "an empty container", running)
    eventually(lambda: not poison.get_queue_properties().approximate_message_count or None, "an empty queue", running)
