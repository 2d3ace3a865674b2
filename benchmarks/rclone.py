"""rclone as a peer: it copies a server's folder into a container; environment variables configure both."""

import itertools
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from benchmarks import openssh
from benchmarks.machine import program
from benchmarks.peer import Run, run

if TYPE_CHECKING:
    from local.servers.server import Server

_COPYING = (
    "--transfers 4 --azureblob-chunk-size 8Mi --azureblob-upload-concurrency 4 "
    "--sftp-disable-hashcheck --sftp-chunk-size 255k --sftp-concurrency 64"
)
TUNED = (*_COPYING.split(), "--ftp-disable-tls13")
DEFAULT = ("--ftp-disable-tls13",)
"""Default options, except that vsftpd needs a TLS session which data connections can resume."""


def environment(folder: Path, server: "Server", blobs: str) -> Mapping[str, str]:
    """Return rclone's environment with a server (`src:`) and the blob service at the URL `blobs` (`dst:`)."""
    # Imported here, because a candidate imports this module, and rclone's candidate must not load the SDK.
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    from storage.clients import DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY

    expiry = datetime.now(UTC) + timedelta(days=1)
    signature = generate_account_sas(
        DEVELOPMENT_ACCOUNT,
        DEVELOPMENT_KEY,
        ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions(read=True, write=True, delete=True, list=True, add=True, create=True),
        expiry,
    )
    remotes = {"DST_TYPE": "azureblob", "DST_SAS_URL": f"{blobs}?{signature}"}
    remotes |= _sftp(folder, server) if server.scheme == "sftp" else _ftp(folder, server)
    plain = {f"RCLONE_CONFIG_{name}": value for name, value in remotes.items()}
    return (
        plain
        | {"RCLONE_CONFIG": str(folder / "rclone.conf"), "HOME": str(folder), "PATH": "/usr/bin:/bin"}
        | ({"SSL_CERT_FILE": str(folder / "ca.pem")} if server.ca else {})
    )


@contextmanager
def copies(
    environment: Mapping[str, str], folder: str, options: tuple[str, ...], container: str
) -> Iterator[Callable[[], Run]]:
    """Copy the folder with rclone, each time to another place; a candidate."""
    numbers = itertools.count()
    yield lambda: _copy(environment, folder, f"{container}/{uuid4().hex[:8]}-{next(numbers)}", options)


def _copy(environment: Mapping[str, str], folder: str, target: str, options: tuple[str, ...]) -> Run:
    """Copy a folder with rclone. Raises BenchmarkError."""
    command = [str(program("rclone")), "copy", f"src:{folder}", f"dst:{target}", "--retries", "1", *options]
    return run(command, "copy with rclone", environment)


def _sftp(folder: Path, server: "Server") -> Mapping[str, str]:
    key, known = openssh.credentials(folder, server)
    return {
        "SRC_TYPE": "sftp",
        "SRC_HOST": server.host,
        "SRC_PORT": str(server.port),
        "SRC_USER": server.user,
        "SRC_KEY_FILE": str(key),
        "SRC_KNOWN_HOSTS_FILE": str(known),
        "SRC_SHELL_TYPE": "none",
    }


def _ftp(folder: Path, server: "Server") -> Mapping[str, str]:
    (folder / "ca.pem").write_text(server.ca or "")
    hidden = subprocess.run(
        [str(program("rclone")), "obscure", "-"], input=server.password, capture_output=True, text=True, check=True
    )
    return {
        "SRC_TYPE": "ftp",
        "SRC_HOST": server.host,
        "SRC_PORT": str(server.port),
        "SRC_USER": server.user,
        "SRC_PASS": hidden.stdout.strip(),
        "SRC_EXPLICIT_TLS": str(server.scheme == "ftpes").lower(),
        "SRC_TLS": str(server.scheme == "ftps").lower(),
    }
