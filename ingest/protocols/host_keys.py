"""SSH host keys as people paste them into settings: bare, or as lines of known_hosts."""

import base64
import binascii
import re
from collections.abc import Iterator

_FIELDS = {
    "ssh-ed25519": 2,
    "ssh-rsa": 3,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
}
"""The kinds that we can be shown, and of how many fields a key of each is made, its kind's name being the first."""


_FINGERPRINT = re.compile(r"(\d+ )?(SHA256:\S+|(MD5:)?([0-9a-f]{2}:){15}[0-9a-f]{2})", re.IGNORECASE)
_LIKE = "it must be the server's whole public key, like `ssh-ed25519 AAAA…` with 68 characters of base64, or a line"


def scan_command(host: str, port: int) -> str:
    """Return the command that prints a server's host keys, a line each."""
    return f"ssh-keyscan -p {port} {host}"


def host_key_problem(text: str, host: str, port: int) -> str | None:
    """Return why a text pins no host key, and how to get the right one; None if it does."""
    if read_host_keys(text):
        return None
    command = scan_command(host, port)
    if _FINGERPRINT.match(text.strip()):
        return (
            f"it is a fingerprint, and the key cannot be told from it: run `{command}`, hold the fingerprint of each "
            "line (`ssh-keygen -lf -` prints it) against this one, and take the line that has it"
        )
    return f"{_LIKE} that `{command}` prints; RSA and ECDSA keys do as well"


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
