"""Size and modification time of one file on an FTP server, as far as the server gives them."""

import ftplib
import re
from dataclasses import dataclass
from datetime import datetime

from ingest.model import RemoteFile
from ingest.protocols.ftp_listing import Kind, parse_mdtm, parse_mlsd
from ingest.protocols.ftp_session import Ftp

NOT_FOUND = "550"
"""Means that there is no such file, that it may not be read, or that the command is not for it."""
CONNECTION = ("421", "425", "426", "430", "530", "532")
"""Codes of errors that are about the connection or the login, and not about one folder or file."""
_SIZE = re.compile(r"\d{1,19}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Size and time of one file; None where the server refuses it, or its reply makes no sense."""

    size: int | None = None
    modified: datetime | None = None

    def completed(self, path: str, size: int | None, modified: datetime | None) -> RemoteFile | None:
        """Return the file, with `size` and `modified` for what is missing; None if something is still missing."""
        size = size if self.size is None else self.size
        modified = modified if self.modified is None else self.modified
        return None if size is None or modified is None else RemoteFile(path=path, size=size, modified=modified)


def ask_facts(ftp: Ftp, path: str, *, mlst: bool, listed: RemoteFile | None = None) -> Facts:
    """Request a file's facts by SIZE and MDTM; by MLST alone if it confirms `listed`. A link's are those of its file.

    ProFTPD's MLST gives a link the type of its file and the size and time of the link; SIZE and MDTM follow links.
    """
    stated = _ask_mlst(ftp, path) if mlst else Facts()
    if listed and stated == Facts(size=listed.size, modified=listed.modified):
        return stated
    # SIZE counts what a transfer of the current type sends.
    ftp.voidcmd("TYPE I")
    size, modified = _ask_size_and_time(ftp, ftp.wire(path))
    return Facts(
        size=int(size) if _SIZE.fullmatch(size) else stated.size,
        modified=parse_mdtm(modified) or stated.modified,
    )


def _ask_size_and_time(ftp: Ftp, path: str) -> list[str]:
    """Return what SIZE and MDTM give, empty where it is nothing. Raises ftplib.error_temp if that is so for now."""
    values, for_now = [], None
    for command in ("SIZE", "MDTM"):
        try:
            values.append(_ask_value(ftp, f"{command} {path}"))
        except ftplib.error_temp as exc:
            if str(exc).startswith(CONNECTION):
                raise
            values.append("")
            for_now = exc
    if for_now and not any(values):
        # The file may be in use: a server that gives one of the two does not mean that.
        raise for_now
    return values


def _ask_value(ftp: Ftp, command: str) -> str:
    """Return what a reply of code 213 holds; empty if there is none."""
    code, _, value = (_ask(ftp, command) or "").partition(" ")
    return value.strip() if code == "213" else ""


def _ask_mlst(ftp: Ftp, path: str) -> Facts:
    answer = _ask(ftp, f"MLST {ftp.wire(path)}") or ""
    entry = next(filter(None, map(parse_mlsd, answer.split("\n")[1:-1])), None)
    return Facts(size=entry.size, modified=entry.modified) if entry and entry.kind is Kind.FILE else Facts()


def _ask(ftp: Ftp, command: str) -> str | None:
    """Return the reply to a command; None if the server does not know it, or refuses it for this file."""
    try:
        return ftp.sendcmd(command)
    except ftplib.error_perm as exc:
        if str(exc).startswith(CONNECTION):
            raise
        return None
