"""The status and findings as JSON."""

import json
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ops.health.findings import Finding, Severity
from ops.web.model import Status

_OF_FINDING = ("slug", "severity", "source", "archive", "name", "since", "until", "detail", "advice")


def to_json(status: Status) -> bytes:
    """Return the status as JSON: times in ISO 8601 and UTC, durations in seconds, sizes in bytes."""
    return (json.dumps(plain(status), indent=1) + "\n").encode("ascii")


def plain(value: Any) -> Any:
    """Return a value as one that `json.dumps` can write."""
    match value:
        case Finding():
            return {name: plain(getattr(value, name)) for name in _OF_FINDING}
        case _ if is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        case dict():
            return {str(name): plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        case timedelta():
            return value.total_seconds()
        case Severity():
            return value.name.lower()
        case _:
            return value
