"""The raw container as written by copying: blocks are staged, then published whole by one conditional commit."""

import hashlib
import re
import secrets
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceModifiedError, ResourceNotFoundError
from azure.core.pipeline import PipelineResponse
from azure.storage.blob import BlobBlock, BlobClient, BlobProperties, ContainerClient, ContentSettings

from config import telemetry
from config.errors import InconsistentTransferError
from imagefeed.azure_errors import DAMAGED, azure_errors, each, error_code
from imagefeed.errors import StoreRefusedError, StoreUnavailableError
from imagefeed.layout import encode_path, format_stamp
from imagefeed.model import Origin
from imagefeed.stores import is_emulator
from ingest.model import Archive, Block, CommitOutcome, CopyMetadata, Published, Span, Staged
from storage.clients import Clients

_EXISTS = ("BlobAlreadyExists", "ConditionNotMet")
"""Error codes of a commit if the blob exists; other conflicts are temporary and must not be taken for it."""
_LONGEST_PATH = 2_000
"""Bytes of a path; each may take three characters of metadata."""
_BLOCK_ID = re.compile(r"([AB][\w-]{22})\.*", re.ASCII)
"""Offset, generation and CRC64 in base64. No offset reaches 2^43, so the first letter identifies them."""
_ZIP = ContentSettings(content_type="application/zip")
_CRC64 = "x-ms-content-crc64"
_SENDS = 2
"""Times that a block is sent which the service received otherwise than it was."""
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_NUMBER = 3
"""Digits that suffice for the number of any block."""


class BlobArchives:
    """Whole archives as blobs of the raw container; an ArchiveStore."""

    def __init__(self, clients: Clients) -> None:
        self._raw = clients.raw

    def find(self, archive: Archive) -> Published | None:
        """Return the metadata of an archive that is already published; None if it is not."""
        properties = stat_blob(self._raw, archive.key.raw_blob(archive.file.path))
        if properties is None:
            return None
        if "sha256" not in properties.metadata:
            return Published(None)
        return Published(
            CopyMetadata(sha256=properties.metadata["sha256"], complete=properties.metadata.get("complete") != "false")
        )

    def upload(self, archive: Archive) -> "BlobUpload":
        """Return an upload that begins or resumes an archive."""
        return BlobUpload(self._raw.get_blob_client(archive.key.raw_blob(archive.file.path)), archive)


