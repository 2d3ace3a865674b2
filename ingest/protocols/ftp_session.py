"""ftplib with what it lacks: implicit TLS, resumed TLS sessions, names in any encoding, and errors of ours."""

import ftplib
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from config.errors import SourceRefusedError, SourceUnavailableError
from ingest.model import Endpoint
from ingest.protocols.listing import MAX_BYTES, too_long
from ingest.protocols.pace import Pace

_BUSY = re.compile(r"too many|maximum|limit|busy|try again", re.IGNORECASE)
FTP_ERRORS = (ftplib.Error, OSError, EOFError, ValueError)
"""What ftplib raises; ValueError for answers that make no sense and for names with a line break."""
_LONGEST_LINE = 8192
_RECEIVE = 2**16
_WIRE = "latin-1"
"""ftplib wants text; this encoding carries any bytes through it unchanged."""


class Ftp(ftplib.FTP_TLS):
    """One control connection, in the clear or under TLS."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(context=_context(endpoint.ca), timeout=endpoint.timeout, encoding=_WIRE)
        self._endpoint = endpoint
        self._protected = False
        self._heard = b""
        self._answer_by = 0.0

    def begin(self) -> None:
        """Connect, log in, go to the source's folder."""
        endpoint = self._endpoint
        self.connect(endpoint.host, endpoint.port)
        # Long transfers leave this connection idle; routers forget idle ones.
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
        """Connect, with TLS from the first byte on where it is implicit."""
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
        """Ask for TLS. A server that refuses it is not told who we are."""
        try:
            self.auth()
        except ftplib.error_perm as exc:
            raise SourceRefusedError(
                f"begin TLS with {self.host}:{self.port}: the server rejects it ({exc}), so no password was sent; "
                "ask its owner, or whether it wants implicit TLS (ftps://)"
            ) from exc

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """Open a data connection. Under TLS it resumes the control connection's session, as strict servers demand."""
        plain, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321 - the user chose FTP
        if not self._protected:
            return plain, size
        session = self._control.session if isinstance(self._control, ssl.SSLSocket) else None
        with _closed_on_error(plain):
            return self.context.wrap_socket(plain, server_hostname=self.host, session=session), size

    def auth(self) -> str:
        """Ask for TLS. What came before it in the clear, and unasked, is nobody's answer."""
        answer = super().auth()
        self._heard = b""
        return answer

    def getresp(self) -> str:
        """Hear an answer, however many lines it has, within the time of one call."""
        self._answer_by = time.monotonic() + self._endpoint.timeout
        return super().getresp()

    def getline(self) -> str:
        """Hear a line of an answer. ftplib's own waits for ever if a byte comes now and then."""
        while b"\n" not in self._heard:
            if time.monotonic() > self._answer_by or len(self._heard) > _LONGEST_LINE:
                raise TimeoutError("its answer did not end in time")
            came = self._control.recv(_LONGEST_LINE)
            if not came:
                raise EOFError("it hung up")
            self._heard += came
        line, _, self._heard = self._heard.partition(b"\n")
        return line.rstrip(b"\r").decode(_WIRE)

    def lines(self, command: str) -> list[str]:
        """Run a command that answers with a listing; all of it, or an error. Names are as `name` gives them."""
        self.voidcmd("TYPE A")
        # Not retrlines: it waits for the server's end of TLS, which some never send, and limits a line's length.
        with self.transfercmd(command) as connection:
            text = self._receive_all(connection)
        self.voidresp()
        if text and not text.endswith(b"\n"):
            raise EOFError(f"the listing breaks off after {len(text)} bytes, in the middle of a line")
        return [self.name(line) for line in text.replace(b"\r\n", b"\n").split(b"\n") if line]

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
        """Give a path as ftplib must be told it. Raises SourceRefusedError for a name that no command can hold."""
        if set("\r\n\0") & set(path):
            raise SourceRefusedError(
                f"ask for {path!r}: a name with a line break cannot be told to an FTP server; rename it there"
            )
        return path.encode(self._endpoint.encoding, "surrogateescape").decode(_WIRE)

    def name(self, raw: bytes) -> str:
        """Read what the server sent, in the source's encoding."""
        return raw.decode(self._endpoint.encoding, "surrogateescape")

    @property
    def _control(self) -> socket.socket:
        if self.sock is None:
            raise EOFError("the connection is closed")
        return self.sock


def _context(ca: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca)
    if ca:
        # Whoever pins a certificate of their own made it with openssl's defaults, which lack what the strict rules ask.
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
    """Turn what ftplib, ssl and sockets raise into errors of ours."""
    try:
        yield
    except ssl.SSLCertVerificationError as exc:
        raise SourceRefusedError(
            f"{doing}: its certificate is not trusted ({exc.verify_message}); set CA to the PEM text of its authority, "
            "and use the host name that the certificate names"
        ) from exc
    except ftplib.error_perm as exc:
        raise _permanent(doing, str(exc)) from exc
    except FTP_ERRORS as exc:
        raise SourceUnavailableError(f"{doing}: {str(exc) or type(exc).__name__}; tried again later") from exc


def _permanent(doing: str, answer: str) -> SourceRefusedError | SourceUnavailableError:
    """A 5xx answer is a refusal, unless it says that the server is full, or is about one file (550)."""
    if answer.startswith("550") or _BUSY.search(answer):
        return SourceUnavailableError(f"{doing}: {answer}; tried again later")
    hint = "check the user in the URL, PASSWORD, and whether the server wants TLS"
    return SourceRefusedError(
        f"{doing}: {answer}; {hint if answer.startswith('53') else 'ask the owner of the server'}"
    )
