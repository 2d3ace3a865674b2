"""The sentences that sum up a source, and all of them. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from imagefeed.terminal import count
from ops.health.source_findings import Silence
from ops.text import ago, clock, span
from ops.web.model import ArchiveMark, DisplayState, Gap, Severity, SourceStatus

_ENDS = {DisplayState.EXPIRED: "expired", DisplayState.FAILED: "failed", DisplayState.REFUSED: "refused"}

_NEVER = {False: "The server has never answered.", True: "The server refuses us."}


def source_headline(
    marks: Sequence[ArchiveMark], gaps: Sequence[Gap], silence: Silence | None, now: datetime, since: str
) -> tuple[Severity, str]:
    """Say in one sentence what arrived, what is late and what is missing; `since` is like "of the last 48 h"."""
    counts = Counter(mark.state for mark in marks)
    late = sum(mark.late for mark in marks)
    wrong = [*_of_gaps(gaps), *(f"{counts[end]} {word}" for end, word in _ENDS.items() if counts[end])]
    wrong += [f"{late} late"] if late else []
    missing = bool(gaps or late or counts[DisplayState.EXPIRED] or counts[DisplayState.FAILED])
    first = _of_silence(silence, now)
    if not marks and not first:
        return Severity.FINE, "Polled; no archive has come yet."
    parts = [part for part in (first, _of_archives(marks, counts, wrong, now, since)) if part]
    if silence is not None and (silence.since or silence.error):
        missing = True
    notice = wrong or counts[DisplayState.PARTLY]
    return Severity.MISSING if missing else Severity.NOTICE if notice else Severity.FINE, " ".join(parts)


def total_headline(
    sources: Sequence[SourceStatus], *, given_up: bool, unwatched: bool = False, not_judged: Sequence[str] = ()
) -> tuple[Severity, str]:
    """Say in one sentence how everything is; `given_up`: messages or events were; `unwatched`: by `reconcile`."""
    judged = [source for source in sources if source.name not in not_judged]
    severity, sentence = _of_sources(judged) if judged or not not_judged else (Severity.NOTICE, "")
    also = [", and messages were given up"] * given_up + [", and nobody watches: reconcile stands still"] * unwatched
    unknown = f"not judged: {', '.join(not_judged)}" if not_judged else ""
    return severity, "; ".join(filter(None, (f"{sentence}{''.join(also)}", unknown)))


def _of_sources(sources: Sequence[SourceStatus]) -> tuple[Severity, str]:
    bad = [source for source in sources if source.severity is Severity.MISSING]
    severity = max((source.severity for source in sources), default=Severity.FINE)
    if not sources:
        return Severity.NOTICE, "No source is set, and nothing has arrived"
    if not any(source.marks for source in sources):
        return severity, "Nothing has arrived yet" if not bad else "Nothing arrives"
    if not bad:
        here = "Everything is here or on its way" if _moving(sources) else "Everything is here"
        return severity, here if severity is Severity.FINE else f"{here}; some of it was refused"
    late = sum(_only_late(source) for source in bad)
    lost = len(bad) - late
    sentence = f"Something is {'missing' if lost else 'late'}"
    if len(sources) > 1:
        sentence += f" at {lost or late} of {len(sources)} sources"
    return severity, f"{sentence}, and late at {late}" if lost and late else sentence


def _only_late(source: SourceStatus) -> bool:
    lost = source.gaps or source.counts[DisplayState.EXPIRED] or source.counts[DisplayState.FAILED]
    return not lost and any(mark.late for mark in source.marks)


def _of_archives(
    marks: Sequence[ArchiveMark], counts: Mapping[DisplayState, int], wrong: Sequence[str], now: datetime, since: str
) -> str:
    if not marks:
        return ""
    here = sum(counts[state] for state in DisplayState if state.here)
    moving = sum(counts[state] for state in DisplayState if state.under_way) - sum(mark.late for mark in marks)
    newest = f"newest {ago(max(min(mark.stamp, now) for mark in marks), now)}"
    also = [f"{counts[DisplayState.PARTLY]} with refused members"] if counts[DisplayState.PARTLY] else []
    also += [f"{moving} on the way"] if moving else []
    sentence = ", ".join([f"{count(here, 'archive')} {since} {'is' if here == 1 else 'are'} here", *also])
    if wrong:
        return f"{_listed(wrong)}. {sentence}; {newest}."
    if not here:
        return f"{count(moving, 'archive')} on the way; {newest}."
    return f"{'All ' if here > 1 and not moving else ''}{sentence}; {newest}."


def _of_gaps(gaps: Sequence[Gap]) -> list[str]:
    closed, open_ = [gap for gap in gaps if not gap.open], [gap for gap in gaps if gap.open]
    parts = [f"Nothing has come for {span((gap.end - gap.start).total_seconds())}" for gap in open_]
    if closed:
        missing = sum(gap.missing for gap in closed)
        parts.append(f"{count(len(closed), 'gap')} (about {missing} missing)")
    return parts


def _of_silence(silence: Silence | None, now: datetime) -> str:
    if silence is None:
        return ""
    if silence.since is None:
        return _NEVER[silence.refused] if silence.error else "Waiting for the first poll."
    what = "The server has refused us" if silence.refused else "No answer from the server"
    return f"{what} for {span((now - silence.since).total_seconds())}."


def _listed(parts: Sequence[str]) -> str:
    if len(parts) > 6:
        parts = [*parts[:5], f"{len(parts) - 5} more"]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _moving(sources: Sequence[SourceStatus]) -> bool:
    return any(mark.state.under_way for source in sources for mark in source.marks)


def window_phrase(window: timedelta, start: datetime, marks: Sequence[ArchiveMark], now: datetime) -> str:
    """Name the time that a source's archives are from: its window, or since its first archive where that is later."""
    if marks and now - start < window:
        return f"since {clock(marks[0].stamp, now)}"
    return f"of the last {span(window.total_seconds())}"