class BlobUpload:
    """An upload of one raw blob; an Upload."""

    def __init__(self, blob: BlobClient, archive: Archive) -> None:
        self._blob = blob
        self._archive = archive
        self._ids = _BlockIds(blob.blob_name)
        self._emulator = is_emulator(blob)
        self._read_etag: str | None = None
        self.unchecked = False
        """Whether a block was answered without the service's CRC64, although this is no emulator."""

    def staged(self) -> Staged:
        """Return the blocks that are staged and uncommitted, and the number of blocks with foreign ids."""
        with azure_errors(f"list the staged blocks of {self._blob.blob_name}"):
            try:
                _, uncommitted = self._blob.get_block_list("uncommitted", raw_response_hook=self._ids.fit)
            except ResourceNotFoundError as exc:
                if error_code(exc) == "ContainerNotFound":
                    raise
                return Staged()
        blocks = [block for block in map(_parse, uncommitted) if block]
        return Staged(blocks=tuple(sorted(blocks, key=_place)), foreign=len(uncommitted) - len(blocks))

    def stage(self, block: Block, content: memoryview) -> None:
        """Stage one block; an equal one is replaced. Safe from several threads.

        Raises InconsistentTransferError if the service keeps receiving other bytes, which may then be staged.
        """
        with azure_errors(f"stage {content.nbytes} bytes at {block.span.offset} of {self._blob.blob_name}"):
            for _ in range(_SENDS):
                # With this header the service rejects a block that was damaged on the way. Emulators do not support it.
                arrived = self._send(block, content, {} if self._emulator else {_CRC64: _encoded(block.crc64)})
                if arrived is None and not self._emulator:
                    self.unchecked = True
                    # The SDK's own option takes only `bytes`, so that every block would have to be copied first.
                    md5 = b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
                    arrived = self._send(block, content, {"Content-MD5": md5})
                if arrived is not False:
                    return
        raise InconsistentTransferError(
            f"stage {content.nbytes} bytes at {block.span.offset} of {self._blob.blob_name}: Azure Storage received "
            f"other bytes than were sent, {_SENDS} times; tried again later"
        )

    def _send(self, block: Block, content: memoryview, headers: dict[str, str]) -> bool | None:
        """Send a block and return whether its bytes arrived unchanged; None if the service does not tell."""
        try:
            answer = self._blob.stage_block(self._ids.of(block), content, length=content.nbytes, headers=headers)  # type: ignore[arg-type]  # sockets take any buffer
        except HttpResponseError as exc:
            if error_code(exc) in DAMAGED:
                return False
            raise
        received = answer.get("content_crc64")
        return None if received is None else int.from_bytes(received, "little") == block.crc64

    def commit(self, blocks: Sequence[Block], metadata: CopyMetadata | None) -> CommitOutcome:
        """Publish `blocks` under the archive's name unless it exists: all, or nothing."""
        _check_gapless([block.span for block in blocks], self._blob.blob_name)
        with azure_errors(f"commit {self._blob.blob_name}"):
            try:
                self._blob.commit_block_list(
                    [BlobBlock(self._ids.of(block)) for block in blocks],
                    content_settings=_ZIP,
                    metadata=_metadata(self._archive, metadata),
                    match_condition=MatchConditions.IfMissing,
                )
            except HttpResponseError as exc:
                if error_code(exc) in _EXISTS:
                    return CommitOutcome.ALREADY_THERE
                if error_code(exc) != "InvalidBlockList":
                    raise
                return self._without_blocks(exc)
        return CommitOutcome.STORED

    def _without_blocks(self, exc: HttpResponseError) -> CommitOutcome:
        """Return the outcome if blocks are gone: another commit discarded them, or they expired after a week."""
        if self._blob.exists():
            return CommitOutcome.ALREADY_THERE
        raise StoreUnavailableError(
            f"commit {self._blob.blob_name}: staged blocks are gone; the file is copied again"
        ) from exc

    def read_back(self) -> Iterator[bytes]:
        """Yield the committed blob's bytes in chunks."""
        doing = f"read back {self._blob.blob_name}"
        with azure_errors(doing):
            blob = self._blob.download_blob()
        self._read_etag = blob.properties.etag
        yield from each(blob.chunks(), doing)

    def committed(self) -> Sequence[Block]:
        """Return the committed blob's blocks, in order; none if another program or an older version made their ids."""
        with azure_errors(f"list the blocks of {self._blob.blob_name}"):
            committed, _ = self._blob.get_block_list("committed")
        blocks = [block for block in map(_parse, committed) if block]
        return blocks if len(blocks) == len(committed) else ()

    def remove(self) -> None:
        """Delete the blob that was read back; another one, or none, is left alone."""
        with azure_errors(f"remove {self._blob.blob_name}"), suppress(ResourceNotFoundError, ResourceModifiedError):
            self._blob.delete_blob(etag=self._read_etag, match_condition=MatchConditions.IfNotModified)

    def amend(self, metadata: CopyMetadata) -> None:
        """Set the hashes of a committed blob."""
        with azure_errors(f"set the hashes of {self._blob.blob_name}"):
            # The metadata is set last, because its hash marks the blob as complete.
            self._blob.set_blob_metadata(_metadata(self._archive, metadata))


