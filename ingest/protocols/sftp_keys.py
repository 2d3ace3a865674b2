"""Parsers of the SSH keys in settings: host keys to accept, and private keys to log in with."""

import io

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from config.errors import SourceRefusedError
from ingest.protocols.host_keys import read_host_keys
from ingest.protocols.private_keys import is_encrypted, private_key_problem

_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""Signature algorithms of an RSA key. `ssh-rsa` as an algorithm means SHA-1, which is not allowed."""
_NO_HOST_KEY = "read HOST_KEY: it contains no host key; set it to `ssh-ed25519 AAAA...` or to lines of known_hosts"
_NO_PRIVATE_KEY = (
    "read PRIVATE_KEY: it is damaged, or not an RSA, ECDSA or Ed25519 key; check it with `ssh-keygen -y -f FILE`"
)
_NOT_OPENED = "read PRIVATE_KEY: PASSPHRASE does not open it; check the passphrase with `ssh-keygen -y -f FILE`"


class HostKeys:
    """Set of host keys that are accepted from a server."""

    def __init__(self, text: str) -> None:
        """Parse bare keys or lines of known_hosts. Raises SourceRefusedError if there is no key."""
        self._keys = read_host_keys(text)
        if not self._keys:
            raise SourceRefusedError(_NO_HOST_KEY)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Return the signature algorithms of these keys. With others the server could send a key of another type."""
        names = [name for key_type in self._keys.values() for name in _ALGORITHMS.get(key_type, (key_type,))]
        return tuple(dict.fromkeys(names))

    def __contains__(self, key: paramiko.PKey) -> bool:
        return key.asbytes() in self._keys


def read_private_key(text: str, passphrase: str | None) -> paramiko.PKey:
    """Parse a private key in OpenSSH or PEM (also PKCS#8) format. Raises SourceRefusedError if it cannot be read."""
    if problem := private_key_problem(text, passphrase):
        raise SourceRefusedError(f"read PRIVATE_KEY: {problem}")
    secret = passphrase.encode() if passphrase and is_encrypted(text) else None
    load = serialization.load_ssh_private_key if "OPENSSH" in text else serialization.load_pem_private_key
    try:
        key = load((text.strip() + "\n").encode(), secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise SourceRefusedError(_NOT_OPENED if secret else _NO_PRIVATE_KEY) from exc
    key_class = _key_class(key)
    # paramiko reads fewer formats than cryptography, so convert the key to OpenSSH format.
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return key_class.from_private_key(io.StringIO(plain.decode()))


def _key_class(key: object) -> type[paramiko.PKey]:
    if isinstance(key, rsa.RSAPrivateKey):
        return paramiko.RSAKey
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return paramiko.ECDSAKey
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return paramiko.Ed25519Key
    raise SourceRefusedError(_NO_PRIVATE_KEY)
