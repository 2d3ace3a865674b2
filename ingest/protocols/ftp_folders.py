"""Lists the folders of an FTP source: what each holds, what of it cannot be read, and which of them to enter."""

import ftplib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from config.errors import SourceRefusedError, SourceUnavailableError
from ingest.model import Endpoint, Listing, RemoteFile, Scope, Unread, UnsizedFile
from ingest.protocols.ftp_facts import CONNECTION
from ingest.protocols.ftp_listing import LONGEST_QUOTE, Entry, Kind, parse_lines, parse_list, parse_mlsd, parse_name
from ingest.protocols.ftp_replies import complaint, says_absent, says_forbidden
from ingest.protocols.ftp_session import Ftp
from ingest.protocols.listing import Gathered

_TRIES = 20
"""Names to ask for in vain before NLST counts as not understood."""
_OTHERS = 10
"""Files of one folder that are asked for though nobody wants them, so that a wrong PATTERN is noticed."""

type Resolve = Callable[[Ftp, str, Entry], RemoteFile | UnsizedFile | Unread]
"""Returns a file or link by its path and entry, after asking the server for what the entry lacks."""


class _NotUnderstoodError(Exception):
    """A folder's listing holds lines, of which none is understood; the first is the argument."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Contents of one folder."""

    entries: Sequence[Entry] = ()
    unread: Sequence[str] = ()
    """Lines and replies that leave open whether it holds more."""
    instead_of: str = ""
    """If its names are those of NLST: the line or reply of LIST that was of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A folder on the way down."""

    path: str
    unique: str
    entries: frozenset[Entry]
    folders: frozenset[Entry]

    def is_again(self, other: "Level") -> bool:
        """Return whether this folder is `other` by another path: servers list links to folders as folders."""
        shared = self.entries & other.entries
        if self.unique and other.unique:
            return self.unique == other.unique and bool(shared)
        if self.folders != other.folders or not self.folders:
            return False
        # A folder that holds a single folder may look like the one above it.
        return (self.entries == other.entries and len(self.entries) > 1) or bool(shared - self.folders)


