"""Install Azurite, the emulator of Azure Storage, from npm and run it as a child process on free ports."""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from imagefeed.errors import PermanentError, PipelineError, TransientError
from local import npm
from local.interrupt import interrupt_once
from storage.clients import development_connection

TOOLS = Path(__file__).parent.parent / ".local" / "azurite"
_LOCK = Path(__file__).parent / "package-lock.json"
_SCRIPT = Path("node_modules/azurite/dist/src/azurite.js")
_BLOBS = "__azurite_db_blob__.json"
_BUFFER = re.compile(r'\{"type":"Buffer","data":\[([\d,]+)\]\}')
_LISTENING = re.compile(r"(blob|queue|table)\b.*\blistening\b.*?:(\d+)\s*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Ports of the three services on 127.0.0.1; 0 takes a free port."""

    blob: int = 0
    queue: int = 0
    table: int = 0

    @property
    def connection(self) -> str:
        """The connection string, with Azurite's fixed account and key."""
        return development_connection({"Blob": self.blob, "Queue": self.queue, "Table": self.table})


class Azurite:
    """One Azurite process. A restart uses the same ports."""

    def __init__(self, script: Path, folder: Path, *, in_memory: bool, ports: Ports) -> None:
        self.ports = ports
        self.log = folder / "azurite.log"
        self._where = ["--inMemoryPersistence"] if in_memory else ["--location", str(folder)]
        self._script = script
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def connection(self) -> str:
        """The connection string; a restart does not change it."""
        return self.ports.connection

    @property
    def pid(self) -> int:
        """Process ID. Raises TransientError if Azurite is not running."""
        if self._process is None:
            raise TransientError("Azurite is not running: start it first")
        return self._process.pid

    def start(self, within: float = 30) -> None:
        """Start Azurite and wait until all three services answer. Raises PermanentError if they do not."""
        _mend(self._folder)
        # A file, because an unread pipe fills up and blocks the server.
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C must reach only the parent process, which stops the other programs first.
                start_new_session=True,
            )
        try:
            self.ports = self._wait_for_ports(self._process, time.monotonic() + within)
        except BaseException:
            self.kill()
            raise

    @property
    def ended(self) -> bool:
        """Whether Azurite was started and has ended by itself."""
        process = self._process
        return process is not None and process.poll() is not None

    def stop(self) -> None:
        """Stop Azurite, which writes its data first; kill it after 20 s."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def wait(self) -> None:
        """Wait until Azurite ends by itself."""
        if self._process is not None:
            self._process.wait()

    def kill(self) -> None:
        """Kill Azurite, as a crash would; without a folder all data is lost."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _command(self) -> list[str]:
        ports = {"blob": self.ports.blob, "queue": self.ports.queue, "table": self.ports.table}
        options = [part for name, port in ports.items() for part in (f"--{name}Port", str(port))]
        # An older Azurite rejects the newest SDKs' version header, although it supports every call of this project.
        options += [*self._where, "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        return [str(npm.NODE), str(self._script), *options]

    def _wait_for_ports(self, process: subprocess.Popen[bytes], deadline: float) -> Ports:
        while time.monotonic() < deadline:
            said = self.log.read_text(errors="replace")
            # The wording differs between versions; the service's name and the port at the end of the line do not.
            listening = {name.lower(): int(port) for name, port in _LISTENING.findall(said)}
            if len(listening) == 3 and all(_answers(port) for port in listening.values()):
                return Ports(**listening)
            if process.poll() is not None:
                break
            time.sleep(0.05)
        said = self.log.read_text(errors="replace").strip()
        hint = "another program has the port: stop it or choose other ports" if "EADDRINUSE" in said else "see above"
        raise PermanentError(f"start Azurite: it did not start; its output:\n{said}\n{hint}")


@contextmanager
def azurite(folder: Path | None = None, *, ports: Ports | None = None, tools: Path = TOOLS) -> Iterator[Azurite]:
    """Run Azurite, installing it first if it is missing. It keeps its data in `folder`, or in memory if that is None.

    Raises PermanentError.
    """
    script = install(tools)
    with tempfile.TemporaryDirectory(prefix="azurite-") as scratch:
        where = (folder or Path(scratch)).absolute()
        where.mkdir(parents=True, exist_ok=True)
        server = Azurite(script, where, in_memory=folder is None, ports=ports or Ports())
        server.start()
        try:
            yield server
        finally:
            server.stop()


def install(tools: Path = TOOLS) -> Path:
    """Install the pinned Azurite into `tools` unless it is there; return its main script. Raises PermanentError."""
    npm.install("Azurite", _LOCK, tools)
    return tools / _SCRIPT


def _mend(folder: Path) -> None:
    """Rewrite stored MD5 hashes in the format that Azurite can read; otherwise it fails at start (seen with 3.36.0).

    Azurite saves a blob's MD5 as a Node.js buffer, unless the container was listed since, but reads it as an object of
    numbers by index.
    """
    database = folder / _BLOBS
    if not database.exists():
        return
    text = database.read_text(encoding="utf-8")
    mended = _BUFFER.sub(lambda match: json.dumps(dict(enumerate(map(int, match[1].split(","))))), text)
    if mended != text:
        fresh = database.with_suffix(".mended")
        fresh.write_text(mended, encoding="utf-8")
        fresh.replace(database)


def _answers(port: int) -> bool:
    """Return True if an HTTP server responds at `port`, with any status."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=1):
            return True
    except OSError as exc:
        # An HTTPError is a response too, and has a status.
        return hasattr(exc, "status")


def main() -> int:
    """Run Azurite until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m local.azurite", description="Run the pinned Azurite.")
    parser.add_argument("--folder", type=Path, help="keep the data here (default: in memory)")
    parser.add_argument("--blob-port", type=int, default=10_000, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--queue-port", type=int, default=10_001, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--table-port", type=int, default=10_002, help="0 takes a free one (default: %(default)s)")
    options = parser.parse_args()
    interrupt_once()
    ports = Ports(blob=options.blob_port, queue=options.queue_port, table=options.table_port)
    try:
        with azurite(options.folder, ports=ports) as server:
            print(server.connection, flush=True)  # noqa: T201 - a command prints
            server.wait()
    except PipelineError as exc:
        print(f"error: {exc}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
