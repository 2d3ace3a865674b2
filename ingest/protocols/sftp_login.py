"""SSH login, and translation of SSH and SFTP errors into the app's own errors."""

import logging
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from config.errors import SourceRefusedError, SourceUnavailableError
from ingest.model import Endpoint
from ingest.protocols.host_keys import scan_command
from ingest.protocols.sftp_keys import HostKeys, read_private_key
from ingest.protocols.sftp_protocol import PERMISSION_DENIED, ProtocolError, StatusError

# AES-GCM first: several times faster than the others, since it needs no separate MAC.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")

_FASTEST = 2**28
"""Bytes per second that the window must allow, so that it does not slow down the server."""
_MIN_WINDOW, _MAX_WINDOW = 2 * 2**20, 16 * 2**20
"""Bytes. The minimum is the fixed window of other clients. The maximum is how much is requested ahead, unless
BLOCK_SIZE is larger."""
_PACKET = 256 * 1024
"""Maximum bytes of an SSH packet. paramiko's default is an eighth of it, and takes a fifth more time per byte."""

# Each error is raised and logged where it is handled. paramiko would log it again, with a traceback.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def log_in(endpoint: Endpoint) -> paramiko.Transport:
    """Connect, check the host key against HOST_KEY and log in. Raises SourceRefusedError if the key differs."""
    pinned = HostKeys(endpoint.host_key or "")
    key = read_private_key(endpoint.private_key, endpoint.passphrase) if endpoint.private_key else None
    began = time.monotonic()
    line = socket.create_connection((endpoint.host, endpoint.port), endpoint.timeout)
    window = window_for(time.monotonic() - began)
    # Otherwise a request may wait for the acknowledgement of the previous one, which may be delayed by 40 ms.
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(line, default_window_size=window, default_max_packet_size=_PACKET)
    try:
        _shake_hands(transport, endpoint, pinned)
        _authenticate(transport, endpoint, key)
    except BaseException:
        transport.close()
        raise
    return transport


def window_for(round_trip: float) -> int:
    """Return the SSH window (maximum bytes in flight) for a round-trip time in seconds.

    The server buffers as many bytes. With a short round trip a larger window takes over twice the processor time.
    """
    return max(_MIN_WINDOW, min(int(round_trip * _FASTEST), _MAX_WINDOW))


def _shake_hands(transport: paramiko.Transport, endpoint: Endpoint, pinned: HostKeys) -> None:
    transport.banner_timeout = transport.handshake_timeout = endpoint.timeout
    transport.auth_timeout = transport.channel_timeout = endpoint.timeout
    options = transport.get_security_options()
    options.ciphers, options.digests, options.key_types = _CIPHERS, _MACS, pinned.algorithms
    transport.start_client(timeout=endpoint.timeout)
    shown = transport.get_remote_server_key()
    if shown not in pinned:
        raise SourceRefusedError(
            f"connect to sftp://{endpoint.host}:{endpoint.port}: the server's host key differs from HOST_KEY: "
            f"it is {shown.get_name()} {shown.fingerprint}; if the server's owner confirms it, set HOST_KEY to the "
            f"line that `{scan_command(endpoint.host, endpoint.port)}` prints for it"
        )


def _authenticate(transport: paramiko.Transport, endpoint: Endpoint, key: paramiko.PKey | None) -> None:
    """Log in by key, by password, or by both if the server requires both."""
    still_wanted = transport.auth_publickey(endpoint.user, key) if key else ["password"]
    if still_wanted:
        transport.auth_password(endpoint.user, endpoint.password or "")


@contextmanager
def sftp_errors(doing: str) -> Iterator[None]:
    """Raise errors of SSH, SFTP and sockets as SourceRefusedError or SourceUnavailableError. `doing`: the action."""
    try:
        yield
    except paramiko.BadHostKeyException as exc:
        raise SourceRefusedError(f"{doing}: {exc}") from exc
    except IncompatiblePeer as exc:
        raise SourceRefusedError(
            f"{doing}: {exc}; the server supports none of the client's algorithms, or has no host key of the type in "
            "HOST_KEY; print its host keys with `ssh-keyscan`"
        ) from exc
    except paramiko.AuthenticationException as exc:
        raise _login_error(doing, exc) from exc
    except StatusError as exc:
        if exc.code == PERMISSION_DENIED:
            raise SourceRefusedError(f"{doing}: permission denied ({exc}); ask the server's owner for access") from exc
        raise SourceUnavailableError(f"{doing}: {exc}") from exc
    except (paramiko.SSHException, ProtocolError, EOFError, OSError, struct.error) as exc:
        raise SourceUnavailableError(f"{doing}: {str(exc) or type(exc).__name__}; tried again later") from exc


def _login_error(doing: str, exc: paramiko.AuthenticationException) -> SourceRefusedError | SourceUnavailableError:
    """Return the error for a failed login: a refusal, unless the connection was lost or timed out."""
    if "timeout" in str(exc).lower() or "EOF" in str(exc):
        return SourceUnavailableError(f"{doing}: log in: {exc}; tried again later")
    return SourceRefusedError(
        f"{doing}: log in: {exc}; check the user in the URL and PASSWORD, PRIVATE_KEY and PASSPHRASE"
    )
