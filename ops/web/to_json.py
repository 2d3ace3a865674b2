"""The status as JSON for machines."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from ops.web.model import Severity, Status


def to_json(status: Status) -> bytes:
    """Write it all: times as ISO 8601 in UTC, lengths of time in seconds, sizes in bytes."""
    return (json.dumps(_plain(asdict(status)), indent=1) + "\n").encode("ascii")


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        case timedelta():
            return value.total_seconds()
        case Severity():
            return value.name.lower()
        case _:
            return value
