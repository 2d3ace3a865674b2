"""SSH private keys as people paste them into settings, judged by their looks, without any library of keys."""

import base64
import binascii
import re

_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----")
_PUBLIC = re.compile(r"(ssh-|ecdsa-|sk-)\S+ \S|-----BEGIN [A-Z0-9 ]*PUBLIC KEY-----|---- BEGIN SSH2 PUBLIC KEY")
_OPENSSH = b"openssh-key-v1\0"
_NO_CIPHER = b"\0\0\0\x04none"


def is_encrypted(text: str) -> bool:
    """Return whether a private key's text needs a passphrase to be read."""
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
    """Return what is wrong with a private key by its looks, and what is right; None if it may be one. Shows no key."""
    text = text.strip()
    if _PUBLIC.match(text):
        return "it is a public key: give the private one, from the file without .pub"
    if text.startswith("PuTTY-User-Key-File"):
        return "it is in PuTTY's format: convert it with `puttygen KEY.ppk -O private-openssh -o KEY.pem`"
    if not _BEGIN.search(text) and "\n" not in text and re.match(r"[~./]|\w+:\\|.*\.(pem|key|rsa|ed25519)$", text):
        return "it is the path of a file: give the text in that file, `\\n` may stand for its line breaks"
    if not _BEGIN.search(text):
        return "it must be the whole text of the key's file, from `-----BEGIN` to `-----END … PRIVATE KEY-----`"
    if is_encrypted(text) and not passphrase:
        return "it is encrypted: set PASSPHRASE as well, or give a key without one"
    return None
