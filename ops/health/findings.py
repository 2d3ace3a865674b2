"""What an audit can find, and what is to be done about it."""

import re
import shlex
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """What is the matter with an archive, a file or a source."""

    NOT_COPIED = "not copied"
    FORGOTTEN = "lost sight of"
    EXPIRED = "expired"
    RAW = "raw blob missing"
    RAW_DAMAGED = "raw blob damaged"
    LEDGER = "ledger row missing"
    BATCHES = "batch rows missing"
    UNPROCESSED = "not preprocessed"
    FAILED = "failed"
    SHARD = "shard missing"
    SHARD_DAMAGED = "shard damaged"
    ROWS = "image rows missing"
    ROWS_DAMAGED = "image rows damaged"
    SILENT = "no answer"
    NEAR_DELETION = "near deletion"
    NO_ACCESS = "refused by the server"
    GAP = "gap"
    UNHEARD = "gap without an answer"
    NOTHING_MATCHES = "nothing matches"
    STAMP_MISFIT = "stamp does not fit"
    NOT_JUDGED = "not judged"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    MANUAL_UPLOAD = "put by hand"


NOTICES = frozenset({Kind.REFUSED, Kind.SUPERSEDED, Kind.MANUAL_UPLOAD, Kind.STAMP_MISFIT, Kind.NOT_JUDGED})
"""Worth knowing, but nothing that somebody promised is missing."""

_VERSION = re.compile(r"/\d{8}T\d{6}Z\.([0-9a-f]{8})\.[^/]*$")
_REBUILD = "`imagefeed rebuild {source}`"
_REPLAY = "`imagefeed replay --archive {archive}`"
_ADVICE = {
    Kind.NOT_COPIED: "`imagefeed ls {source}` tells the reason; fetch it by hand while it is there",
    Kind.FORGOTTEN: "look for it on the server; if it is gone, ask its owner, and put it into raw/{source}/ by hand",
    Kind.EXPIRED: "deleted before it was copied: ask its owner for it, and put it into raw/{source}/ by hand",
    Kind.RAW: "undelete the blob; or, while the server has it, delete state/sources/{source}.json: it is copied again",
    Kind.RAW_DAMAGED: "restore an older version of the blob; or delete it, and do as for one that is missing",
    Kind.LEDGER: _REBUILD,
    Kind.BATCHES: _REBUILD,
    Kind.UNPROCESSED: "reconcile drives it again within PIPELINE_WINDOW; before that: " + _REPLAY,
    Kind.FAILED: "remove the reason, then " + _REPLAY,
    Kind.SHARD: _REPLAY,
    Kind.SHARD_DAMAGED: _REPLAY,
    Kind.ROWS: _REPLAY,
    Kind.ROWS_DAMAGED: _REPLAY,
    Kind.SILENT: "check the server, its address and its key; the function poll_source must run",
    Kind.NEAR_DELETION: "`imagefeed ls {source}` tells the reason; fetch it by hand before that",
    Kind.NO_ACCESS: "`imagefeed doctor` tells what it refuses: user, password, key, host key or folder",
    Kind.GAP: "the server had nothing: ask its owner",
    Kind.UNHEARD: "whether there were files will show when it answers: `imagefeed doctor`",
    Kind.NOTHING_MATCHES: "if it is an archive, set PATTERN to what matches its name; else ask the server's owner",
    Kind.STAMP_MISFIT: "set STAMP to what fits its name: until then the modified time stands in",
    Kind.NOT_JUDGED: "the source's state lacks what it promises, and so does this shell: does the app poll?",
    Kind.REFUSED: "nothing, if the archive is broken; after a change of limits " + _REPLAY,
    Kind.SUPERSEDED: "nothing: its path has a newer version",
    Kind.MANUAL_UPLOAD: "nothing, if you know who put it there",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that an audit found."""

    source: str
    kind: Kind
    name: str
    """The file's path, the blob, or what else it is that is missing."""
    since: datetime | None
    """The archive's stamp, or when it began; None if nobody knows."""
    detail: str = ""
    blob: str = ""
    """The archive's raw blob, where it has one."""

    @property
    def missing(self) -> bool:
        """Something is missing, or about to be; not only worth knowing."""
        return self.kind not in NOTICES

    @property
    def advice(self) -> str:
        """What to do; commands are in backticks."""
        version = _VERSION.search(self.blob)
        archive = f"{self.source}/{version[1]}" if version else shlex.quote(self.blob)
        return _ADVICE[self.kind].format(source=self.source, archive=archive)
