"""Other clients of FTP and SFTP, and their listings and files, in one form."""

import json
import os
import re
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from local.servers.needed import need
from local.servers.server import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file as it was fetched."""

    size: int
    modified: datetime
    content: bytes

    @classmethod
    def of(cls, path: Path) -> "Fetched":
        """Return a file of this machine."""
        metadata = path.stat()
        modified = datetime.fromtimestamp(int(metadata.st_mtime), UTC)
        return cls(size=metadata.st_size, modified=modified, content=path.read_bytes())


class Peer(ABC):
    """A client with its own folder, for keys and fetched files."""

    def __init__(self, server: Server, here: Path) -> None:
        """Write the server's keys and certificates to `here`."""
        self.server, self.here = server, here
        self.sftp = server.scheme == "sftp"
        self.key, self.ca = here / "key", here / "ca.pem"
        self.key.touch(mode=0o600)
        self.key.write_text(server.private_key or "")
        self.ca.write_text(server.ca or "")

    @property
    def follows_links(self) -> bool:
        """Return whether a link is listed and fetched with the size of its file."""
        return True

    @abstractmethod
    def list_files(self, folders: Iterable[str]) -> Mapping[str, int | None]:
        """Return the paths of the files in folders, with their sizes if the client lists them."""

    @abstractmethod
    def fetch(self, folder: str, paths: Iterable[str], to: Path) -> None:
        """Fetch the files of a folder and its subfolders, with their times. A refused file does not affect others."""

    def fetched(self, folder: str, paths: Iterable[str]) -> Mapping[str, Fetched]:
        """Fetch the files of a folder and its subfolders, at least `paths`, and return those that arrived."""
        to = Path(tempfile.mkdtemp(prefix="fetched-", dir=self.here))
        self.fetch(folder, paths, to)
        return {path.relative_to(to).as_posix(): Fetched.of(path) for path in to.rglob("*") if path.is_file()}

    def remote(self, path: str) -> str:
        """Return a path as the client has to name it."""
        return path if self.server.folder == "." else f"{self.server.folder}/{path}"

    def run(self, *command: str | Path, given: str = "", may_fail: bool = False, **environment: str) -> str:
        """Run the client with `given` as its input, and return its output."""
        done = subprocess.run(
            command,
            input=given.encode(),
            capture_output=True,
            timeout=60,
            check=False,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8", "HOME": str(self.here), **environment},
        )
        assert may_fail or not done.returncode, done
        return done.stdout.decode()


class Curl(Peer):
    """curl, which lists only names and fetches only named files."""

    def list_files(self, folders: Iterable[str]) -> Mapping[str, int | None]:
        outputs = {folder: self.here / f"{number}.txt" for number, folder in enumerate(folders)}
        self._curl({f"{folder}/": output for folder, output in outputs.items()}, "--list-only")
        return {
            f"{folder}/{name}": None
            for folder, output in outputs.items()
            for name in output.read_text().splitlines()
            if name not in {".", ".."}
        }

    def fetch(self, folder: str, paths: Iterable[str], to: Path) -> None:
        self._curl({f"{folder}/{path}": to / path for path in paths}, "--remote-time", "--create-dirs", may_fail=True)

    def _curl(self, outputs: Mapping[str, Path], *options: str, may_fail: bool = False) -> None:
        config = [
            f"user = {_quoted(f'{self.server.user}:{self.server.password or ""}')}",
            *([f"key = {self.key}", "insecure"] if self.sftp else []),
            *([f"cacert = {self.ca}", "ssl-reqd"] if self.server.ca else []),
            *(f"url = {_quoted(self._url(path))}\noutput = {_quoted(str(to))}" for path, to in outputs.items()),
        ]
        command = (need("curl"), "--silent", "--show-error", "--globoff", "--path-as-is", *options, "--config", "-")
        self.run(*command, given="\n".join(config), may_fail=may_fail)

    def _url(self, path: str) -> str:
        home = "~/" if self.sftp and self.server.folder == "." else ""
        where = f"{'sftp' if self.sftp else 'ftp'}://{self.server.host}:{self.server.port}"
        return f"{where}/{home}{quote(self.remote(path).removeprefix('/'))}"


class Lftp(Peer):
    """lftp."""

    def list_files(self, folders: Iterable[str]) -> Mapping[str, int | None]:
        options = "-1 --all --size --block-size=1 --filesize --classify"
        out = self._lftp(*(f"cls {options} {_quoted(self.remote(folder) + '/')}" for folder in folders))
        # Links have no size here.
        return {
            path.removeprefix(self.remote("")): int(size)
            for size, path in re.findall(r"^ *(\d+) (.+)$", out, re.MULTILINE)
            if not path.endswith("/")
        }

    def fetch(self, folder: str, paths: Iterable[str], to: Path) -> None:
        self._lftp(f"mirror --dereference {_quoted(self.remote(folder))} {_quoted(str(to))}", may_fail=True)

    def _lftp(self, *commands: str, may_fail: bool = False) -> str:
        known = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        ssh = f"{need('ssh')} -a -x -i {self.key} -o IdentitiesOnly=yes {known}"
        where = f"{'sftp' if self.sftp else 'ftp'}://{self.server.host}:{self.server.port}"
        script = [
            "set net:max-retries 1; set net:timeout 20; set cmd:fail-exit yes",
            f"set ssl:ca-file {self.ca}; set ftp:ssl-force yes" if self.server.ca else "set ftp:ssl-allow no",
            f"set ftp:ssl-protect-data yes; set sftp:connect-program {_quoted(ssh)}",
            f"open -u {self.server.user},{self.server.password or 'none'} {where}",
            *commands,
        ]
        return self.run(need("lftp"), "-c", "\n".join(script), may_fail=may_fail, LFTP_HOME=str(self.here))


class Rclone(Peer):
    """rclone, with names as they are."""

    @property
    def follows_links(self) -> bool:
        """Return whether a link is listed and fetched with the size of its file."""
        return self.sftp

    def list_files(self, folders: Iterable[str]) -> Mapping[str, int | None]:
        out = self._rclone("lsjson", "--recursive", "--files-only", f"source:{self.remote('')}", may_fail=True)
        # A folder that it may not read leaves the array without its end.
        entries = [json.loads(line.rstrip(",")) for line in out.splitlines() if line.startswith("{")]
        wanted = {*folders}
        return {entry["Path"]: entry["Size"] for entry in entries if str(Path(entry["Path"]).parent) in wanted}

    def fetch(self, folder: str, paths: Iterable[str], to: Path) -> None:
        self._rclone("copy", f"source:{self.remote(folder)}", str(to), may_fail=True)

    def _rclone(self, verb: str, *arguments: str, may_fail: bool = False) -> str:
        password = self.server.password
        options = {
            "type": "sftp" if self.sftp else "ftp",
            "host": self.server.host,
            "port": str(self.server.port),
            "user": self.server.user,
            "pass": self.run(need("rclone"), "obscure", "-", given=password).strip() if password else "",
            "key_file": str(self.key) if self.sftp else "",
            "explicit_tls": str(self.server.scheme == "ftpes").lower(),
            # ProFTPD does not resume a TLS 1.3 session twice.
            "disable_tls13": "true",
            "encoding": "None",
        }
        environment = {f"RCLONE_CONFIG_SOURCE_{name.upper()}": value for name, value in options.items() if value}
        if self.server.ca:
            environment["SSL_CERT_FILE"] = str(self.ca)
        command = (need("rclone"), verb, "--config", "/dev/null", "--checkers", "1", "--transfers", "1", *arguments)
        return self.run(*command, may_fail=may_fail, **environment)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
