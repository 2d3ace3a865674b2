"""SSH host keys in settings: bare keys or lines of known_hosts."""

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
"""Supported key types, and the number of fields of each. The first field is the name of the type."""


_FINGERPRINT = re.compile(r"(\d+ )?(SHA256:\S+|(MD5:)?([0-9a-f]{2}:){15}[0-9a-f]{2})", re.IGNORECASE)
_LIKE = "it must be the server's whole public key, like `ssh-ed25519 AAAA…` with 68 characters of base64, or a line"


def scan_command(host: str, port: int) -> str:
    """Return the shell command that prints a server's host keys, one per line."""
    return f"ssh-keyscan -p {port} {host}"


def host_key_problem(text: str, host: str, port: int) -> str | None:
    """Return why a text contains no usable host key and how to get one; None if it contains one."""
    if read_host_keys(text):
        return None
    command = scan_command(host, port)
    if _FINGERPRINT.match(text.strip()):
        return (
            f"it is a fingerprint, which does not contain the key: run `{command}`, print the fingerprint of each line "
            "with `ssh-keygen -lf -`, and set the line whose fingerprint is this one"
        )
    return f"{_LIKE} that `{command}` prints; RSA and ECDSA keys are accepted too"


def read_host_keys(text: str) -> dict[bytes, str]:
    """Return the complete keys in a text, as a dict of binary key to key type; empty if there are none."""
    return dict(_keys(text))


def _keys(text: str) -> Iterator[tuple[bytes, str]]:
    for line in text.splitlines():
        words = line.split()
        # Lines with @revoked and @cert-authority hold keys that must not be accepted as the server's own.
        if not words or words[0].startswith(("#", "@")):
            continue
        for word in words[:3]:
            # A decoded key begins with its type, so it is found in any of the first three words.
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
    """Split a binary key into its length-prefixed fields (RFC 4253, 6.6); empty if the key is incomplete."""
    fields: list[bytes] = []
    while key:
        end = 4 + int.from_bytes(key[:4])
        if not 4 < end <= len(key):
            return []
        fields.append(key[4:end])
        key = key[end:]
    return fields
