"""Classifies the reasons of refusals by what cures them. Pure."""

import re
from collections.abc import Mapping
from enum import StrEnum


class Cause(StrEnum):
    """Cause of a refusal."""

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
        r"|no format that is read|an archive in the archive|of which only|written sparse"
        r"|is several zips in one: "
    ),
    Cause.CRASH: re.compile(r"process that decodes it|out of memory|^MemoryError$"),
    Cause.COPY: re.compile(r"copy it again"),
    Cause.CHANGED: re.compile(r"since its preprocessing began|its plan was made for"),
    Cause.BROKEN: re.compile(
        r"cannot be decoded|cut off|no encoder writes|damaged|directory|end record|its CRC|corrupt|are broken|overlaps"
        r"|truncated|zip64"
    ),
}
"""The first pattern that matches decides. HOOK is first because a hook's message may contain any text."""

CURES: Mapping[Cause, str] = {
    Cause.HOOK: "fix the hook and deploy it, then {again}",
    Cause.LIMIT: "raise the setting that the reason names, then {again}",
    Cause.SETTINGS: "change the setting that the reason names, then {again}",
    Cause.UNSUPPORTED: "convert it, or ask the server's owner to send it, in a form that is read (image-formats.md)",
    Cause.CRASH: "give the app more memory, or fix the hook if there is one, then {again}",
    Cause.COPY: "copy the file to its blob again",
    Cause.CHANGED: "nothing if its blob was replaced or deleted on purpose; else {again}",
    Cause.BROKEN: "ask the server's owner to send it again under the same name",
    Cause.UNKNOWN: "fix the cause, or ask the server's owner to send it again under the same name; then {again}",
}
"""Advice for each cause; `{again}` is replaced by the command that preprocesses again."""
_ONE = "`imagefeed replay --archive {source}/{archive}`"
_REFUSED = "`imagefeed replay --refused --source {source}`"
_NEW_PIPELINE = "`imagefeed replay --source {source} --since 48h`"
"""A changed hook or setting makes a new pipeline, which has refused nothing yet."""


def cause_of(reason: str) -> Cause:
    """Return the cause of a refusal from the reason in the ledger."""
    return next((cause for cause, pattern in _PATTERNS.items() if pattern.search(reason)), Cause.UNKNOWN)


def cure_of(reason: str, *, whole: bool) -> str:
    """Return what to do about one refused archive or, if `whole`, about all refusals of a source."""
    cause = cause_of(reason)
    of_source = _NEW_PIPELINE if cause in (Cause.HOOK, Cause.SETTINGS) else _REFUSED
    return CURES[cause].replace("{again}", of_source if whole else _ONE)
