"""Run real SFTP and FTP servers on this machine, without root, for the demo and the tests."""

import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from ingest.model import Endpoint
from local.servers.certificate import make_certificate, make_ssh_key
from local.servers.child import HOST, Program, free_port, running
from local.servers.needed import find, need
from local.servers.parasftp import ParasftpConfig
from local.servers.pyftpd import PyftpdConfig
from local.servers.sshd import sshd_command, sshd_user
from local.servers.vsftpd import USER as VSFTPD_USER
from local.servers.vsftpd import vsftpd_command

type Tls = Literal["explicit", "implicit"]
type SftpProgram = Literal["OpenSSH sshd", "paramiko"]
type FtpProgram = Literal["vsftpd", "pyftpdlib"]

_PYFTPD_USER = "demo"
_FTP_SCHEMES: dict[Tls | None, Literal["ftp", "ftpes", "ftps"]] = {None: "ftp", "explicit": "ftpes", "implicit": "ftps"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server and the values that a client needs."""

    kind: str
    scheme: Literal["sftp", "ftp", "ftpes", "ftps"]
    host: str = HOST
    port: int
    user: str
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    host_key: str | None = None
    ca: str | None = field(default=None, repr=False)
    folder: str = "."
    """Path of the served folder for clients."""
    root: Path
    """Path of the served folder on this machine."""
    process: Program = field(repr=False)

    def endpoint(self) -> Endpoint:
        """Return the endpoint for `ingest.protocols.connect`."""
        return Endpoint(
            scheme=self.scheme,
            host=self.host,
            port=self.port,
            user=self.user,
            folder=self.folder,
            password=self.password,
            private_key=self.private_key,
            host_key=self.host_key,
            ca=self.ca,
        )

    def app_settings(self, source: str) -> dict[str, str]:
        """Return the app settings that configure this server as a source."""
        prefix = f"SOURCES__{source.upper().replace('-', '_')}__"
        folder = "" if self.folder == "." else quote(self.folder)
        url = f"{self.scheme}://{self.user}@{self.host}:{self.port}{folder}"
        secret = {name: getattr(self, name) for name in ("password", "private_key", "host_key", "ca")}
        return {f"{prefix}URL": url} | {f"{prefix}{name.upper()}": value for name, value in secret.items() if value}

    def kill(self) -> None:
        """Kill the server and all its sessions, as a crash would."""
        self.process.kill()

    def start(self) -> None:
        """Restart the server after `kill`, with the same port and keys. Raises ServerFailedError."""
        self.process.start()


@contextmanager
def sftp_server(folder: Path, root: Path, *, program: SftpProgram | None = None) -> Iterator[Server]:
    """Serve `root` over SFTP, with sshd if it is installed, else with paramiko. Files and log go to `folder`.

    sshd accepts only the key, paramiko's server also the password. Raises ProgramMissingError if `program` is sshd and
    it is missing.
    """
    folder, root = folder.absolute(), root.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    host_key, client_key, port = make_ssh_key(), make_ssh_key(), free_port()
    sshd = _installed("sshd", asked=program)
    password = None if sshd else _password()
    if sshd:
        command = sshd_command(sshd, folder, port, host_key, client_key)
    else:
        config = ParasftpConfig(
            port=port,
            root=str(root),
            user=sshd_user(),
            password=password or "",
            host_key=host_key.private,
            client_key=client_key.public,
        )
        command = _python("local.servers.parasftp", config, folder)
    with running(command, port, folder / "log") as process:
        yield Server(
            kind="OpenSSH sshd" if sshd else "paramiko",
            scheme="sftp",
            port=port,
            user=sshd_user(),
            password=password,
            private_key=client_key.private,
            host_key=host_key.public,
            folder=str(root) if sshd else ".",
            root=root,
            process=process,
        )


@contextmanager
def ftp_server(
    folder: Path,
    root: Path,
    *,
    tls: Tls | None = None,
    program: FtpProgram | None = None,
    mlsd: bool = True,
    max_clients: int = 100,
    local_time: bool = False,
) -> Iterator[Server]:
    """Serve `root` over FTP, with vsftpd if it is installed, else with pyftpdlib. Files and log go to `folder`.

    `mlsd` False disables MLSD in pyftpdlib; vsftpd never has it. With `local_time` vsftpd shows the local time of the
    environment's TZ in LIST and MDTM, as with Debian's own configuration file. Raises ProgramMissingError if `program`
    is vsftpd and it is missing.
    """
    folder, root = folder.absolute(), root.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate, password, port = make_certificate(), _password(), free_port()
    vsftpd = _installed("vsftpd", asked=program)
    if vsftpd:
        command = vsftpd_command(
            vsftpd,
            folder,
            root,
            port,
            password,
            tls=tls,
            certificate=certificate,
            max_clients=max_clients,
            local_time=local_time,
        )
    else:
        (folder / "server.pem").write_text(certificate.key + certificate.certificate)
        config = PyftpdConfig(
            port=port,
            root=str(root),
            user=_PYFTPD_USER,
            password=password,
            tls=tls,
            certificate=str(folder / "server.pem"),
            mlsd=mlsd,
            max_clients=max_clients,
        )
        command = _python("local.servers.pyftpd", config, folder)
    with running(command, port, folder / "log") as process:
        yield Server(
            kind="vsftpd" if vsftpd else "pyftpdlib",
            scheme=_FTP_SCHEMES[tls],
            port=port,
            user=VSFTPD_USER if vsftpd else _PYFTPD_USER,
            password=password,
            ca=certificate.authority if tls else None,
            root=root,
            process=process,
        )


def _installed(name: str, *, asked: SftpProgram | FtpProgram | None) -> str | None:
    """Return the real server's path, or None for its Python replacement. Raises ProgramMissingError."""
    if asked is None:
        return find(name)
    return need(name) if asked in {"OpenSSH sshd", "vsftpd"} else None


def _password() -> str:
    """Return a password with a prefix that tests search for in logs and output."""
    return f"s3cret-{secrets.token_hex(8)}"


def _python(module: str, config: ParasftpConfig | PyftpdConfig, folder: Path) -> list[str | Path]:
    path = folder / "config.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(asdict(config)))
    return [sys.executable, "-m", module, path.absolute()]
