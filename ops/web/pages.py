"""HTML pages from values. The template engine escapes every value."""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from imagefeed import terminal
from imagefeed.model import Counts, State, by_kind
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
"""Most thumbnails on an archive's page."""
_COMMAND = re.compile(r"`([^`]+)`")
_MAX_REFUSALS = 200


def status_page(request: Request, status: Status) -> Response:
    """Return the page with the status of all sources."""
    drawn = [(source, timeline.draw(source, status.at)) for source in status.sources]
    return _page(request, "status.html", {"status": status, "drawn": drawn, "now": status.at})


def archive_page(request: Request, stored: StoredArchive, spec: SourceSpec | None, now: datetime) -> Response:
    """Return the page of one archive: its times, its images and its refused members."""
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
    """Return a page that shows only a message, with the HTTP status `status`."""
    return _page(request, "message.html", {"text": terminal.clean(" ".join(message.split())), "status": status}, status)


def _page(request: Request, template: str, values: Mapping[str, Any], status: int = 200) -> Response:
    html = _templates().get_template(template).render(**values, link=request.linker())
    # `encode` cannot fail: only lone surrogates cannot be encoded, and `clean` has replaced those.
    return respond(request, "text/html; charset=utf-8", html.encode(), status=status, policy=_POLICY)


def _advice(advice: str) -> Markup:
    """Return the text as HTML, with its commands in `<code>` so that they can be copied."""
    # `split` with one group returns text and commands in turn.
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
        "by_kind": by_kind,
        "clean": terminal.clean,
        "clock": text.clock,
        "moment": text.moment,
        "size": text.size,
        "span": text.span,
    }
    shape = environment.get_template("parts.html").module.shape  # type: ignore[attr-defined] # a macro
    # Rendered once here, because a page has thousands of marks.
    keys = {state: shape(state) for state in [*DisplayState, "missing"]}
    environment.globals |= {"KEYS": keys, "DisplayState": DisplayState, "Severity": Severity}
    environment.globals |= {"T": timeline, "STYLE": _STYLE, "count": terminal.count}
    return environment
