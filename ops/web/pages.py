"""HTML: values in, pages out. Everything from outside is escaped by the template engine."""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from imagefeed import terminal
from imagefeed.model import Counts, State
from ingest.model import SourceSpec
from ops import text
from ops.health.archive_checks import late_after
from ops.health.findings import Severity
from ops.health.load_archive import MAX_BYTES, MAX_ROWS, StoredArchive
from ops.web import timeline
from ops.web.assess import lag_of, make_mark
from ops.web.model import DisplayState, Status
from ops.web.responses import Request, Response, respond, source_hash

_FOLDER = Path(__file__).parent / "templates"
_STYLE = (_FOLDER / "status.css").read_text(encoding="utf-8")
SCRIPT = (_FOLDER / "refresh.js").read_text(encoding="utf-8")
_CODE = Markup("<code>{}</code>")
_POLICY = f"style-src {source_hash(_STYLE)}; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
MAX_THUMBNAILS = 24
"""Thumbnails on an archive's page."""
_COMMAND = re.compile(r"`([^`]+)`")
_MAX_REFUSALS = 200


def status_page(request: Request, status: Status) -> Response:
    """Show everything at a glance."""
    drawn = [(source, timeline.draw(source, status.at)) for source in status.sources]
    return _page(request, "status.html", {"status": status, "drawn": drawn, "now": status.at})


def archive_page(request: Request, stored: StoredArchive, spec: SourceSpec | None, now: datetime) -> Response:
    """Show one archive: its times, its images, and what was refused."""
    entry = stored.entry
    times = [(state, entry.times[state]) for state in State if state in entry.times]
    about = {
        "source": entry.archive.source,
        "entry": entry,
        "mark": make_mark(entry, now, late_after(spec)),
        "counts": entry.counts or Counts(),
        "times": sorted(times, key=lambda step: step[1]),
        "lag": lag_of(entry),
        "images": [row for row in stored.images if row.length <= MAX_BYTES][:MAX_THUMBNAILS],
        "known_images": len(stored.images),
        "refusals": stored.refusals[:_MAX_REFUSALS],
        "known_refusals": len(stored.refusals),
        "cut": stored.cut,
        "max_rows": MAX_ROWS,
        "only": text.only(entry.archive.stamp),
        "now": now,
    }
    return _page(request, "archive.html", about)


def message_page(request: Request, status: int, message: str) -> Response:
    """Say what is the matter."""
    return _page(request, "message.html", {"text": terminal.clean(" ".join(message.split())), "status": status}, status)


def _page(request: Request, template: str, values: Mapping[str, Any], status: int = 200) -> Response:
    html = _templates().get_template(template).render(**values, link=request.linker())
    # A lone surrogate, which stands for a byte that was no text, is cleaned before; nothing else cannot be written.
    return respond(request, "text/html; charset=utf-8", html.encode(), status=status, policy=_POLICY)


def _advice(advice: str) -> Markup:
    """Set commands apart, so that they can be copied."""
    # Every other part is one.
    parts = enumerate(_COMMAND.split(advice))
    return Markup("").join(_CODE.format(part) if number % 2 else escape(part) for number, part in parts)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "advice": _advice,
        "ago": text.ago,
        "clean": terminal.clean,
        "clock": text.clock,
        "moment": text.moment,
        "size": text.size,
        "span": text.span,
    }
    shape = environment.get_template("parts.html").module.shape  # type: ignore[attr-defined] # a macro
    # Drawn once, not once for each of thousands of marks.
    keys = {state: shape(state) for state in [*DisplayState, "missing"]}
    environment.globals |= {"KEYS": keys, "DisplayState": DisplayState, "Severity": Severity}
    environment.globals |= {"T": timeline, "STYLE": _STYLE, "count": terminal.count}
    return environment
