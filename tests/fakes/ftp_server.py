"""An FTP server of one folder tree, with every reply replaceable: the parts of RFC 959 and 3659 that reading needs."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from ingest.model import Endpoint

type Reply = str | None
"""None: as the server would answer by itself."""
type Change = str | Callable[[str], Reply]
"""A reply, or a function of the command's argument."""

_REPLIES = {"USER": "331 password", "PASS": "230 logged in", "TYPE": "200 ok", "FEAT": "502 not implemented"}
_LISTINGS = ("LIST", "NLST", "MLSD")


@dataclass(kw_only=True)
class Script:
    """The server's files and replies."""

    listings: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """Text by command (LIST, NLST, MLSD) and folder, such as `/` and `/sub`."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Content by absolute path."""
    modified: str = "20260304050607"
    """MDTM of each file."""
    says: dict[str, Change] = field(default_factory=dict)
    """Replies in place of the server's own, by command, such as `LIST`, or by command and current folder, such as
    `LIST /sub`; `226` is the one behind a transfer, whose
    whole command is the argument."""
    rest: Callable[[int], int] = lambda offset: offset
    """Offset at which a transfer begins, by the one that REST asked for."""
    ignores_arguments: bool = False
    """Whether LIST of a file lists the whole folder."""
    commands: list[str] = field(default_factory=list)
    """Received, in order, with their arguments."""


class _Session:
    def __init__(self, script: Script, control: socket.socket) -> None:
        self._script = script
        self._control = control
        self._folder = "/"
        self._offset = 0
        self._passive: socket.socket | None = None
        self._opened = ExitStack()

    def run(self) -> None:
        # Otherwise the second of two replies waits for the client's delayed acknowledgement.
        self._control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._say("220 ready")
        with self._control, self._control.makefile("rb") as lines, ExitStack() as self._opened:
            for line in lines:
                text = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
                self._script.commands.append(text)
                command, _, argument = text.partition(" ")
                self._obey(command.upper(), argument)

    def _obey(self, command: str, argument: str) -> None:
        reply = self._changed(command, argument)
        if reply is not None:
            self._say(reply)
        elif command in (*_LISTINGS, "RETR"):
            self._transfer(command, argument)
        else:
            self._say(self._answer(command, argument))

    def _changed(self, command: str, argument: str) -> Reply:
        change = self._script.says.get(f"{command} {self._folder}", self._script.says.get(command))
        return change(argument) if callable(change) else change

    def _answer(self, command: str, argument: str) -> str:
        match command:
            case "PASV":
                self._passive = self._opened.enter_context(socket.create_server(("127.0.0.1", 0)))
                port = self._passive.getsockname()[1]
                return f"227 Entering Passive Mode (127,0,0,1,{port >> 8},{port & 255})"
            case "PWD":
                return f'257 "{self._folder}" is the current folder'
            case "CWD":
                folder = self._absolute(argument)
                if not any(folder in folders for folders in self._script.listings.values()):
                    return "550 no such folder"
                self._folder = folder
                return "250 ok"
            case "REST":
                self._offset = int(argument)
                return "350 ok"
            case "SIZE" | "MDTM":
                content = self._script.files.get(self._absolute(argument))
                if content is None:
                    return "550 no such file"
                return f"213 {len(content) if command == 'SIZE' else self._script.modified}"
            case _:
                return _REPLIES.get(command, "502 not implemented")

    def _transfer(self, command: str, argument: str) -> None:
        content = self._content(command, argument)
        offset, self._offset = self._script.rest(self._offset), 0
        passive, self._passive = self._passive, None
        if content is None or passive is None:
            self._say("550 no such file or folder")
            return
        self._say("150 here it comes")
        with passive:
            data, _ = passive.accept()
        # The client may have read as much as it wanted.
        with data, suppress(OSError):
            data.sendall(content[offset:] if command == "RETR" else content)
        self._say(self._changed("226", f"{command} {argument}") or "226 done")

    def _content(self, command: str, argument: str) -> bytes | None:
        if command == "RETR":
            return self._script.files.get(self._absolute(argument))
        listing = self._script.listings.get(command, {})
        whole = listing.get(self._folder)
        if whole is None or not argument or self._script.ignores_arguments:
            return whole
        lines, name = whole.splitlines(keepends=True), argument.rpartition("/")[2]
        return b"".join(line for line in lines if line.rstrip().endswith(b" " + name.encode())) or None

    def _absolute(self, path: str) -> str:
        return path if path.startswith("/") else f"{self._folder.rstrip('/')}/{path}"

    def _say(self, text: str) -> None:
        with suppress(OSError):
            self._control.sendall(text.encode("utf-8", "surrogateescape") + b"\r\n")


@contextmanager
def ftp_server(script: Script) -> Iterator[Endpoint]:
    """Serve a script to any client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    control, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_Session(script, control).run, daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            port = listener.getsockname()[1]
            yield Endpoint(scheme="ftp", host="127.0.0.1", port=port, user="reader", password="any", timeout=5)
        finally:
            # Close alone does not wake a thread that waits in accept.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
