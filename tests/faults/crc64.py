"""A proxy before Azurite, which answers Put Block as Azure Storage does: with the CRC64 of what it received."""

import hashlib
import re
from base64 import b64encode

from ingest.crc64 import crc64
from tests.faults.http import HttpProxy


class Crc64Proxy(HttpProxy):
    """Returns `x-ms-content-crc64`, unless an MD5 was sent, and refuses a block whose own CRC64 or MD5 is another.

    As described at https://learn.microsoft.com/rest/api/storageservices/put-block; Azurite 3.36 does neither, and has
    another error code for an MD5.
    """

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        self.returns_crc64 = True
        self.checksums: list[tuple[bytes, ...]] = []
        """The checksums' headers of each Put Block."""

    def _ask(self, head: bytes, body: bytes) -> bytes:
        if b"comp=block&" not in head.split(b"\r\n")[0] + b"&":
            return super()._ask(head, body)
        asked = re.search(rb"(?i)\r\nx-ms-content-crc64: ([^\r]+)", head)
        md5 = re.search(rb"(?i)\r\ncontent-md5: ([^\r]+)", head)
        names = ((b"crc64", asked), (b"md5", md5))
        self.checksums.append(tuple(name for name, header in names if header))
        ours = b64encode(crc64(body).to_bytes(8, "little"))
        if asked and asked[1] != ours:
            return _refusal(b"Crc64Mismatch")
        if md5 and md5[1] != b64encode(hashlib.md5(body, usedforsecurity=False).digest()):
            return _refusal(b"Md5Mismatch")
        answer = super()._ask(re.sub(rb"(?i)\r\nx-ms-content-crc64: [^\r]+", b"", head), body)
        if md5 or not self.returns_crc64:
            return answer
        return answer.replace(b"\r\n", b"\r\nx-ms-content-crc64: " + ours + b"\r\n", 1)


def _refusal(code: bytes) -> bytes:
    return (
        b"HTTP/1.1 400 Bad Request\r\nx-ms-error-code: " + code + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
