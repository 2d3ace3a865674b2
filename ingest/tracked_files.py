"""Apply a listing to the tracked files of a source. No I/O."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from operator import attrgetter

from ingest.model import (
    Archive,
    Generation,
    Listing,
    PassedOver,
    RemoteFile,
    SourceSpec,
    TrackedFile,
    Unread,
    UnreadParts,
    UnsizedFile,
    version_of,
)
from ingest.timestamps import AHEAD, decide_stamp

type TrackedFiles = Mapping[str, TrackedFile]
"""By path: the latest version of each file."""

_IGNORED_SUFFIXES = (".part", ".tmp", ".filepart")
_GONE_AFTER = 2
"""Consecutive ticks whose listing must lack a file: a single one may have run while the file was replaced."""

_FEW_UNREAD, _LONGEST_UNREAD = 3, 300
"""Texts, and characters of each, that a source's state keeps of what could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StableFile:
    """A file that two checks found unchanged: as it was listed, and with its exact size and modified time."""

    listed: RemoteFile
    certain: RemoteFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The tracked files after a change, and the archives whose new state the ledger has to record."""

    tracked_files: TrackedFiles
    new: Sequence[TrackedFile] = ()
    superseded: Sequence[Archive] = ()
    expired: Sequence[Archive] = ()


def wanted[F: (RemoteFile, UnsizedFile)](spec: SourceSpec, files: Iterable[F]) -> Sequence[F]:
    """Return the files that match PATTERN and are not unfinished uploads."""
    return [file for file in files if wants(spec, file.path)]


def wants(spec: SourceSpec, path: str) -> bool:
    """Return whether a path matches PATTERN and is not that of an unfinished upload."""
    return _pattern(spec)(path) and not _is_ignored(path)


def left_out(spec: SourceSpec, files: Iterable[RemoteFile | UnsizedFile]) -> PassedOver | None:
    """Return the number of files that PATTERN does not match, and the newest of them; None if all match."""
    matches = _pattern(spec)
    others = [file for file in files if not matches(file.path) and not _is_ignored(file.path)]
    newest = max(others, key=lambda file: (file.modified, file.path), default=None)
    return PassedOver(count=len(others), newest=newest.path, modified=newest.modified) if newest else None


def relevant(spec: SourceSpec, unread: Iterable[Unread]) -> Sequence[Unread]:
    """Return the unread parts that may hide an archive: all but entries whose names PATTERN does not match."""
    matches = _pattern(spec)
    return [part for part in unread if part.path is None or part.path.endswith("/") or matches(part.path)]


def with_known_sizes(listing: Listing, tracked_files: TrackedFiles, doubtful: Container[str]) -> Listing:
    """Add the files without a size whose bytes were counted before; those of `doubtful` paths are counted again."""
    tracked = ((file, tracked_files[file.path]) for file in listing.unsized if file.path in tracked_files)
    known = [
        tracked_file.listed
        for file, tracked_file in tracked
        if tracked_file.listed.modified == file.modified and file.path not in doubtful
    ]
    return replace(listing, files=[*listing.files, *known])


def unread_parts(unread: Sequence[Unread]) -> UnreadParts | None:
    """Return what is kept of the parts of a listing that could not be read; None if there is none."""
    if not unread:
        return None
    # What may hide any file comes first.
    texts = [part.text for part in sorted(unread, key=lambda part: part.path is not None)][:_FEW_UNREAD]
    return UnreadParts(
        count=len(unread),
        texts=tuple(text[:_LONGEST_UNREAD] for text in texts),
        incomplete=any(part.path is None for part in unread),
    )


def unknown(tracked_files: TrackedFiles, files: Iterable[RemoteFile]) -> Sequence[RemoteFile]:
    """Return the files that are new or changed according to the listing, newest first."""
    new = (file for file in files if file.path not in tracked_files or tracked_files[file.path].listed != file)
    return sorted(new, key=attrgetter("modified"), reverse=True)


def both_ends(files: Sequence[RemoteFile], limit: int) -> Sequence[RemoteFile]:
    """Return at most `limit` files: the first, which are wanted first, and the last, which are deleted first."""
    return files if len(files) <= limit else [*files[: limit // 2], *files[-(limit // 2) :]]


def after_listing(
    tracked_files: TrackedFiles,
    listing: Listing,
    busy: AbstractSet[str],
    *,
    forget_before: datetime,
    first: bool = True,
) -> Changed:
    """Count absences. Drop files that are gone, as expired if they were not copied; `busy` paths stay.

    Only the `first` listing of a tick counts, because later ones may follow within moments. Files that an incomplete
    listing may hide are not counted. Of them, a file that was first seen before `forget_before` is dropped, because
    the state of a source whose listings are never complete must not grow without end.
    """
    present, lacking = listing.paths | busy, listing.lacks(tracked_files)

    def counted_missing(path: str, file: TrackedFile) -> int:
        if path in present:
            return 0
        if path in lacking:
            return file.missing + first
        return _GONE_AFTER if file.first_seen < forget_before else file.missing

    counted = {path: replace(file, missing=counted_missing(path, file)) for path, file in tracked_files.items()}
    gone = [tracked_file for tracked_file in counted.values() if tracked_file.missing >= _GONE_AFTER]
    return Changed(
        tracked_files={
            path: tracked_file for path, tracked_file in counted.items() if tracked_file.missing < _GONE_AFTER
        },
        expired=[tracked_file.archive for tracked_file in gone if not tracked_file.done],
    )


def nearly_gone(tracked_files: TrackedFiles, listing: Listing, forget_before: datetime) -> Sequence[TrackedFile]:
    """Return the uncopied files that are not listed and that would count as gone after this listing."""
    listed, lacking = listing.paths, listing.lacks(tracked_files)
    return [
        tracked_file
        for path, tracked_file in tracked_files.items()
        if path not in listed and not tracked_file.done
        if (tracked_file.missing >= _GONE_AFTER - 1 if path in lacking else tracked_file.first_seen < forget_before)
    ]


def forget_before(spec: SourceSpec, now: datetime) -> datetime:
    """Return the time such that a file first seen before it is on the server no longer, by the owner's promise."""
    return now - 2 * spec.retention


