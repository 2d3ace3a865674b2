"""Findings: problem, severity and advice. Log, audit, status page and doctor only render them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum, StrEnum

from ops.health.limits import cure_of_limit
from ops.health.refusals import cure_of

FEW = 10
"""Findings of one slug that are reported for a source; one more reports how many others there are."""


class Severity(IntEnum):
    """How urgently a finding needs attention."""

    FINE = 0
    NOTICE = 1
    """Worth checking; no promised archive is missing."""
    MISSING = 2
    """Something is missing or will be soon."""


class Slug(StrEnum):
    """Machine-readable kind of a finding; docs/findings.md explains each."""

    NOT_COPIED = "not_copied"
    NO_LONGER_LISTED = "no_longer_listed"
    NEAR_DELETION = "near_deletion"
    EXPIRED = "expired"
    RAW_MISSING = "raw_missing"
    RAW_DAMAGED = "raw_damaged"
    LEDGER_MISSING = "ledger_missing"
    BATCHES_MISSING = "batches_missing"
    NOT_PREPROCESSED = "not_preprocessed"
    FAILED = "failed"
    CORRECTION_FAILED = "correction_failed"
    CORRECTION_PENDING = "correction_pending"
    SHARD_MISSING = "shard_missing"
    SHARD_DAMAGED = "shard_damaged"
    ROWS_MISSING = "rows_missing"
    ROWS_DAMAGED = "rows_damaged"
    SOURCE_SILENT = "source_silent"
    SOURCE_REJECTS = "source_rejects"
    GAP = "gap"
    GAP_UNHEARD = "gap_unheard"
    GAP_CLOSED = "gap_closed"
    LISTING_INCOMPLETE = "listing_incomplete"
    ENTRY_UNREADABLE = "entry_unreadable"
    NOTHING_MATCHES = "nothing_matches"
    STAMP_MISFIT = "stamp_misfit"
    NOT_POLLED = "not_polled"
    NOT_JUDGED = "not_judged"
    NOTHING_READABLE = "nothing_readable"
    PIPELINE_STOPPED = "pipeline_stopped"
    REFUSED = "refused"
    EMPTY = "empty"
    MEMBERS_REFUSED = "members_refused"
    OUTDATED_RESULTS = "outdated_results"
    NEAR_LIMIT = "near_limit"
    BLOCKS_UNCHECKED = "blocks_unchecked"
    BY_HAND = "by_hand"
    QUEUE_UNHEARD = "queue_unheard"
    FUNCTION_OVERDUE = "function_overdue"
    FUNCTION_NEVER_RAN = "function_never_ran"
    POISON = "poison"
    DEAD_LETTERS = "dead_letters"

    @property
    def words(self) -> str:
        """Return the slug as readable text."""
        return self.replace("_", " ")


NOTICES = frozenset({
    Slug.GAP_CLOSED, Slug.STAMP_MISFIT, Slug.NOT_POLLED, Slug.NOT_JUDGED, Slug.REFUSED, Slug.MEMBERS_REFUSED,
    Slug.BY_HAND, Slug.FUNCTION_NEVER_RAN, Slug.CORRECTION_PENDING, Slug.OUTDATED_RESULTS, Slug.NEAR_LIMIT,
    Slug.ENTRY_UNREADABLE, Slug.EMPTY, Slug.BLOCKS_UNCHECKED,
})  # fmt: skip
"""Slugs of severity NOTICE: nothing is missing that could still arrive."""

ANSWERS = frozenset({Slug.SOURCE_SILENT, Slug.SOURCE_REJECTS, Slug.NOT_POLLED})
"""Slugs of a source that cannot be listed or has not been listed yet."""

_REBUILD = "`imagefeed rebuild {source}`"
_REPLAY = "`imagefeed replay --archive {source}/{archive}`"
_GIVEN_UP = "reconcile queues them again; to do it now: `imagefeed replay --poison --dead-letters`"
ADVICE: Mapping[Slug, str] = {
    Slug.NOT_COPIED: "`imagefeed ls {source}` shows the reason; copy it by hand before the server deletes it",
    Slug.NO_LONGER_LISTED: "look for it on the server; if it is gone, ask the server's owner for it and upload it to "
    "raw/{source}/",
    Slug.NEAR_DELETION: "`imagefeed ls {source}` shows the reason; copy it by hand before the deletion",
    Slug.EXPIRED: "deleted before it was copied: ask the server's owner for it and upload it to raw/{source}/",
    Slug.RAW_MISSING: "undelete the blob; or, if the server still has the file, delete state/sources/{source}.json so "
    "that it is copied again",
    Slug.RAW_DAMAGED: "restore an older version of the blob; or delete it and follow the advice of raw missing",
    Slug.LEDGER_MISSING: _REBUILD,
    Slug.BATCHES_MISSING: _REBUILD,
    Slug.NOT_PREPROCESSED: "reconcile queues it again within PIPELINE_WINDOW; to do it now: " + _REPLAY,
    Slug.FAILED: "fix the cause, then " + _REPLAY,
    Slug.CORRECTION_FAILED: f"if the archive is broken, ask the server's owner to send it again under the same name; "
    f"else fix the cause, then {_REPLAY}",
    Slug.CORRECTION_PENDING: "nothing while it is in progress: readers use it once it is processed",
    Slug.SHARD_MISSING: _REPLAY,
    Slug.SHARD_DAMAGED: _REPLAY,
    Slug.ROWS_MISSING: _REPLAY,
    Slug.ROWS_DAMAGED: _REPLAY,
    Slug.SOURCE_SILENT: "check the server, its address and its key, and that the function poll_source runs",
    Slug.SOURCE_REJECTS: "`imagefeed doctor` shows what is rejected: user, password, key, host key or folder",
    Slug.GAP: "the server had nothing: ask its owner",
    Slug.GAP_UNHEARD: "the server does not answer, so it is unknown whether it had files: `imagefeed doctor` shows why",
    Slug.GAP_CLOSED: "archives arrive again: ask the server's owner for those of the gap",
    Slug.LISTING_INCOMPLETE: "archives may be missing from it: look at the folder with another client; if the server "
    "cuts long listings, set RECURSIVE or name a smaller folder in the URL; else send the line to the server's owner",
    Slug.ENTRY_UNREADABLE: "nothing, if no archive is there; else ask the server's owner for the right to read it",
    Slug.NOTHING_MATCHES: "if this file is an archive, change PATTERN to match its name; else ask the server's owner",
    Slug.STAMP_MISFIT: "change STAMP to fit the file's name; until then the modified time is used",
    Slug.NOT_POLLED: "wait for the first poll; if none comes: `imagefeed doctor`",
    Slug.NOT_JUDGED: "its promises are neither in its state nor in this shell's settings: check that the app polls",
    Slug.NOTHING_READABLE: "{cure}",
    Slug.PIPELINE_STOPPED: "correct the settings; reconcile then processes the archives of the last PIPELINE_WINDOW; "
    "for older ones: `imagefeed replay --source SOURCE --since 30d`",
    Slug.REFUSED: "{cure}",
    Slug.EMPTY: "nothing if such archives are expected; else check the hook, or ask the server's owner",
    Slug.MEMBERS_REFUSED: "`imagefeed refused {source}` shows the reasons",
    Slug.OUTDATED_RESULTS: "to make them again with the newer decoder: `imagefeed replay --source {source} --method "
    "'{name}' --since 30d`",
    Slug.NEAR_LIMIT: "{cure}",
    Slug.BLOCKS_UNCHECKED: "nothing is damaged: each block was sent a second time with an MD5, which takes twice the "
    "time; look for a proxy or gateway before the account that removes the header x-ms-content-crc64",
    Slug.BY_HAND: "nothing if the upload is expected",
    Slug.QUEUE_UNHEARD: "start the app; or check that its DATA_STORAGE settings name this account, that no "
    "AzureWebJobsDATA_STORAGE and no ConnectionStrings entry of either name overrides them, that the app's identity "
    "has the role Storage Queue Data Contributor there, and that AzureWebJobs.{name}.Disabled is not set; the host's "
    "log names a trigger that failed to start, and `imagefeed doctor --smoke` tests it",
    Slug.FUNCTION_OVERDUE: "restart the app, because timers are known to stop after a deployment; if that does not "
    "help, a wrong setting disables it (`imagefeed doctor --app NAME` shows it) or its calls fail (see its log)",
    Slug.FUNCTION_NEVER_RAN: "normal only just after the app's first start; `imagefeed doctor --app NAME` shows "
    "whether a wrong setting disables it",
    Slug.POISON: _GIVEN_UP,
    Slug.DEAD_LETTERS: _GIVEN_UP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem, or one fact worth knowing."""

    slug: Slug
    source: str = ""
    """Empty if the finding concerns the whole app."""
    archive: str = ""
    """Stamp and version, as in the URL of the archive's page."""
    name: str = ""
    """The file path, blob, function or other object that the finding is about."""
    since: datetime | None = None
    """The archive's stamp, or when the problem began; None if unknown."""
    until: datetime | None = None
    """When the problem ended, or the deadline to act; None if it is ongoing."""
    detail: str = ""

    @property
    def severity(self) -> Severity:
        """Return NOTICE or MISSING, by the slug."""
        return Severity.NOTICE if self.slug in NOTICES else Severity.MISSING

    @property
    def advice(self) -> str:
        """Return what to do; commands are in backticks."""
        advice = ADVICE[self.slug].replace("{cure}", self._cure())
        return advice.format(source=self.source, archive=self.archive, name=self.name)

    def _cure(self) -> str:
        if self.slug is Slug.NEAR_LIMIT:
            return cure_of_limit(self.name)
        return cure_of(self.detail, whole=self.slug is Slug.NOTHING_READABLE)

    @property
    def details(self) -> str:
        """Return the end and the detail as readable text."""
        until = f"until {self.until:%Y-%m-%d %H:%M:%S}" if self.until else ""
        return "; ".join(filter(None, (until, self.detail)))

    @property
    def message(self) -> str:
        """Return the whole finding on one line, for output without columns."""
        return ": ".join(filter(None, (self.source, self.slug.words, self.name, self.details, self.advice)))


def few(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the first FEW findings of each slug and source, then one finding that counts the rest."""
    seen, last = Counter[tuple[str, Slug]](), {}
    for finding in findings:
        kind = (finding.source, finding.slug)
        seen[kind] += 1
        last[kind] = finding
        if seen[kind] <= FEW:
            yield finding
    for kind, number in seen.items():
        if number > FEW:
            yield replace(last[kind], name=f"{number - FEW} more", archive="", since=None, until=None, detail="")
