"""Checks of a source's results as a whole, from ledger entries. Pure."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from imagefeed.ledger import Entry
from imagefeed.model import State
from imagefeed.terminal import count
from ops.health.archive_checks import last_step, of_archive
from ops.health.findings import Finding, Slug
from preprocess.image.formats import METHODS

_LAST = timedelta(hours=1)
_FEWEST = 3
"""Fewest archives to judge if fewer have a stamp of the last hour: a single one may be a broken upload."""
_NEAR_SHOWN = timedelta(days=1)
_ENDED = (State.PROCESSED, State.REFUSED, State.FAILED)
"""States that show whether a source's archives can be read. The state of an empty archive does not."""
_WHOLLY = re.compile(r"none of its \d+ members gave an image \([^)]*\): ")


def check_results(source: str, entries: Sequence[Entry], now: datetime) -> Iterator[Finding]:
    """Yield sources without readable archives, limits that are nearly reached, and results of older decoders.

    `entries` are the source's newest archives, newest first.
    """
    yield from _check_readable(source, entries, now)
    yield from _check_limits(entries, now)
    yield from _check_methods(source, entries)


def _check_readable(source: str, entries: Sequence[Entry], now: datetime) -> Iterator[Finding]:
    """Yield a finding if every archive of the last hour (at least the newest three) was refused."""
    ended = [entry for entry in entries if entry.state in _ENDED]
    recent = sum(now - entry.archive.stamp <= _LAST for entry in ended)
    judged = ended[: max(recent, _FEWEST)]
    refused = [entry for entry in judged if entry.state is State.REFUSED]
    if not refused or any(entry.state is State.PROCESSED for entry in judged):
        return
    reasons = Counter(_WHOLLY.sub("", entry.reason or "") for entry in refused)
    since = judged[-1].archive.stamp
    yield Finding(
        slug=Slug.NOTHING_READABLE,
        source=source,
        archive=refused[0].archive.key.id,
        name=f"{count(len(judged), 'archive')} since {since:%H:%M}",
        since=since,
        detail=reasons.most_common(1)[0][0],
    )


def _check_limits(entries: Sequence[Entry], now: datetime) -> Iterator[Finding]:
    """Yield each limit that archives came near in the last day, with the archive that came nearest.

    Older archives are ignored because the limits may have been lower then.
    """
    nearest: dict[str, Entry] = {}
    for entry in entries:
        recent = now - last_step(entry) <= _NEAR_SHOWN
        for name, share in entry.near.items() if recent else ():
            if name not in nearest or share > nearest[name].near[name]:
                nearest[name] = entry
    for name, entry in sorted(nearest.items()):
        archive = entry.archive
        yield of_archive(Slug.NEAR_LIMIT, archive.key, name, f"{entry.near[name]:.0%} of it: {archive.path}")


def _check_methods(source: str, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Yield the formats with results of a decoder version older than this app's."""
    outdated = Counter[str]()
    for entry in entries:
        if entry.state is State.PROCESSED and entry.counts is not None:
            outdated.update(name for name, version in entry.counts.methods.items() if version < METHODS.get(name, 0))
    oldest = min((entry.archive.stamp for entry in entries), default=None)
    for name, number in sorted(outdated.items()):
        yield Finding(
            slug=Slug.OUTDATED_RESULTS,
            source=source,
            name=f"{name.lower()}<{METHODS[name]}",
            since=oldest,
            detail=f"{count(number, 'archive')} made by an older decoder of {name}",
        )
