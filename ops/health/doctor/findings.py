"""What the doctor finds: one line each, in plain words, and without any secret."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from config.settings import Settings
from imagefeed.terminal import clean

_SHORTEST_SECRET = 4
"""A shorter one would blacken words that merely contain it."""


class CheckStatus(StrEnum):
    """How a check ended."""

    OK = "ok"
    WRONG = "WRONG"
    UNKNOWN = "not looked"
    """It could not be looked at, and why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what it was about, and what there is to say, with what to do where it is wrong."""

    status: CheckStatus
    about: str
    message: str


def ok(about: str, message: str) -> Finding:
    """All is well."""
    return Finding(CheckStatus.OK, about, message)


def wrong(about: str, message: str) -> Finding:
    """Somebody has to do something."""
    return Finding(CheckStatus.WRONG, about, message)


def unknown(about: str, message: str) -> Finding:
    """Nobody knows, and that is said."""
    return Finding(CheckStatus.UNKNOWN, about, message)


def secrets_of(settings: Settings) -> Collection[str]:
    """Give what must never be shown: a server may repeat a password in its answer."""
    endpoints = [source.endpoint for source in settings.sources.values()]
    secrets = {text for e in endpoints for text in (e.password, e.private_key, e.passphrase) if text}
    return secrets | {settings.storage.connection or ""}


def line(finding: Finding, secrets: Iterable[str] = ()) -> str:
    """Write a finding as one line that tells a terminal nothing but text."""
    return clean(f" {finding.status:<10}  {finding.about:<14}  {redacted(finding, secrets)}")


def redacted(finding: Finding, secrets: Iterable[str] = ()) -> str:
    """Return a finding's message in one line, without secrets."""
    message = finding.message
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            message = message.replace(secret, "***")
    return " ".join(message.split())


def summary(findings: Sequence[Finding]) -> str:
    """Count how the checks ended."""
    counts = {status: sum(finding.status is status for finding in findings) for status in CheckStatus}
    message = f"{counts[CheckStatus.OK]} ok, {counts[CheckStatus.WRONG]} wrong"
    return message + (f", {counts[CheckStatus.UNKNOWN]} not looked at" if counts[CheckStatus.UNKNOWN] else "")