def after_stability_check(
    spec: SourceSpec, tracked_files: TrackedFiles, stable: Iterable[StableFile], busy: AbstractSet[str], now: datetime
) -> Changed:
    """Track stable files. Those that are being copied (`busy`) wait for a later listing."""
    after, new, superseded = dict(tracked_files), [], []
    for file in stable:
        known = after.get(file.certain.path)
        if file.certain.path in busy:
            continue
        if known is not None and known.archive.version == version_of(file.certain):
            # Only the listing's format changed: LIST shows the year instead of the time after six months.
            after[file.certain.path] = replace(known, listed=file.listed)
            continue
        if known is not None and not known.done:
            superseded.append(known.archive)
        tracked_file = _tracked_file(spec, file, known, now)
        after[file.certain.path] = tracked_file
        new.append(tracked_file)
    return Changed(tracked_files=after, new=new, superseded=superseded)


def _tracked_file(spec: SourceSpec, stable: StableFile, known: TrackedFile | None, now: datetime) -> TrackedFile:
    stamp = decide_stamp(spec.stamp, stable.certain.path, stable.certain.modified, now)
    # A version with a modified time in the future would hide all later ones. Only stamps read from a name show that
    # one file corrects another.
    fits = stable.certain.modified <= now + AHEAD and (stamp.named or spec.replaces == "path")
    archive = Archive(
        source=spec.name,
        file=stable.certain,
        version=version_of(stable.certain),
        stamp=stamp.time,
        stamp_replaced=stamp.replaced,
        replaces=spec.replaces if fits else "never",
    )
    previous = (known.sha256 or known.previous_sha256) if known else None
    return TrackedFile(
        listed=stable.listed, archive=archive, first_seen=now, previous_sha256=previous, generation=Generation.new()
    )


def _pattern(spec: SourceSpec) -> Callable[[str], bool]:
    def fold(text: str) -> str:
        return text if spec.match_case else text.casefold()

    pattern, whole = fold(spec.pattern), "/" in spec.pattern
    return lambda path: fnmatchcase(fold(path if whole else path.rpartition("/")[2]), pattern)


def _is_ignored(path: str) -> bool:
    return path.casefold().endswith(_IGNORED_SUFFIXES) or any(part.startswith(".") for part in path.split("/"))
