"""What the doctor finds: one line each, in plain words, and without any secret."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from config.settings import Settings
from ops.text import clean

_SHORTEST_SECRET = 4
"""A shorter one would blacken words that merely contain it."""


class Sign(StrEnum):
    """How a check ended."""

    OK = "ok"
    WRONG = "WRONG"
    UNKNOWN = "not looked"
    """It could not be looked at, and why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what it was about, and what there is to say, with what to do where it is wrong."""

    sign: Sign
    about: str
    told: str


def ok(about: str, told: str) -> Finding:
    """All is well."""
    return Finding(Sign.OK, about, told)


def wrong(about: str, told: str) -> Finding:
    """Somebody has to do something."""
    return Finding(Sign.WRONG, about, told)


def unknown(about: str, told: str) -> Finding:
    """Nobody knows, and that is said."""
    return Finding(Sign.UNKNOWN, about, told)


def secrets_of(settings: Settings) -> Collection[str]:
    """Give what must never be shown: a server may repeat a password in its answer."""
    endpoints = [source.endpoint for source in settings.sources.values()]
    found = {text for e in endpoints for text in (e.password, e.private_key, e.passphrase) if text}
    return found | {settings.storage.connection or ""}


def line(finding: Finding, secrets: Iterable[str] = ()) -> str:
    """Write a finding as one line that tells a terminal nothing but text."""
    return clean(f" {finding.sign:<10}  {finding.about:<14}  {redacted(finding, secrets)}")


def redacted(finding: Finding, secrets: Iterable[str] = ()) -> str:
    """Return a finding's text in one line, without secrets."""
    text = finding.told
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return " ".join(text.split())


def summary(findings: Sequence[Finding]) -> str:
    """Count how the checks ended."""
    counts = {sign: sum(finding.sign is sign for finding in findings) for sign in Sign}
    told = f"{counts[Sign.OK]} ok, {counts[Sign.WRONG]} wrong"
    return told + (f", {counts[Sign.UNKNOWN]} not looked at" if counts[Sign.UNKNOWN] else "")