class FtpFolders:
    """One listing of a source, folder after folder."""

    def __init__(self, ftp: Ftp, endpoint: Endpoint, resolve: Resolve, scope: Scope, *, mlsd: bool) -> None:
        zone, now = ZoneInfo(endpoint.timezone), datetime.now(UTC)
        self._ftp = ftp
        self._endpoint = endpoint
        self._resolve = resolve
        self._scope = scope
        self._parsers: dict[str, Callable[[str], Entry | None]] = {
            **({"MLSD": parse_mlsd} if mlsd else {}),
            "LIST": lambda line: parse_list(line, zone, now),
            "NLST": parse_name,
        }
        self._gathered = Gathered(folder=endpoint.folder)

    def list(self) -> Listing:
        """Return the files of the source, and what could not be read.

        Raises SourceRefusedError if nothing of its folder is understood.
        """
        try:
            self._walk("", "", self._read(), ())
        except _NotUnderstoodError as exc:
            raise SourceRefusedError(
                f"list {self._endpoint.folder!r}: no line of the listing is understood, such as {exc.args[0]!r}, and "
                "NLST with SIZE and MDTM is of no use; ask the owner of the server for Unix style listings or for MLSD"
            ) from exc
        return self._gathered.listing

    def _walk(self, folder: str, unique: str, content: Content, above: tuple[Level, ...]) -> None:
        """Gather what a folder holds. Raises _NotUnderstoodError if nothing is known of any of its names."""
        folders = frozenset(entry for entry in content.entries if entry.kind is Kind.FOLDER)
        level = Level(path=folder, unique=unique, entries=frozenset(content.entries), folders=folders)
        if again := next((other for other in above if level.is_again(other)), None):
            self._gathered.add_unread(f"it is the folder {again.path or './'!r} again", folder)
            return
        for text in content.unread:
            self._gathered.add_unread(text, None if content.entries else folder or None)
        unread: list[Unread] = []
        skipped = self._skipped(folder, content.entries)
        taken = 0
        for entry in content.entries:
            self._scope.check()
            if entry in skipped and not self._may_hold_more(folder, entry):
                continue
            taken += 1
            if part := self._take(folder, entry, (*above, level)):
                unread.append(part)
            if content.instead_of and len(unread) == taken == _TRIES:
                break
        if content.instead_of and unread and len(unread) == taken:
            # Those that are wanted and the last ones may be refused although the names are understood.
            others = [entry for entry in content.entries if entry in skipped][: _TRIES - taken]
            if all(self._take(folder, entry, (*above, level)) for entry in others):
                raise _NotUnderstoodError(content.instead_of)
        for part in self._still_there(folder, unread):
            self._gathered.add_unread(part.text, part.path)

    def _skipped(self, folder: str, entries: Iterable[Entry]) -> frozenset[Entry]:
        """Return links, and all but the last few entries of unknown size or time, that nobody wants."""
        kinds = (Kind.FILE, Kind.UNKNOWN)
        links = [entry for entry in entries if entry.kind is Kind.LINK]
        files = [entry for entry in entries if entry.kind in kinds and None in (entry.size, entry.modified)]
        links, files = ([e for e in some if not self._scope.wants(folder + e.name)] for some in (links, files))
        return frozenset([*links, *files[:-_OTHERS]])

    def _may_hold_more(self, folder: str, entry: Entry) -> bool:
        """Return whether an entry of no known type has to be listed because it is a folder."""
        return entry.kind is Kind.UNKNOWN and self._endpoint.recursive and self._is_folder(f"{folder}{entry.name}/")

    def _take(self, folder: str, entry: Entry, above: tuple[Level, ...]) -> Unread | None:
        """Gather one entry; return it if it cannot be read."""
        below = f"{folder}{entry.name}/"
        match entry.kind, self._endpoint.recursive:
            case (Kind.OTHER, _) | (Kind.FOLDER, False):
                return None
            case Kind.FOLDER, True:
                return self._take_folder(below, entry.unique, above)
            case Kind.UNKNOWN, True if self._is_folder(below):
                return self._take_folder(below, entry.unique, above)
        found = self._ask(folder + entry.name, entry)
        if not isinstance(found, Unread):
            self._gathered.add(found)
            return None
        may_be_folder = entry.kind is Kind.LINK or (entry.kind is Kind.UNKNOWN and not self._endpoint.recursive)
        if may_be_folder and self._is_folder(below):
            return None
        return found

    def _ask(self, path: str, entry: Entry) -> RemoteFile | UnsizedFile | Unread:
        try:
            return self._resolve(self._ftp, path, entry)
        except SourceRefusedError as exc:
            return Unread(text=str(exc), path=path)
        except (ftplib.error_perm, ftplib.error_temp) as exc:
            return Unread(text=self._of_one(exc), path=path)

    def _take_folder(self, folder: str, unique: str, above: tuple[Level, ...]) -> Unread | None:
        """Gather what a folder below holds; return it if it cannot be listed."""
        if not self._gathered.enter(folder):
            return None
        content = self._open(folder)
        if isinstance(content, str):
            return Unread(text=content, path=folder)
        try:
            self._walk(folder, unique, content, above)
        except _NotUnderstoodError as exc:
            return Unread(text=exc.args[0], path=folder)
        return None

    def _is_folder(self, path: str) -> bool:
        """Return whether the server can enter it."""
        refusal = self._enter(path)
        if refusal is None:
            self._ftp.leave()
        return refusal is None

    def _enter(self, path: str) -> str | None:
        """Change to a folder; return the reason if that is not possible."""
        try:
            self._ftp.enter(path.rstrip("/"))
        except SourceRefusedError as exc:
            return str(exc)
        except (ftplib.error_perm, ftplib.error_temp) as exc:
            return self._of_one(exc)
        return None

    def _still_there(self, folder: str, unread: Sequence[Unread]) -> Iterable[Unread]:
        """Leave out folders that were deleted after their parent was listed."""
        if not any(part.path and part.path.endswith("/") and says_absent(part.text) for part in unread):
            return unread
        content = self._open(folder)
        if isinstance(content, str):
            return unread
        names = {f"{folder}{entry.name}/" for entry in content.entries}
        return [part for part in unread if not says_absent(part.text) or part.path in names]

    def _open(self, folder: str) -> Content | str:
        """Return what a folder holds, or the line or reply that gives the reason why this is unknown."""
        if folder and (refusal := self._enter(folder)):
            return refusal
        try:
            content: Content | str = self._read()
        except (ftplib.error_perm, ftplib.error_temp) as exc:
            content = self._of_one(exc)
        except _NotUnderstoodError as exc:
            content = str(exc.args[0])
        if folder:
            self._ftp.leave()
        return content

    def _read(self) -> Content:
        """Return what the current folder holds, by the first command whose answer is understood.

        Raises _NotUnderstoodError if there is no such command, ftplib.Error if all of them are refused.
        """
        lines: list[str] = []
        refusals: list[str] = []
        for command, parse in self._parsers.items():
            try:
                answer = self._ftp.lines(command)
            except (OSError, EOFError, ftplib.error_proto, ftplib.error_reply) as exc:
                if not lines:
                    raise
                raise SourceUnavailableError(
                    f"list {self._endpoint.folder!r}: the line {lines[0][:LONGEST_QUOTE]!r} is not understood, and "
                    f"{command} fails: {str(exc) or type(exc).__name__}; ask the owner of the server for Unix style "
                    "listings or for MLSD"
                ) from exc
            entries, unread = parse_lines(answer.lines, parse)
            reply = self._ftp.text(answer.reply)
            complaints = [reply] if answer.refused else [*filter(None, [complaint(reply)])]
            if entries:
                instead_of = "" if command != "NLST" else lines[0] if lines else self._ftp.text(refusals[0])
                return Content(entries=entries, unread=unread + complaints, instead_of=instead_of)
            if not answer.refused and not unread and not any(map(says_forbidden, refusals)):
                return Content(unread=lines + complaints)
            lines += unread
            refusals += [answer.reply] if answer.refused else []
        if lines:
            raise _NotUnderstoodError(lines[0][:LONGEST_QUOTE])
        # Some servers refuse to list a folder without files.
        if any(map(says_absent, refusals)) and not any(map(says_forbidden, refusals)):
            return Content()
        text = max(refusals, key=lambda reply: reply.startswith(("450", "550")))
        raise ftplib.error_temp(text) if text.startswith("4") else ftplib.error_perm(text)  # noqa: S321 - no secret

    def _of_one(self, error: ftplib.Error) -> str:
        """Return the text of an error that is about one folder or file. Raises it if it is about more than that."""
        if str(error).startswith(CONNECTION):
            raise error
        return self._ftp.text(str(error))
