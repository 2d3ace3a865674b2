"""Pages: untrusted names stay text, links keep the key, and browsers are restricted."""

import gzip
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import pytest

from config.errors import SettingsError
from imagefeed.errors import StoreUnavailableError
from imagefeed.model import Counts, Refusal, State
from ingest.model import SourceState
from ops.health.load_archive import StoredArchive
from ops.web.pages import archive_page, message_page, status_page
from ops.web.responses import Request, Response, guarded, source_hash, way_up
from ops.web.to_json import to_json
from tests.unit.ops.web.made import NOW, SPEC, entry, image_entry, regular, status_of

HOSTILE = """</title><script>alert(1)</script><img src=x onerror=alert(1)>"onload='x' {{ 7*7 }} \u202e\udcff&amp;"""
INNOCENT = {"main", "header", "nav", "section", "p", "a", "svg", "path", "rect", "use", "img"}


class Page(HTMLParser):
    """A browser's view of a page: its elements, their attributes, and its text."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(response.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> Sequence[str]:
        """Return all addresses of links and resources."""
        addresses = (attrs.get(name) for _, attrs in self.elements for name in ("href", "src"))
        return [link for link in addresses if link and not link.startswith(("#", "data:"))]


def hostile_status() -> Response:
    entries = [
        entry(3, path=HOSTILE),
        entry(13, State.FAILED, reason=HOSTILE, path=HOSTILE),
        entry(23, counts=Counts(members=2, images=1, refused=1), path=HOSTILE),
        *regular(3, newest=33),
    ]
    source_state = SourceState(source="radar", listed_at=NOW, error=HOSTILE)
    return status_page(Request(), status_of(entries, source_state, images=[image_entry(HOSTILE)]))


def archive(**values: Any) -> Response:
    refusal = Refusal(member=1, name=HOSTILE, reason=HOSTILE, error=HOSTILE)
    images = [image_entry(HOSTILE).row]
    stored = StoredArchive(entry=entry(3, path=HOSTILE, reason=HOSTILE), images=images, refusals=[refusal], cut=False)
    return archive_page(Request(root="../../", **values), stored, SPEC, NOW)


@pytest.mark.parametrize("make", [hostile_status, archive, lambda: message_page(Request(), 404, HOSTILE)])
def test_names_of_strangers_are_text_and_never_markup(make: Any) -> None:
    response = make()
    page = Page(response)
    scripts = [attrs for tag, attrs in page.elements if tag == "script"]
    assert all(attrs.get("src", "").startswith("status/refresh.js") for attrs in scripts)  # type: ignore[union-attr] # always a text
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on") or name == "style"]
    assert "alert(1)" in page.text
    assert "49" not in re.findall(r"\b49\b", page.text)
    assert "\u202e" not in response.body.decode()


def test_a_style_runs_by_its_hash_and_a_script_by_its_address_alone() -> None:
    response = status_page(Request(), status_of(regular()))
    policy = response.headers["Content-Security-Policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", response.body.decode(), re.DOTALL)
    assert f"style-src {source_hash(style)};" in policy
    assert "script-src 'self';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "private, max-age=5"


def test_nothing_comes_from_elsewhere_and_every_link_is_relative() -> None:
    for response in (hostile_status(), archive()):
        assert not [link for link in Page(response).links() if re.match(r"[a-z]+:|/", link)]


def test_links_carry_the_key_only_if_it_came_in_the_address() -> None:
    key = 'a&b="c"/+'
    first = status_page(Request(code=key), status_of(regular(), images=[image_entry("a")]))
    for response in (first, archive(code=key)):
        links = Page(response).links()
        assert links
        assert all(link.endswith("?code=a%26b%3D%22c%22%2F%2B") for link in links)
    assert not [link for link in Page(archive()).links() if "?" in link]
    assert "secret" not in repr(Request(code="secret"))


def test_an_address_with_a_slash_at_its_end_leads_to_the_same_places() -> None:
    assert way_up("https://app/api/status?code=x/", 0) == ""
    assert way_up("https://app/api/status/", 0) == "../"
    assert way_up("https://app/api/archives/radar/1", 2) == "../../"


def test_a_page_that_did_not_change_is_not_sent_again() -> None:
    status = status_of(regular())
    first = status_page(Request(gzip=True), status)
    again = status_page(Request(if_none_match=f'"other", {first.headers["ETag"]}'), status)
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    changed = status_page(Request(if_none_match=first.headers["ETag"]), status_of(regular(7)))
    assert changed.status == 200
    assert gzip.decompress(first.body) == status_page(Request(), status).body


def test_head_has_the_headers_and_no_body() -> None:
    got, head = (status_page(Request(method=method), status_of(regular())) for method in ("GET", "HEAD"))
    assert (head.headers, head.body) == (got.headers, b"")


def test_a_stranger_reads_states_in_words_and_shapes_not_by_colour_alone() -> None:
    states = [State.PROCESSED, State.RAW, State.COPYING, State.SEEN, State.REFUSED, State.FAILED, State.EXPIRED]
    page = Page(status_page(Request(), status_of([entry(3 + 10 * n, state) for n, state in enumerate(states)])))
    shapes = {attrs["href"] for tag, attrs in page.elements if tag == "use" and "x" in attrs}
    assert shapes == {"#raw", "#copying", "#seen", "#refused", "#failed", "#expired"}
    assert {attrs["id"] for tag, attrs in page.elements if tag == "symbol"} >= {(shape or "")[1:] for shape in shapes}
    # One stop of the Tab key, at the newest; arrows move from there.
    stops = [attrs["tabindex"] for tag, attrs in page.elements if tag == "a" and "tabindex" in attrs]
    assert stops == ["-1"] * 6 + ["0"]


def test_an_empty_page_tells_what_to_do() -> None:
    status = status_of([], SourceState(source="radar"))
    assert "Waiting for the first poll." in Page(status_page(Request(), status)).text


def test_a_message_of_several_lines_is_shown_as_text() -> None:
    page = message_page(Request(), 500, "settings:\n  A is wrong;\n  B is wrong").body.decode()
    assert "settings: A is wrong; B is wrong" in page


def test_what_cannot_be_done_is_told_with_its_status() -> None:
    def unavailable() -> Response:
        raise StoreUnavailableError("read the ledger: no answer")

    def wrong() -> Response:
        raise SettingsError("SOURCES__A__URL is missing")

    def say(status: int, text: str) -> Response:
        return message_page(Request(), status, text)

    busy, unset = guarded(unavailable, say), guarded(wrong, say)
    assert (busy.status, unset.status) == (503, 500)
    assert "SOURCES__A__URL is missing" in Page(unset).text
    assert {busy.headers["Cache-Control"], unset.headers["Cache-Control"]} == {"no-store"}


def test_the_data_is_plain_json_whatever_names_are_in_it() -> None:
    text = to_json(status_of([entry(3, path=HOSTILE)])).decode("ascii")
    assert '"stamp": "2026-03-01T11:57:30Z"' in text
    assert '"refused in part": 0' in text


def test_a_high_bar_does_not_hide_what_went_wrong_beside_it() -> None:
    entries = [entry(3, State.REFUSED, size=1_000), entry(2.98, size=10**9), *regular(3, newest=13)]
    source_state = SourceState(source="radar", listed_at=NOW)
    drawn = [
        attrs.get("class", "") or ""
        for _, attrs in Page(status_page(Request(), status_of(entries, source_state))).elements
    ]
    last_bar = max(at for at, name in enumerate(drawn) if name.startswith("bar "))
    assert drawn.index("symbol refused") > last_bar
