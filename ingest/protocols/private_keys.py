"""Checks of the format of an SSH private key in settings, without a cryptography library."""

import base64
import binascii
import re

_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----")
_PUBLIC = re.compile(r"(ssh-|ecdsa-|sk-)\S+ \S|-----BEGIN [A-Z0-9 ]*PUBLIC KEY-----|---- BEGIN SSH2 PUBLIC KEY")
_OPENSSH = b"openssh-key-v1\0"
_NO_CIPHER = b"\0\0\0\x04none"


def is_encrypted(text: str) -> bool:
    """Return True if the key needs a passphrase."""
    begin = _BEGIN.search(text)
    if begin and begin[1] == "OPENSSH ":
        body = text[begin.end() :].partition("-----")[0]
        try:
            content = base64.b64decode("".join(body.split()))
        except binascii.Error:
            return False
        return content.startswith(_OPENSSH) and not content.startswith(_OPENSSH + _NO_CIPHER)
    return "ENCRYPTED" in text


def private_key_problem(text: str, passphrase: str | None) -> str | None:
    """Return the problem in a private key's format and its fix, without the key's text; None if it looks valid."""
    text = text.strip()
    if _PUBLIC.match(text):
        return "it is a public key: use the private key, in the file without .pub"
    if text.startswith("PuTTY-User-Key-File"):
        return "it is in PuTTY's format: convert it with `puttygen KEY.ppk -O private-openssh -o KEY.pem`"
    if not _BEGIN.search(text) and "\n" not in text and re.match(r"[~./]|\w+:\\|.*\.(pem|key|rsa|ed25519)$", text):
        return "it is the path of a file: set the text in that file, with `\\n` for line breaks if needed"
    if not _BEGIN.search(text):
        return "it must be the whole text of the key's file, from `-----BEGIN` to `-----END … PRIVATE KEY-----`"
    if is_encrypted(text) and not passphrase:
        return "it is encrypted: set PASSPHRASE as well, or use a key without a passphrase"
    return None
