"""SSH host keys as people paste them into settings: bare, or as lines of known_hosts."""

import base64
import binascii
from collections.abc import Iterator

_FIELDS = {
    "ssh-ed25519": 2,
    "ssh-rsa": 3,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
}
"""The kinds that we can be shown, and of how many fields a key of each is made, its kind's name being the first."""


def read_host_keys(text: str) -> dict[bytes, str]:
    """Give the keys in a text, each with its kind; none where there is no whole one."""
    return dict(_keys(text))


def _keys(text: str) -> Iterator[tuple[bytes, str]]:
    for line in text.splitlines():
        words = line.split()
        # @revoked and @cert-authority lines name keys that must not be taken for the server's own.
        if not words or words[0].startswith(("#", "@")):
            continue
        for word in words[:3]:
            # A key begins with its own kind, so this finds it wherever it stands in the line.
            key = _decode(word)
            fields = _split(key)
            kind = fields[0].decode("ascii", "replace") if fields else ""
            if kind in words and len(fields) == _FIELDS.get(kind):
                yield key, kind


def _decode(word: str) -> bytes:
    try:
        return base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _split(key: bytes) -> list[bytes]:
    """Split a key into its fields, each of which tells its length (RFC 4253, 6.6); none of a key that is not whole."""
    fields: list[bytes] = []
    while key:
        end = 4 + int.from_bytes(key[:4])
        if not 4 < end <= len(key):
            return []
        fields.append(key[4:end])
        key = key[end:]
    return fields
