"""A value in a JSON blob: absent, written once or again, and never confused with a container that is missing."""

from dataclasses import dataclass

import pytest

from imagefeed.errors import StoreRefusedError
from storage.blobs.json_blob import JsonBlob
from storage.clients import Clients


@dataclass(frozen=True)
class Note:
    text: str
    numbers: tuple[int, ...] = ()


def test_a_value_comes_back_as_it_was_written(clients: Clients, source: str) -> None:
    blob = JsonBlob(clients.state, source, Note)
    assert blob.read() is None
    assert blob.create(Note("no utf-8 \udcff"))
    assert not blob.create(Note("late"))
    assert blob.read() == Note("no utf-8 \udcff")
    blob.write(Note("new", (1, 2)))
    assert blob.read() == Note("new", (1, 2))


def test_anything_else_in_the_blob_is_an_error(clients: Clients, source: str) -> None:
    for content in (b"no json", b'{"text": 1}', b"\x80"):
        clients.state.upload_blob(source, content, overwrite=True)
        with pytest.raises(ValueError, match=r"."):
            JsonBlob(clients.state, source, Note).read()


def test_a_missing_container_is_an_error(clients: Clients, source: str) -> None:
    with pytest.raises(StoreRefusedError, match="init"):
        JsonBlob(clients.blobs.get_container_client(source), "note.json", Note).read()
