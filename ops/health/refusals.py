"""Why archives and members are refused: the reasons, told apart by what cures them. Pure."""

import re
from collections.abc import Mapping
from enum import StrEnum


class Cause(StrEnum):
    """What is to blame for a refusal."""

    HOOK = "hook"
    LIMIT = "limit"
    SETTINGS = "settings"
    UNSUPPORTED = "unsupported"
    CRASH = "crash"
    COPY = "copy"
    CHANGED = "changed"
    BROKEN = "broken"
    UNKNOWN = "unknown"


_PATTERNS: Mapping[Cause, re.Pattern[str]] = {
    Cause.HOOK: re.compile(r"PREPROCESS_HOOK"),
    Cause.LIMIT: re.compile(r"LIMIT_[A-Z]|raise BATCH_MEMBERS"),
    Cause.SETTINGS: re.compile(r"PREPROCESS_"),
    Cause.UNSUPPORTED: re.compile(
        r"not supported|is encrypted|split zip|symbolic link|without zip64|accepted format|without loss|go beyond"
    ),
    Cause.CRASH: re.compile(r"process that decodes it|out of memory|^MemoryError$"),
    Cause.COPY: re.compile(r"copy it again"),
    Cause.CHANGED: re.compile(r"since its preprocessing began|its plan was made for"),
    Cause.BROKEN: re.compile(
        r"cannot be decoded|cut off|no encoder writes|damaged|directory|end record|its CRC|corrupt|overlaps|truncated"
        r"|zip64"
    ),
}
"""The first that occurs in a reason decides: a hook may say anything of itself."""

CURES: Mapping[Cause, str] = {
    Cause.HOOK: "mend the hook and deploy it, then {again}",
    Cause.LIMIT: "raise the setting that the reason names, then {again}",
    Cause.SETTINGS: "change the setting that the reason names, then {again}",
    Cause.UNSUPPORTED: "ask the server's owner to send it in a form that can be read",
    Cause.CRASH: "give the app more memory, or mend the hook if there is one, then {again}",
    Cause.COPY: "copy it into its blob again",
    Cause.CHANGED: "nothing, if somebody replaced or deleted its blob; else {again}",
    Cause.BROKEN: "ask the server's owner to send it again under the same name",
    Cause.UNKNOWN: "remove the reason, or ask the server's owner to send it again under the same name; then {again}",
}
"""What to do; `{again}` stands for the command that preprocesses again."""
_ONE = "`imagefeed replay --archive {source}/{archive}`"
_REFUSED = "`imagefeed replay --refused --source {source}`"
_NEW_PIPELINE = "`imagefeed replay --source {source} --since 48h`"
"""A hook or setting that was changed makes another pipeline, under which nothing was refused yet."""


def cause_of(reason: str) -> Cause:
    """Tell what is to blame, by the reason as the ledger keeps it."""
    return next((cause for cause, pattern in _PATTERNS.items() if pattern.search(reason)), Cause.UNKNOWN)


def cure_of(reason: str, *, whole: bool) -> str:
    """Say what to do about a refused archive, or about all that was refused of a source."""
    cause = cause_of(reason)
    of_source = _NEW_PIPELINE if cause in (Cause.HOOK, Cause.SETTINGS) else _REFUSED
    return CURES[cause].replace("{again}", of_source if whole else _ONE)
