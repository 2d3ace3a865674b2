"""Meanings of the texts of FTP replies that their codes do not show."""

import re

_STEMS = r"""
trun[ck] tron[cq] incomplet unvollst onvolledig incomplèt ufullst ofullst niekompletn neúpln неполн 不完整 不完全 불완전
beschr.{1,2}nkt gek.{1,2}rzt abgeschnitten afgekort avkort afrundet skr.{1,2}ten zkr.{1,2}cen obci.{1,2}t csonk
shkurtuar усеч обрез огранич 截断 截斷 切り捨て 잘림
fehler l.{1,2}sef[ej]+[il]+\b l.{1,2}sfel erreur errore erro\b eroare chyb[ay] olvas.{1,2}si b.{1,2}.{1,2}d\b.odczytu
leesfout gabim okuma.hata k.{1,2}saltma ошибк 错误 錯誤 エラー 오류
verweigert refus[ée] denegad negad negat[oa] geweigerd odm.{1,2}tnut отказано 拒绝 拒絕
speicher geheugen hukommelse minnet memoria m.{1,2}moire pam.{1,2}[tť]
"""
"""Words by which servers say in other languages that a listing was cut short or failed, Pure-FTPd's among them. A dot
stands for a letter that is not ASCII, because the server's encoding may not be that of the names."""
_WRONG = re.compile(
    r"truncated|incomplete|\bpartial|\bnot (?:a )?complete|\bnot all\b|\bbut\b|\bfail|\berrors?\b"
    r"|denied|not permitted|cannot|can.?t\b|could ?n.t|could not|unable|aborted|interrupted|out of memory|not enough"
    r"|too many|exceed|\bonly (?:the )?(?:first |last )?\d|\bonly the (?:first|last)"
    r"|\bfirst \d+ (?:entr|file|match|item|line)"
    r"|(?:limit|maximum) (?:of|reached)|(?:list|output|result|entr)\S* (?:\S+ ){0,3}(?:limited|restricted|stopped)"
    r"|\bmore (?:file|entr|match|item)|omitted|skipped|timed out|timeout (?:while|reading|during)"
    rf"|{'|'.join(_STEMS.split())}",
    re.IGNORECASE,
)
_PART = re.compile(
    r"\b(\d+) (?:out )?of (\d+) (?:match|file|entr|item|line|name|folder|director|object)", re.IGNORECASE
)
_NONE = r"0|no|none|without|ohne|keine?|sans|aucune?|sin|senza|nessun|sem|zonder|geen|bez|без"
_FAULTS = r"(?:error|fail|fehler|erreur|errore|fout|chyb|ошиб|skipped|omitted|truncated|aborted|denied)\w*"
_HARMLESS = re.compile(
    rf"\b(?:{_NONE})(?: \w+)? {_FAULTS}|\b{_FAULTS}(?:\(s\))?\s*[:=]\s*(?:{_NONE})\b|\berror-free|\b0 error\(s\)"
    r"|\bfehlerfrei|(?:[没沒]有|[无無])(?:错误|錯誤)|(?:错误|錯誤|오류)\W{0,2}0\b"
    r"|エラー(?:は?ありません|なし)|오류가? ?없"
    r"|\b\d+ of \d+ \w+ used\b"
    # A folder's path.
    r'|"(?:/|[A-Z]:)[^"]*"',
    re.IGNORECASE,
)
_EMPTY = re.compile(
    r"no (?:such )?(?:files?|folders?|director(?:y|ies)|members?|match(?:es)?|entries|data sets?)\b|empty"
    r"|not found|(?:not|n.t) exist|(?:cannot|can.?t|could not) find",
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(r"denied|permission|permitted|forbidden|not allowed|access|privilege|authori", re.IGNORECASE)
_QUOTED = re.compile(r"""2\d\d[ -](?:.*?\s)?(?P<quote>["'])(?P<path>(?:(?P=quote){2}|(?!(?P=quote)).)+)(?P=quote)""")
_BARE = re.compile(r"2\d\d[ -](?:.*?\s)??(?P<path>(?:[/\\]|[A-Za-z]:[\\/]).*?)(?:,? +(?:is\b|\().*|\.?)", re.DOTALL)


def complaint(reply: str) -> str | None:
    """Return the line of a reply to a listing which says that it is incomplete; None if there is none."""
    return next((line.strip() for line in reply.splitlines() if _complains(_HARMLESS.sub("", line))), None)


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
    # No splitlines: bytes of UTF-8 may look like its other line breaks.
    lines = reply.split("\n")
    if match := next(filter(None, map(_QUOTED.match, lines)), None):
        return match["path"].replace(2 * match["quote"], match["quote"])
    match = next(filter(None, map(_BARE.fullmatch, lines)), None)
    return match["path"] if match else None
