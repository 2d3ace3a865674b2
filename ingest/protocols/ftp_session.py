"""ftplib with implicit TLS, resumed TLS sessions, file names in any encoding, and the app's own errors."""

import ftplib
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from config.errors import SourceRefusedError, SourceUnavailableError
from ingest.model import Endpoint
from ingest.protocols.ftp_replies import current_folder
from ingest.protocols.listing import MAX_BYTES, too_long
from ingest.protocols.pace import Pace

_BUSY = re.compile(r"too many|maximum|limit|busy|try again", re.IGNORECASE)
FTP_ERRORS = (ftplib.Error, OSError, EOFError, ValueError)
"""Errors that ftplib raises. ValueError: malformed replies, and names with a line break."""
_REFUSED = ("450", "500", "501", "502", "503", "504", "550", "551", "553")
"""Codes by which a server refuses one command. With other codes it is about the connection or the login."""
_LONGEST_LINE = 8192
_RECEIVE = 2**16
_WIRE = "latin-1"
"""ftplib works with str. latin-1 maps each byte to one character, so all bytes pass through it unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Reply of a server to a listing command."""

    lines: list[str]
    reply: str
    """Its last reply, which `Ftp.text` decodes."""
    refused: bool
    """Whether the last reply is an error."""


class Ftp(ftplib.FTP_TLS):
    """One control connection, with or without TLS."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(context=_context(endpoint), timeout=endpoint.timeout, encoding=_WIRE)
        self._endpoint = endpoint
        self._protected = False
        self._heard = b""
        self._answer_by = 0.0
        self._command = ""
        self._home: str | None = None
        """The source's folder, absolute; None if it was not left yet."""

    def begin(self) -> None:
        """Connect, log in and change to the source's folder."""
        endpoint = self._endpoint
        self.connect(endpoint.host, endpoint.port)
        # Long transfers leave this connection idle, and routers drop idle connections.
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if endpoint.scheme == "ftpes":
            self._begin_tls()
        self.login(endpoint.user, endpoint.password or "", secure=False)
        if endpoint.scheme != "ftp":
            self.prot_p()
            self._protected = True
        if endpoint.folder != ".":
            self.cwd(self.wire(endpoint.folder))

    def connect(
        self, host: str = "", port: int = 0, timeout: float = -999, source_address: tuple[str, int] | None = None
    ) -> str:
        """Connect, and begin TLS at once if the scheme is ftps (implicit TLS). Return the server's greeting."""
        if self._endpoint.scheme != "ftps":
            return super().connect(host, port, timeout, source_address)
        self.host, self.port = host, port
        plain = socket.create_connection((host, port), self._endpoint.timeout)
        with _closed_on_error(plain):
            self.sock = self.context.wrap_socket(plain, server_hostname=host)
        self.af = self.sock.family
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome

    def _begin_tls(self) -> None:
        """Begin TLS. Raises SourceRefusedError if the server rejects it, before user and password are sent."""
        try:
            self.auth()
        except ftplib.error_perm as exc:
            raise SourceRefusedError(
                f"begin TLS with {self.host}:{self.port}: the server rejects it ({exc}), so no password was sent; "
                "use ftps:// if the server needs implicit TLS, else ask its owner"
            ) from exc

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """Open a data connection. With TLS it resumes the control connection's session, as strict servers require."""
        plain, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321 - the user chose FTP
        if not self._protected:
            return plain, size
        session = self._control.session if isinstance(self._control, ssl.SSLSocket) else None
        with _closed_on_error(plain):
            return self.context.wrap_socket(plain, server_hostname=self.host, session=session), size

    def auth(self) -> str:
        """Begin TLS and drop unread bytes, since cleartext that was received before TLS is not trustworthy."""
        answer = super().auth()
        self._heard = b""
        return answer

    def getresp(self) -> str:
        """Return one reply of any number of lines. Raises TimeoutError if it takes longer than the time-out."""
        self._answer_by = time.monotonic() + self._endpoint.timeout
        return super().getresp()

    def getline(self) -> str:
        """Return one line of a reply. ftplib's own method waits forever if single bytes keep arriving."""
        while b"\n" not in self._heard:
            if time.monotonic() > self._answer_by or len(self._heard) > _LONGEST_LINE:
                raise TimeoutError("the server's reply did not end in time")
            came = self._control.recv(_LONGEST_LINE)
            if not came:
                raise EOFError("the server closed the connection")
            self._heard += came
        line, _, self._heard = self._heard.partition(b"\n")
        return line.rstrip(b"\r").decode(_WIRE)

    def putcmd(self, line: str) -> None:
        """Send a command."""
        self._command = line
        super().putcmd(line)

    def enter(self, folder: str) -> None:
        """Change to a folder below the source's folder. Raises ftplib.error_perm if that cannot be left and found."""
        if self._home is None:
            reply = self.sendcmd("PWD")
            self._home = current_folder(reply)
            if self._home is None:
                raise ftplib.error_perm(f"PWD: {reply}")  # noqa: S321 - the user chose FTP
        self.voidcmd(f"CWD {self.wire(folder)}")

    def leave(self) -> None:
        """Change back to the source's folder. Raises ftplib.error_proto if the server refuses."""
        try:
            self.voidcmd(f"CWD {self._home}")
        except (ftplib.error_perm, ftplib.error_temp) as exc:
            raise ftplib.error_proto(f"CWD {self._home}, as PWD named it: {exc}") from exc  # noqa: S321 - as above

    def lines(self, command: str) -> Lines:
        """Run a listing command and return its lines as text. Raises EOFError if the last line is incomplete."""
        self.voidcmd("TYPE A")
        text = b""
        try:
            # Not retrlines: it waits for the end of TLS, which some servers never send, and limits a line's length.
            with self.transfercmd(command) as connection:
                text = self._receive_all(connection)
            reply, refused = self.voidresp(), False
        except (ftplib.error_perm, ftplib.error_temp) as exc:
            reply, refused = str(exc), True
            if self._command != command or not reply.startswith(_REFUSED):
                raise
        if text and not text.endswith(b"\n"):
            raise EOFError(f"the listing ended after {len(text)} bytes, in the middle of a line")
        lines = [self.name(line) for line in text.replace(b"\r\n", b"\n").split(b"\n") if line]
        return Lines(lines=lines, reply=reply, refused=refused)

    def _receive_all(self, connection: socket.socket) -> bytes:
        pace, parts, left = Pace(self._endpoint.timeout), [b""], MAX_BYTES
        while left >= 0:
            began = time.monotonic()
            parts.append(connection.recv(_RECEIVE))
            pace.note(began, len(parts[-1]))
            left -= len(parts[-1])
            if not parts[-1]:
                return b"".join(parts)
        raise too_long(self._endpoint.folder)

    def wire(self, path: str) -> str:
        """Return a path encoded for an FTP command. Raises SourceRefusedError if it holds a line break or NUL."""
        if set("\r\n\0") & set(path):
            raise SourceRefusedError(
                f"ask for {path!r}: FTP does not allow line breaks or NUL in names; rename it on the server"
            )
        return path.encode(self._endpoint.encoding, "surrogateescape").decode(_WIRE)

    def name(self, raw: bytes) -> str:
        """Decode bytes from the server in the source's encoding."""
        return raw.decode(self._endpoint.encoding, "surrogateescape")

    def text(self, reply: str) -> str:
        """Decode a reply, or the text of an error made of it, in the source's encoding."""
        return self.name(reply.encode(_WIRE))

    @property
    def _control(self) -> socket.socket:
        if self.sock is None:
            raise EOFError("the connection is closed")
        return self.sock


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    if endpoint.scheme == "ftp":
        # It is never used, and reading the authorities that the system trusts takes 80 ms.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context(cadata=endpoint.ca)
    if endpoint.ca:
        # Self-made certificates usually have openssl's defaults, which do not satisfy the strict checks.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


