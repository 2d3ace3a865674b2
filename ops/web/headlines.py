"""Sentences that sum up one source, and all sources. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from imagefeed.terminal import clean, count
from ingest.gaps import Gap
from ops.health.findings import ANSWERS, Finding, Severity, Slug
from ops.text import ago, clock, span
from ops.web.model import ArchiveMark, DisplayState, SourceStatus

_LATE = (Slug.NOT_COPIED, Slug.NO_LONGER_LISTED, Slug.NOT_PREPROCESSED)
_COUNTED = (Slug.EXPIRED, Slug.FAILED, Slug.CORRECTION_FAILED, Slug.REFUSED, Slug.EMPTY, Slug.RAW_MISSING)


def source_headline(
    marks: Sequence[ArchiveMark], gaps: Sequence[Gap], findings: Sequence[Finding], now: datetime, since: str
) -> str:
    """Return a summary of what arrived, what is late and what is missing; `since` is such as "of the last 48 h"."""
    states, slugs = Counter(mark.state for mark in marks), Counter(finding.slug for finding in findings)
    late = sum(slugs[slug] for slug in _LATE)
    wrong = [*_of_gaps(gaps), *(f"{slugs[slug]} {slug.words}" for slug in _COUNTED if slugs[slug])]
    wrong += [f"{late} late"] if late else []
    parts = ["Not judged: its promises are unknown."] if slugs[Slug.NOT_JUDGED] else []
    parts += [_of_answers(finding, now) for finding in findings if finding.slug in ANSWERS]
    parts += [
        f"Nothing in {finding.name} can be read: {clean(finding.detail)}."
        for finding in findings
        if finding.slug is Slug.NOTHING_READABLE
    ]
    parts += [_of_archives(marks, states, wrong, now, since)] if marks else []
    return " ".join(parts) or "Polled; no archive has come yet."


def total_headline(sources: Sequence[SourceStatus], findings: Sequence[Finding]) -> str:
    """Return one sentence that sums up all sources."""
    not_judged = [finding.source for finding in findings if finding.slug is Slug.NOT_JUDGED]
    judged = [source for source in sources if source.name not in not_judged]
    parts = [_of_sources(judged, findings)] if judged or not not_judged else []
    if any(finding.slug in (Slug.POISON, Slug.DEAD_LETTERS) for finding in findings):
        parts.append("messages were given up")
    if any(finding.slug is Slug.PIPELINE_STOPPED for finding in findings):
        parts.append("nothing is preprocessed")
    if any((finding.slug, finding.name) == (Slug.FUNCTION_OVERDUE, "reconcile") for finding in findings):
        parts.append("nothing is checked: reconcile has stopped")
    return "; ".join(filter(None, (", and ".join(parts), f"not judged: {', '.join(not_judged)}" if not_judged else "")))


def _of_sources(sources: Sequence[SourceStatus], findings: Sequence[Finding]) -> str:
    bad: dict[str, set[Slug]] = {}
    for finding in findings:
        if finding.source and finding.severity is Severity.MISSING:
            bad.setdefault(finding.source, set()).add(finding.slug)
    if not sources:
        return "No source is configured, and nothing has arrived"
    if not any(source.marks for source in sources):
        return "Nothing arrives" if bad else "Nothing has arrived yet"
    if not bad:
        return _of_notices(sources, {finding.slug for finding in findings})
    unread = sum(Slug.NOTHING_READABLE in slugs for slugs in bad.values())
    late = sum(slugs <= {*_LATE} for slugs in bad.values())
    lost = len(bad) - late - unread
    if unread:
        at = f" at {unread} of {len(sources)} sources" if len(sources) > 1 else ""
        also = f", and something is missing or late at {lost + late}" if lost + late else ""
        return f"The newest archives could not be read{at}{also}"
    sentence = f"Something is {'missing' if lost else 'late'}"
    if len(sources) > 1:
        sentence += f" at {lost or late} of {len(sources)} sources"
    return f"{sentence}, and late at {late}" if lost and late else sentence


def _of_notices(sources: Sequence[SourceStatus], slugs: Collection[Slug]) -> str:
    moving = any(mark.state.under_way for source in sources for mark in source.marks)
    here = f"Everything{' that came' * (Slug.GAP_CLOSED in slugs)} is here{' or on its way' * moving}"
    also = ["there were gaps"] * (Slug.GAP_CLOSED in slugs)
    also += ["some of it was refused"] * bool({Slug.REFUSED, Slug.MEMBERS_REFUSED} & {*slugs})
    also += ["some archives are empty"] * (Slug.EMPTY in slugs)
    return "; ".join([here, *also])


def _of_archives(
    marks: Sequence[ArchiveMark], states: Mapping[DisplayState, int], wrong: Sequence[str], now: datetime, since: str
) -> str:
    here = sum(states[state] for state in DisplayState if state.here)
    moving = sum(states[state] for state in DisplayState if state.under_way) - sum(mark.late for mark in marks)
    newest = f"newest {ago(max(min(mark.stamp, now) for mark in marks), now)}"
    also = [f"{states[DisplayState.PARTLY]} with refused members"] if states[DisplayState.PARTLY] else []
    also += [f"{moving} on the way"] if moving else []
    sentence = ", ".join([f"{count(here, 'archive')} {since} {'is' if here == 1 else 'are'} here", *also])
    if wrong:
        return f"{_listed(wrong)}. {sentence}; {newest}."
    if not here:
        return f"{count(moving, 'archive')} on the way; {newest}."
    return f"{'All ' if here > 1 and not moving else ''}{sentence}; {newest}."


def _of_gaps(gaps: Sequence[Gap]) -> list[str]:
    closed = [gap for gap in gaps if not gap.open]
    parts = [f"Nothing has come for {span((gap.end - gap.start).total_seconds())}" for gap in gaps if gap.open]
    if closed:
        parts.append(f"{count(len(closed), 'gap')} (about {sum(gap.missing for gap in closed)} missing)")
    return parts


def _of_answers(finding: Finding, now: datetime) -> str:
    rejects = finding.slug is Slug.SOURCE_REJECTS
    if finding.slug is Slug.NOT_POLLED:
        return "Waiting for the first poll."
    if finding.since is None:
        return "The server rejects us." if rejects else "The server has never answered."
    what = "The server has rejected us" if rejects else "No answer from the server"
    return f"{what} for {span((now - finding.since).total_seconds())}."


def _listed(parts: Sequence[str]) -> str:
    if len(parts) > 6:
        parts = [*parts[:5], f"{len(parts) - 5} more"]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def window_phrase(window: timedelta, start: datetime, marks: Sequence[ArchiveMark], now: datetime) -> str:
    """Return a source's time range as words: its window, or since its first archive if that is later."""
    if marks and now - start < window:
        return f"since {clock(marks[0].stamp, now)}"
    return f"of the last {span(window.total_seconds())}"
