"""SSH keys as people paste them into settings: host keys to pin, private keys to log in with."""

import io

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from config.errors import SourceRefusedError
from ingest.protocols.host_keys import read_host_keys
from ingest.protocols.private_keys import is_encrypted, private_key_problem

_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""What an RSA key signs with; its own name stands for SHA-1, which is off."""
_NO_HOST_KEY = "read HOST_KEY: it holds no host key; give it like `ssh-ed25519 AAAA...`, or as lines of known_hosts"
_NO_PRIVATE_KEY = (
    "read PRIVATE_KEY: it is damaged, or no RSA, ECDSA or Ed25519 key; `ssh-keygen -y -f FILE` reads one that is whole"
)
_NOT_OPENED = "read PRIVATE_KEY: PASSPHRASE does not open it; `ssh-keygen -y -f FILE` asks for the right one"


class HostKeys:
    """The host keys that a server may show."""

    def __init__(self, text: str) -> None:
        """Read bare keys or known_hosts lines. Raises SourceRefusedError if there is none."""
        self._keys = read_host_keys(text)
        if not self._keys:
            raise SourceRefusedError(_NO_HOST_KEY)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Signature algorithms of these keys: asking for others would fetch a key that we cannot compare."""
        names = [name for key_type in self._keys.values() for name in _ALGORITHMS.get(key_type, (key_type,))]
        return tuple(dict.fromkeys(names))

    def __contains__(self, key: paramiko.PKey) -> bool:
        return key.asbytes() in self._keys


def read_private_key(text: str, passphrase: str | None) -> paramiko.PKey:
    """Read a private key in OpenSSH or PEM (also PKCS#8) format. Raises SourceRefusedError."""
    if problem := private_key_problem(text, passphrase):
        raise SourceRefusedError(f"read PRIVATE_KEY: {problem}")
    secret = passphrase.encode() if passphrase and is_encrypted(text) else None
    load = serialization.load_ssh_private_key if "OPENSSH" in text else serialization.load_pem_private_key
    try:
        key = load((text.strip() + "\n").encode(), secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise SourceRefusedError(_NOT_OPENED if secret else _NO_PRIVATE_KEY) from exc
    key_class = _key_class(key)
    # paramiko reads fewer formats than cryptography does, so it is handed the one that it knows best.
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
