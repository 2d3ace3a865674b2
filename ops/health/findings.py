"""What can be the matter, how bad it is, and what to do about it. Log, audit, page and doctor only render it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum, StrEnum

from ops.health.limits import cure_of_limit
from ops.health.refusals import cure_of

FEW = 10
"""Findings of one slug that are told of a source; one more tells the number of the others."""


class Severity(IntEnum):
    """How much something needs a person."""

    FINE = 0
    NOTICE = 1
    """Worth a look; nothing that was promised is missing."""
    MISSING = 2
    """Something is missing, or about to be."""


class Slug(StrEnum):
    """What is the matter, for machines; docs/findings.md explains each."""

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
        """The same for people."""
        return self.replace("_", " ")


NOTICES = frozenset({
    Slug.GAP_CLOSED, Slug.STAMP_MISFIT, Slug.NOT_POLLED, Slug.NOT_JUDGED, Slug.REFUSED, Slug.MEMBERS_REFUSED,
    Slug.BY_HAND, Slug.FUNCTION_NEVER_RAN, Slug.CORRECTION_PENDING, Slug.OUTDATED_RESULTS, Slug.NEAR_LIMIT,
    Slug.ENTRY_UNREADABLE, Slug.BLOCKS_UNCHECKED,
})  # fmt: skip
"""Worth knowing, but nothing is missing that could still come."""

ANSWERS = frozenset({Slug.SOURCE_SILENT, Slug.SOURCE_REJECTS, Slug.NOT_POLLED})
"""Those of a source that is not listed as it should be."""

_REBUILD = "`imagefeed rebuild {source}`"
_REPLAY = "`imagefeed replay --archive {source}/{archive}`"
_GIVEN_UP = "reconcile takes them; at once: `imagefeed replay --poison --dead-letters`"
ADVICE: Mapping[Slug, str] = {
    Slug.NOT_COPIED: "`imagefeed ls {source}` tells the reason; fetch it by hand while it is there",
    Slug.NO_LONGER_LISTED: "look for it on the server; if it is gone, ask its owner, and put it into raw/{source}/ by "
    "hand",
    Slug.NEAR_DELETION: "`imagefeed ls {source}` tells the reason; fetch it by hand before that",
    Slug.EXPIRED: "deleted before it was copied: ask its owner for it, and put it into raw/{source}/ by hand",
    Slug.RAW_MISSING: "undelete the blob; or, while the server has it, delete state/sources/{source}.json: it is "
    "copied again",
    Slug.RAW_DAMAGED: "restore an older version of the blob; or delete it, and do as for one that is missing",
    Slug.LEDGER_MISSING: _REBUILD,
    Slug.BATCHES_MISSING: _REBUILD,
    Slug.NOT_PREPROCESSED: "reconcile drives it again within PIPELINE_WINDOW; before that: " + _REPLAY,
    Slug.FAILED: "remove the reason, then " + _REPLAY,
    Slug.CORRECTION_FAILED: f"if the archive is broken, ask its owner to send it again under the same name; else "
    f"remove the reason, then {_REPLAY}",
    Slug.CORRECTION_PENDING: "nothing, while it is on its way: readers take it once it is processed",
    Slug.SHARD_MISSING: _REPLAY,
    Slug.SHARD_DAMAGED: _REPLAY,
    Slug.ROWS_MISSING: _REPLAY,
    Slug.ROWS_DAMAGED: _REPLAY,
    Slug.SOURCE_SILENT: "check the server, its address and its key; the function poll_source must run",
    Slug.SOURCE_REJECTS: "`imagefeed doctor` tells what it rejects: user, password, key, host key or folder",
    Slug.GAP: "the server had nothing: ask its owner",
    Slug.GAP_UNHEARD: "whether there were files will show when it answers: `imagefeed doctor`",
    Slug.GAP_CLOSED: "it is over, and archives have come since: ask the server's owner for those between",
    Slug.LISTING_INCOMPLETE: "archives may be missing from it: look at the folder with another client; if the server "
    "cuts long listings, set RECURSIVE or name a smaller folder in the URL; else send the line to the server's owner",
    Slug.ENTRY_UNREADABLE: "nothing, if no archive lies there; else ask the server's owner for the right to read it",
    Slug.NOTHING_MATCHES: "if it is an archive, set PATTERN to what matches its name; else ask the server's owner",
    Slug.STAMP_MISFIT: "set STAMP to what fits its name: until then the modified time stands in",
    Slug.NOT_POLLED: "wait for the first poll; if none comes: `imagefeed doctor`",
    Slug.NOT_JUDGED: "the source's state lacks what it promises, and so does this shell: does the app poll?",
    Slug.NOTHING_READABLE: "{cure}",
    Slug.PIPELINE_STOPPED: "set it right, and reconcile takes up what came meanwhile within PIPELINE_WINDOW; what is "
    "older: `imagefeed replay --source SOURCE --since 30d`",
    Slug.REFUSED: "{cure}",
    Slug.MEMBERS_REFUSED: "`imagefeed refused {source}` tells the reasons",
    Slug.OUTDATED_RESULTS: "if they are to be as new ones are: `imagefeed replay --source {source} --method '{name}' "
    "--since 30d`",
    Slug.NEAR_LIMIT: "{cure}",
    Slug.BLOCKS_UNCHECKED: "nothing is damaged: each block was sent a second time with an MD5, which takes twice the "
    "time; look for a proxy or gateway before the account that removes the header x-ms-content-crc64",
    Slug.BY_HAND: "nothing, if you know who put it there",
    Slug.QUEUE_UNHEARD: "start the app; or check that its DATA_STORAGE settings lead to this account, that no "
    "AzureWebJobsDATA_STORAGE and no ConnectionStrings entry of either name comes before them, that the app's identity "
    "has the role Storage Queue Data Contributor there, and that AzureWebJobs.{name}.Disabled is not set; the host's "
    "log names a trigger that failed to start, and `imagefeed doctor --smoke` tries it",
    Slug.FUNCTION_OVERDUE: "restart the app: timers are known to stop after a deployment; or a wrong setting switches "
    "it off, which `imagefeed doctor --app NAME` tells; or its calls fail: look into its log",
    Slug.FUNCTION_NEVER_RAN: "right at the start of an app only; `imagefeed doctor --app NAME` tells whether a wrong "
    "setting switches it off",
    Slug.POISON: _GIVEN_UP,
    Slug.DEAD_LETTERS: _GIVEN_UP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is the matter."""

    slug: Slug
    source: str = ""
    """Empty where it is of the app as a whole."""
    archive: str = ""
    """Stamp and version, as in its page's address."""
    name: str = ""
    """The file's path, the blob, the function, or what else it is that is missing."""
    since: datetime | None = None
    """The archive's stamp, or when it began; None if nobody knows."""
    until: datetime | None = None
    """When it ended, or will be too late; None if it goes on."""
    detail: str = ""

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return Severity.NOTICE if self.slug in NOTICES else Severity.MISSING

    @property
    def advice(self) -> str:
        """What to do; commands are in backticks."""
        advice = ADVICE[self.slug].replace("{cure}", self._cure())
        return advice.format(source=self.source, archive=self.archive, name=self.name)

    def _cure(self) -> str:
        if self.slug is Slug.NEAR_LIMIT:
            return cure_of_limit(self.name)
        return cure_of(self.detail, whole=self.slug is Slug.NOTHING_READABLE)

    @property
    def details(self) -> str:
        """All that is known of it beside its name, for people."""
        until = f"until {self.until:%Y-%m-%d %H:%M:%S}" if self.until else ""
        return "; ".join(filter(None, (until, self.detail)))

    @property
    def message(self) -> str:
        """All of it in one line, for where there are no columns."""
        return ": ".join(filter(None, (self.source, self.slug.words, self.name, self.details, self.advice)))


def few(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the first few findings of each slug and source, then how many more there are."""
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