@contextmanager
def _closed_on_error(connection: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


@contextmanager
def ftp_errors(doing: str) -> Iterator[None]:
    """Raise errors of ftplib, ssl and sockets as SourceRefusedError or SourceUnavailableError. `doing`: the action."""
    try:
        yield
    except ssl.SSLCertVerificationError as exc:
        raise SourceRefusedError(
            f"{doing}: the server's certificate is not trusted ({exc.verify_message}); set CA to the PEM text of the "
            "authority that issued it, and use the host name in the certificate"
        ) from exc
    except ftplib.error_perm as exc:
        raise _permanent(doing, str(exc)) from exc
    except FTP_ERRORS as exc:
        raise SourceUnavailableError(f"{doing}: {str(exc) or type(exc).__name__}; tried again later") from exc


def _permanent(doing: str, answer: str) -> SourceRefusedError | SourceUnavailableError:
    """Return the error for a 5xx reply: a refusal, unless the server is full or the reply is about one file (550)."""
    if answer.startswith("550") or _BUSY.search(answer):
        return SourceUnavailableError(f"{doing}: {answer}; tried again later")
    hint = "check the user in the URL, PASSWORD, and whether the server requires TLS"
    return SourceRefusedError(
        f"{doing}: {answer}; {hint if answer.startswith('53') else 'ask the owner of the server'}"
    )
