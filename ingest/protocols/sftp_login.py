"""SSH connections, logged in; and what goes wrong on them, as errors of ours."""

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
"""Bytes a second at which the window does not hold up a server."""
_MIN_WINDOW, _MAX_WINDOW = 2 * 2**20, 16 * 2**20
"""What other clients allow, however far the server is; and what is asked for at most, unless BLOCK_SIZE is larger."""
_PACKET = 256 * 1024
"""Bytes of an SSH packet at most; paramiko's own choice is an eighth of it, and spends a fifth more time on a byte."""

# Each failure is raised, and logged where it is handled; paramiko would log it a second time, with a traceback.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def log_in(endpoint: Endpoint) -> paramiko.Transport:
    """Connect, hold the host key against the one that is known, and log in."""
    pinned = HostKeys(endpoint.host_key or "")
    key = read_private_key(endpoint.private_key, endpoint.passphrase) if endpoint.private_key else None
    began = time.monotonic()
    line = socket.create_connection((endpoint.host, endpoint.port), endpoint.timeout)
    window = window_for(time.monotonic() - began)
    # Else a request may wait until the one before it is acknowledged, which systems put off for 40 ms.
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
    """Choose how many bytes SSH lets be on their way, by the seconds that it takes there and back.

    The server holds as many in its buffers: of a near one, a larger window takes more than twice the processor time.
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
            f"connect to sftp://{endpoint.host}:{endpoint.port}: the server shows another host key than HOST_KEY, "
            f"{shown.get_name()} {shown.fingerprint}; if its owner confirms that one, set HOST_KEY to the line that "
            f"`{scan_command(endpoint.host, endpoint.port)}` prints for it"
        )


def _authenticate(transport: paramiko.Transport, endpoint: Endpoint, key: paramiko.PKey | None) -> None:
    """Log in by key, by password, or by both where the server wants both."""
    still_wanted = transport.auth_publickey(endpoint.user, key) if key else ["password"]
    if still_wanted:
        transport.auth_password(endpoint.user, endpoint.password or "")


@contextmanager
def sftp_errors(doing: str) -> Iterator[None]:
    """Turn what paramiko, sockets and servers raise into errors of ours."""
    try:
        yield
    except paramiko.BadHostKeyException as exc:
        raise SourceRefusedError(f"{doing}: {exc}") from exc
    except IncompatiblePeer as exc:
        raise SourceRefusedError(
            f"{doing}: {exc}; the server shares no algorithm with us, or has no host key of HOST_KEY's kind: "
            "`ssh-keyscan` prints those that it has"
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
    """A login that failed was refused, unless the connection died under it."""
    if "timeout" in str(exc).lower() or "EOF" in str(exc):
        return SourceUnavailableError(f"{doing}: log in: {exc}; tried again later")
    return SourceRefusedError(
        f"{doing}: log in: {exc}; check the user in the URL and PASSWORD, PRIVATE_KEY and PASSPHRASE"
    )
