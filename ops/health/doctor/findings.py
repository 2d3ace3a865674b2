"""Results of the doctor's checks, rendered as one line each without secrets."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from config.settings import Settings
from imagefeed.terminal import clean

_SHORTEST_SECRET = 4
"""Shorter secrets are not masked because they would mask ordinary words that contain them."""


class CheckStatus(StrEnum):
    """Result of a check."""

    OK = "ok"
    WRONG = "WRONG"
    UNKNOWN = "unknown"
    """The check was not possible; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check: status, subject and message; the message of WRONG says what to do."""

    status: CheckStatus
    about: str
    message: str


def ok(about: str, message: str) -> Finding:
    """Return a finding of a check that passed."""
    return Finding(CheckStatus.OK, about, message)


def wrong(about: str, message: str) -> Finding:
    """Return a finding of a check that failed and needs action."""
    return Finding(CheckStatus.WRONG, about, message)


def unknown(about: str, message: str) -> Finding:
    """Return a finding of a check that was not possible."""
    return Finding(CheckStatus.UNKNOWN, about, message)


def secrets_of(settings: Settings) -> Collection[str]:
    """Return texts that must not be printed: a server may repeat a password in its answer."""
    endpoints = [source.endpoint for source in settings.sources.values()]
    secrets = {text for e in endpoints for text in (e.password, e.private_key, e.passphrase) if text}
    return secrets | {settings.storage.connection or ""}


def line(finding: Finding, secrets: Iterable[str] = ()) -> str:
    """Return a finding as one line without secrets and terminal control characters."""
    return clean(f" {finding.status:<10}  {finding.about:<14}  {redacted(finding, secrets)}")


def redacted(finding: Finding, secrets: Iterable[str] = ()) -> str:
    """Return a finding's message in one line, without secrets."""
    message = finding.message
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            message = message.replace(secret, "***")
    return " ".join(message.split())


def summary(findings: Sequence[Finding]) -> str:
    """Return the number of checks by status, as text."""
    counts = {status: sum(finding.status is status for finding in findings) for status in CheckStatus}
    message = f"{counts[CheckStatus.OK]} ok, {counts[CheckStatus.WRONG]} wrong"
    return message + (f", {counts[CheckStatus.UNKNOWN]} unknown" if counts[CheckStatus.UNKNOWN] else "")
