"""What the texts of FTP replies say, where their codes do not."""

import re

_WRONG = re.compile(
    r"truncated|incomplete|\bpartial|\bnot (?:a )?complete|\bnot all\b|\bbut\b|\bfail|(?<!no )(?<!without )\berrors?\b"
    r"|denied|not permitted|cannot|can.?t\b|could ?n.t|could not|unable|aborted|out of memory|too many|exceed"
    r"|only the (?:first|last)|(?:limit|maximum) (?:of|reached)",
    re.IGNORECASE,
)
_PART = re.compile(
    r"\b(\d+) (?:out )?of (\d+) (?:match|file|entr|item|line|name|folder|director|object)", re.IGNORECASE
)
_NO_ERRORS = re.compile(r"\b(?:0|no) (?:errors?|failed|failures?)\b", re.IGNORECASE)
_EMPTY = re.compile(
    r"no (?:such )?(?:files?|folders?|director(?:y|ies)|members?|match(?:es)?|entries|data sets?)\b|empty"
    r"|not found|(?:not|n.t) exist|(?:cannot|can.?t|could not) find",
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(r"denied|permission|permitted|forbidden|not allowed|access|privilege|authori", re.IGNORECASE)
_QUOTED = re.compile(r"""257[ -](?:.*?\s)?(?P<quote>["'])(?P<path>(?:(?P=quote){2}|(?!(?P=quote)).)+)(?P=quote)""")
_BARE = re.compile(r"257[ -](?:.*?\s)??(?P<path>(?:/|[A-Za-z]:[\\/]).*?)(?:,? +(?:is\b|\().*|\.?)", re.DOTALL)


def complaint(reply: str) -> str | None:
    """Return the line of a reply to a listing which says that it is incomplete; None if there is none."""
    return next((line.strip() for line in reply.splitlines() if _complains(_NO_ERRORS.sub("", line))), None)


def _complains(line: str) -> bool:
    part = _PART.search(line)
    return _WRONG.search(line) is not None or (part is not None and int(part[1]) < int(part[2]))


def says_absent(reply: str) -> bool:
    """Return whether a refusal says that there is nothing, and not that it is forbidden."""
    return _EMPTY.search(reply) is not None and not says_forbidden(reply)


def says_forbidden(reply: str) -> bool:
    """Return whether a refusal is for want of rights."""
    return _FORBIDDEN.search(reply) is not None


def current_folder(reply: str) -> str | None:
    """Return the path in a reply to PWD, with or without quotes; None if it names none."""
    if match := _QUOTED.match(reply):
        return match["path"].replace(2 * match["quote"], match["quote"])
    match = _BARE.fullmatch(reply)
    return match["path"] if match else None
