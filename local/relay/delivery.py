"""Deliver events to a webhook with the timeouts, status rules and retry schedule of Event Grid."""

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from local.relay.events import Event

_ACCEPTED = range(200, 205)
_NEVER_RETRIED = {400: "BadRequest", 413: "PayloadTooLarge"}
_AT_LEAST = {401: 300.0, 403: 300.0, 404: 300.0, 408: 120.0, 503: 30.0}
_SCHEDULE = (10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 10800.0, 21600.0, 43200.0)
_TIME_TO_LIVE = 24 * 3600.0
_OUTCOMES = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 408: "TimedOut", 503: "Busy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Result of one attempt."""

    status: int | None
    """HTTP status; None if there was no response."""
    detail: str
    seconds: float

    @property
    def accepted(self) -> bool:
        """Whether the event was delivered."""
        return self.status in _ACCEPTED

    @property
    def outcome(self) -> str:
        """The result in the terms of a dead-lettered event."""
        if self.status is None:
            return "TimedOut" if self.detail == "timed out" else "GenericError"
        return (_NEVER_RETRIED | _OUTCOMES).get(self.status, "GenericError")


@dataclass(slots=True)
class Delivery:
    """One event and its attempts."""

    event: Event
    published: float = field(default_factory=time.monotonic)
    attempts: int = 0
    due: float = 0.0
    """Time of the next attempt, on the monotonic clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Limits of delivery: the values of Event Grid, with times multiplied by `scale`."""

    max_attempts: int = 30
    scale: float = 1.0
    timeout: float = 30.0

    def retry_after(self, delivery: Delivery, answer: Answer) -> float | None:
        """Return the seconds until the next attempt; None if the event is given up."""
        if answer.status in _NEVER_RETRIED or delivery.attempts >= self.max_attempts:
            return None
        planned = _SCHEDULE[min(delivery.attempts, len(_SCHEDULE)) - 1]
        wait = max(planned, _AT_LEAST.get(answer.status or 0, 0.0)) * self.scale
        age = time.monotonic() - delivery.published
        return wait if age + wait <= _TIME_TO_LIVE * self.scale else None

    def reason(self, delivery: Delivery, answer: Answer) -> str:
        """Return why an event is given up, in the terms of Event Grid."""
        if answer.status in _NEVER_RETRIED:
            return _NEVER_RETRIED[answer.status]
        return "MaxDeliveryAttemptsExceeded" if delivery.attempts >= self.max_attempts else "TimeToLiveExceeded"


def post(to: str, event: Event, attempt: int, timeout: float) -> Answer:
    """Post one event to the webhook `to`; a lost connection is a result, not an exception."""
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "aeg-event-type": "Notification",
        "aeg-subscription-name": "LOCAL",
        "aeg-delivery-count": str(attempt - 1),
        "aeg-data-version": event["dataVersion"],
        "aeg-metadata-version": event["metadataVersion"],
    }
    started = time.monotonic()
    status, detail = _answer(Request(to, json.dumps([event]).encode(), headers, method="POST"), timeout)  # noqa: S310 - the user gives the URL
    return Answer(status=status, detail=detail, seconds=time.monotonic() - started)


def _answer(request: Request, timeout: float) -> tuple[int | None, str]:
    # No proxy, because a proxy in the environment cannot reach this machine's loopback address.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as response:
            return response.status, ""
    except HTTPError as exc:
        with exc:
            return exc.code, exc.read(200).decode(errors="replace")
    except (OSError, HTTPException) as exc:
        return None, str(getattr(exc, "reason", exc))


def dead_letter(delivery: Delivery, answer: Answer, reason: str) -> tuple[str, bytes]:
    """Return the name and content of the blob that Event Grid would write for an undeliverable event."""
    now = datetime.now(UTC)
    letter = delivery.event | {
        "deadLetterReason": reason,
        "deliveryAttempts": delivery.attempts,
        "lastDeliveryOutcome": answer.outcome,
        "publishTime": delivery.event["eventTime"],
        "lastDeliveryAttemptTime": now.isoformat().replace("+00:00", "Z"),
    }
    return f"LOCAL/{now:%Y/%m/%d/%H}/{delivery.event['id']}.json", json.dumps([letter]).encode()
