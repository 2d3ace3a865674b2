"""One listing as it is gathered, and its size limits: it is in memory whole, and a server may send one without end."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from config.errors import SourceRefusedError
from ingest.model import Listing, RemoteFile, Unread, UnsizedFile

MAX_FILES = 200_000
"""Files per source. Measured: each takes at most 2.1 KB of memory while the listing is saved."""
MAX_DEPTH = 32
"""Folders below each other."""
MAX_FOLDERS = 10_000
"""Folders of one source. More of them would take hours to list, or are a loop."""
MAX_BYTES = 64 * 2**20
"""Bytes of text in the listing of one folder."""


@dataclass(kw_only=True)
class Gathered:
    """The files and the unread parts of one listing. Adding to it raises SourceRefusedError if they are too many."""

    folder: str
    """The source's folder, for the error."""
    files: list[RemoteFile] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    unsized: list[UnsizedFile] = field(default_factory=list)
    _entered: int = 0

    def add(self, file: RemoteFile | UnsizedFile) -> None:
        """Add a file."""
        if isinstance(file, RemoteFile):
            self.files.append(file)
        else:
            self.unsized.append(file)
        self._check()

    def add_unread(self, text: str, path: str | None = None) -> None:
        """Add a part that could not be read."""
        self.unread.append(Unread(text=text, path=path))
        self._check()

    def enter(self, folder: str) -> bool:
        """Count a subfolder, such as `a/b/`; return False, and add it as unread, if it is one too many."""
        self._entered += 1
        if folder.count("/") <= MAX_DEPTH and self._entered <= MAX_FOLDERS:
            return True
        limits = f"{MAX_DEPTH} folders below each other, or {MAX_FOLDERS:,} in all"
        self.add_unread(f"not entered: {limits}, are listed at most", folder)
        return False

    @property
    def listing(self) -> Listing:
        """Return the listing."""
        return Listing(files=self.files, unread=self.unread, unsized=tuple(self.unsized))

    def _check(self) -> None:
        if len(self.files) + len(self.unread) + len(self.unsized) > MAX_FILES:
            raise too_long(self.folder)


def limited[T](items: Iterable[T], folder: str, limit: int = MAX_FILES) -> Iterator[T]:
    """Yield all listed items. Raises SourceRefusedError if there are more than `limit`."""
    for number, item in enumerate(items):
        if number == limit:
            raise too_long(folder)
        yield item


def too_long(folder: str) -> SourceRefusedError:
    """Return the error for a listing that exceeds a limit."""
    return SourceRefusedError(
        f"list {folder!r}: it holds more than {MAX_FILES:,} files, or its listing more than {MAX_BYTES >> 20} MiB of "
        "text; set the source's URL to a folder with fewer files"
    )