class _BlockIds:
    """Ids of one blob's blocks, of the same length as those already staged, because the service rejects others."""

    def __init__(self, blob: str) -> None:
        self._blob = blob
        self._length: int | None = None
        self._numbers: dict[Block, int] = {}
        self._next = count()
        self._token = secrets.token_urlsafe(48)

    def fit(self, block_list: PipelineResponse[Any, Any]) -> None:
        """Read the length of staged ids from the response, because the SDK's blocks mix up ids and base64."""
        if name := re.search(rb"<Name>([^<]+)</Name>", block_list.http_response.body()):
            self._length = len(b64decode(name[1]))

    def of(self, block: Block) -> str:
        """Name a block by its offset, generation and CRC64.

        Where another program staged shorter ids, name it by a number. Such blocks are not resumed.
        """
        payload = block.span.offset.to_bytes(6) + bytes.fromhex(block.generation) + block.crc64.to_bytes(8)
        name = urlsafe_b64encode(payload).decode().rstrip("=")
        if self._length is None or self._length >= len(name):
            return name.ljust(self._length or 0, ".")
        number = self._numbers.get(block)
        if number is None:
            number = self._numbers.setdefault(block, next(self._next))
        digits = min(self._length, _NUMBER)
        if number >= len(_DIGITS) ** digits:
            raise StoreRefusedError(
                f"stage {self._blob}: another program staged blocks there whose ids of {self._length} bytes leave room "
                f"for {number} blocks; delete its blob of that name if there is one, or wait a week until they are gone"
            )
        written = (_DIGITS[number >> 6 * place & 63] for place in reversed(range(digits)))
        return self._token[: self._length - digits] + "".join(written)


def _parse(block: BlobBlock) -> Block | None:
    """Parse the id of a block; None if it is foreign."""
    match = _BLOCK_ID.fullmatch(block.id)
    if match is None:
        return None
    payload = urlsafe_b64decode(f"{match[1]}=")
    span = Span(int.from_bytes(payload[:6]), block.size)
    return Block(span, payload[6:9].hex(), int.from_bytes(payload[9:]))


def _place(block: Block) -> tuple[int, int]:
    return block.span.offset, block.span.length


def _encoded(crc64: int) -> str:
    # Little-endian, as Crc64Hash::OnFinal of the Azure SDK for C++ writes it, and calculate_crc64_bytes of Python's.
    return b64encode(crc64.to_bytes(8, "little")).decode()


def stat_blob(container: ContainerClient, name: str) -> BlobProperties | None:
    """Return a blob's properties; None if it does not exist."""
    with azure_errors(f"read the properties of {container.container_name}/{name}"):
        try:
            return container.get_blob_client(name).get_blob_properties()
        except ResourceNotFoundError as exc:
            if error_code(exc) == "ContainerNotFound":
                raise
            return None


def _check_gapless(spans: Sequence[Span], name: str) -> None:
    end = 0
    for span in spans:
        if span.offset != end:
            raise ValueError(f"commit {name}: a block begins at {span.offset}, but the one before it ends at {end}")
        end += span.length


def _fitting_path(path: str) -> str:
    """Return the encoded path, cut at the front to fit: metadata may have 8 KiB, and the file's name is at the end."""
    raw = path.encode("utf-8", "surrogateescape")
    return encode_path(path if len(raw) <= _LONGEST_PATH else raw[-_LONGEST_PATH:].decode("utf-8", "surrogateescape"))


def _metadata(archive: Archive, metadata: CopyMetadata | None) -> dict[str, str]:
    fields = {
        "origin": Origin.COPIED,
        "source": archive.source,
        "path": _fitting_path(archive.file.path),
        "size": str(archive.file.size),
        "modified": format_stamp(archive.file.modified),
        "stamp": format_stamp(archive.stamp),
        "stamp_replaced": str(archive.stamp_replaced).lower(),
        "replaces": archive.replaces,
        "version": archive.version,
    }
    if trace := telemetry.traceparent():
        fields[telemetry.TRACEPARENT] = trace
    if metadata is not None:
        fields |= {"sha256": metadata.sha256, "complete": str(metadata.complete).lower()}
    return fields
