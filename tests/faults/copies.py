"""A proxy before Azurite, which copies at once: it reports a copy as unfinished, with the real service's values.

The values are those of Get Blob Properties and of List Blobs (https://learn.microsoft.com/rest/api/storageservices/): a
copy in progress has `pending` and no completion time, and one that ended without its bytes left an empty blob with all
its metadata. A listing reports copies only on request.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tests.faults.http import HttpProxy


@dataclass(frozen=True, slots=True)
class Copy:
    """The service's values of a copy."""

    status: str
    copied: int = 0
    """Bytes."""
    length: int = 0
    """Of the blob meanwhile."""
    description: str = ""


class CopyProxy(HttpProxy):
    """Reports for each blob in `copies`, which must have been copied, the given state of its copy."""

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        self.copies: dict[str, Copy] = {}

    def _ask(self, head: bytes, body: bytes) -> bytes:
        answer = super()._ask(head, body)
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        url = urlsplit(target)
        name = unquote(url.path).split("/", 3)[-1]
        if method == "HEAD" and name in self.copies:
            return _headers(answer, self.copies[name])
        if method == "GET" and "comp=list" in url.query and "restype=container" in url.query:
            return _with_length(answer, lambda xml: self._listing(xml, with_copies="copy" in unquote(url.query)))
        return answer

    def _listing(self, xml: bytes, *, with_copies: bool) -> bytes:
        return re.sub(rb"<Blob>.*?</Blob>", lambda blob: self._entry(blob[0], with_copies=with_copies), xml, flags=re.S)

    def _entry(self, blob: bytes, *, with_copies: bool) -> bytes:
        named = re.search(rb"<Name>(.*?)</Name>", blob)
        copy = self.copies.get(named[1].decode()) if named else None
        if copy is not None:
            blob = re.sub(rb"(?<=<Content-Length>)\d+", b"%d" % copy.length, blob)
            blob = re.sub(rb"(?<=<CopyStatus>)\w+", copy.status.encode(), blob)
            blob = re.sub(rb"(?<=<CopyProgress>)\d+", b"%d" % copy.copied, blob)
            if copy.status == "pending":
                blob = re.sub(rb"<CopyCompletionTime>.*?</CopyCompletionTime>", b"", blob)
        return blob if with_copies else re.sub(rb"<(Copy\w+)>.*?</\1>", b"", blob)


def _headers(answer: bytes, copy: Copy) -> bytes:
    def to(name: bytes, value: bytes) -> None:
        nonlocal answer
        answer, count = re.subn(rb"(?i)(\r\n%s: )[^\r]*" % name, lambda match: match[1] + value, answer)
        assert count == 1, f"{name!r} is no header of it: was it copied?"

    to(b"content-length", b"%d" % copy.length)
    to(b"x-ms-copy-status", copy.status.encode())
    answer = re.sub(rb"(?i)(\r\nx-ms-copy-progress: )\d+", lambda match: match[1] + b"%d" % copy.copied, answer)
    if copy.status == "pending":
        answer = re.sub(rb"(?i)\r\nx-ms-copy-completion-time: [^\r]*", b"", answer)
    if copy.description:
        answer = answer.replace(b"\r\n", b"\r\nx-ms-copy-status-description: %s\r\n" % copy.description.encode(), 1)
    return answer


def _with_length(answer: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Change the body, which Azurite sends in chunks or whole."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if re.search(rb"(?i)\r\ntransfer-encoding: chunked", head):
        head = re.sub(rb"(?i)\r\ntransfer-encoding: chunked", b"", head)
        body = _joined(body)
    head = re.sub(rb"(?i)\r\ncontent-length: \d+", b"", head)
    body = change(body)
    return head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _joined(chunks: bytes) -> bytes:
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size, 16)
        body, chunks = body + rest[:length], rest[length + 2 :] if length else b""
    return body
