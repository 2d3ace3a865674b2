"""Generate the tables of docs/ from the code. `make docs` writes them, and a test compares the pages with them."""

import argparse
import ast
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

from config.settings import FLAT, PER_SOURCE
from config.telemetry import METRICS
from config.types import Setting
from imagefeed.durations import format_duration
from preprocess.image.formats import PACKED, SKIPPED, SUFFIXES, UNREAD, Skipped

PAGES = Path(__file__).parents[1] / "docs"
URL = "SOURCES__<NAME>__URL"
_URL_MEANING = (
    "Required. `sftp://user@host:22/folder`; also `ftp://`, `ftpes://` (explicit TLS) and `ftps://` (implicit TLS). "
    "The path is absolute; `/~/folder` is a folder below the one that the login leads to, `/~` that one itself."
)
SET_FIRST = (
    URL,
    *(f"SOURCES__<NAME>__{name}" for name in ("PASSWORD", "HOST_KEY", "INTERVAL", "RETENTION", "PATTERN", "STAMP")),
    *("PREPROCESS_WIDTH", "PREPROCESS_HEIGHT", "PREPROCESS_HOOK"),
)
"""The ten settings that people set first."""
SETTINGS: Mapping[str, Setting] = {
    **{f"SOURCES__<NAME>__{name}": setting for name, setting in PER_SOURCE.items()},
    **FLAT,
}
"""Every setting except a source's URL, by its name in the pages."""


def fill(text: str, tables: Mapping[str, str], command: str = "make docs") -> str:
    """Return a page with its tables replaced, which are between `<!-- NAME: COMMAND -->` and `<!-- /NAME -->`.

    Raises ValueError if the marks of a table are missing.
    """
    for name, table in tables.items():
        begin, end = f"<!-- {name}: {command} -->\n", f"<!-- /{name} -->"
        before, opened, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not opened or not closed:
            raise ValueError(f"fill the page: the marks {begin.strip()} and {end} are missing")
        text = f"{before}{opened}{table}\n{closed}{after}"
    return text


def settings_table(chosen: Callable[[str], bool]) -> str:
    """Return a table of the settings whose names `chosen` accepts: name, default, meaning."""
    rows = [f"| `{URL}` | | {_URL_MEANING} |"] if chosen(URL) else []
    for name, setting in SETTINGS.items():
        if chosen(name):
            default = default_text(setting)
            rows.append(f"| `{name}` | {f'`{default}` ' if default else ''}| {meaning(setting)} |")
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def default_text(setting: Setting) -> str:
    """Return a setting's default in the syntax of app settings; empty if there is none."""
    value = None if setting.field.default is MISSING else setting.field.default
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, tuple):
        return ",".join(f"{part:g}" for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def meaning(setting: Setting) -> str:
    """Return the docstring below a setting's field, in one line; empty if it has none."""
    texts = (dict(_field_docstrings(cls)) for cls in setting.group.__mro__ if cls is not object)
    return next((found[setting.field.name] for found in texts if setting.field.name in found), "")


def _field_docstrings(cls: type) -> Iterator[tuple[str, str]]:
    (body,) = ast.parse(dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            match after:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield statement.target.id, " ".join(text.split())


def _group(*prefixes: str) -> str:
    return settings_table(lambda name: name.startswith(prefixes) and name not in SET_FIRST)


def _metrics() -> str:
    rows = (
        f"| `{name}` | {about.kind} | {about.unit} | {', '.join(about.dimensions) or '–'} | {about.meaning} |"
        for name, about in METRICS.items()
    )
    return "\n".join(["| metric | kind | unit | by | meaning |", "|---|---|---|---|---|", *rows])


def _formats() -> str:
    rows = (f"| {name} | {_suffixes(suffixes)} |" for name, suffixes in SUFFIXES.items())
    return "\n".join(["| format | suffixes |", "|---|---|", *rows])


def _suffixes(suffixes: Iterable[str]) -> str:
    return ", ".join(f"`.{suffix}`" for suffix in suffixes)


def _skipped() -> str:
    rows = (
        f"| `{kind}` | {skipped.meaning} | {', '.join(f'`{name}`' for name in _names(skipped)) or '–'} |"
        for kind, skipped in SKIPPED.items()
    )
    return "\n".join(["| counted as | what it is | names and suffixes |", "|---|---|---|", *rows])


def _names(skipped: Skipped) -> Iterator[str]:
    yield from skipped.names
    yield from (f".{suffix}" for suffix in skipped.suffixes)


def _unread() -> str:
    rows = (f"| {group} | {_suffixes(unread.suffixes)} | {unread.cure} |" for group, unread in UNREAD.items())
    return "\n".join(["| such as | suffixes | what to do |", "|---|---|---|", *rows])


TABLES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "settings.md": {
        "first": lambda: settings_table(lambda name: name in SET_FIRST),
        "sources": lambda: _group("SOURCES__"),
        "storage": lambda: _group("DATA_STORAGE"),
        "schedules": lambda: _group("POLL_", "RECONCILE_"),
        "preprocessing": lambda: _group("PREPROCESS_"),
        "limits": lambda: _group("LIMIT_"),
        "batches": lambda: _group("BATCH_", "TABLE_"),
        "pipelines": lambda: _group("PIPELINE_"),
    },
    "image-formats.md": {
        "formats": _formats,
        "packed": lambda: _suffixes(PACKED),
        "refused": _unread,
        "skipped": _skipped,
    },
    "telemetry.md": {"metrics": _metrics},
}
"""Pages with their tables, by the names in their marks."""


def filled(page: str) -> str:
    """Return a page of docs/ with its tables generated from the current code."""
    tables = {name: table() for name, table in TABLES[page].items()}
    return fill((PAGES / page).read_text(encoding="utf-8"), tables)


def main() -> None:
    """Write every page."""
    argparse.ArgumentParser(prog="python -m local.docs", description=__doc__).parse_args()
    for page in TABLES:
        (PAGES / page).write_text(filled(page), encoding="utf-8")


if __name__ == "__main__":
    main()
