"""Only whole archives in the raw container are announced."""

import pytest

from preprocess.event import COMPLETE, archive_blob

CREATED = "Microsoft.Storage.BlobCreated"
SUBJECT = "/blobServices/default/containers/raw/blobs/"


@pytest.mark.parametrize("api", sorted(COMPLETE))
def test_every_way_of_finishing_a_blob_announces_it(api: str) -> None:
    assert archive_blob(CREATED, f"{SUBJECT}radar/2026/a b.ZIP", api, "raw") == "radar/2026/a b.ZIP"


@pytest.mark.parametrize(
    ("event_type", "subject", "api"),
    [
        (CREATED, f"{SUBJECT}radar/a.zip", "CreateFile"),
        (CREATED, f"{SUBJECT}radar/a.zip", ""),
        ("Microsoft.Storage.BlobDeleted", f"{SUBJECT}radar/a.zip", "PutBlob"),
        (CREATED, f"{SUBJECT}radar/a.txt", "PutBlob"),
        (CREATED, SUBJECT, "PutBlob"),
        (CREATED, "/blobServices/default/containers/raw-copy/blobs/a.zip", "PutBlob"),
        (CREATED, "/blobServices/default/containers/processed/blobs/raw/blobs/a.zip", "PutBlob"),
        (CREATED, "", "PutBlob"),
        (CREATED, "nonsense\n", "PutBlob"),
        (CREATED, f"{SUBJECT}\ud800.zip", "PutBlob"),
        (CREATED, f"{SUBJECT}a\0.zip", "PutBlob"),
        (CREATED, f"{SUBJECT}{'a' * 1_021}.zip", "PutBlob"),
    ],
)
def test_anything_else_is_passed_over(event_type: str, subject: str, api: str) -> None:
    assert archive_blob(event_type, subject, api, "raw") is None
