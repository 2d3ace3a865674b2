"""The status page in a real browser: layout, keyboard, refresh in place, accessibility."""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np
import pytest
from playwright.sync_api import Browser, Dialog, Page, Route, expect, sync_playwright

from imagefeed.model import Refusal, State
from ingest.model import SourceState
from local import npm
from local.azurite import Azurite
from local.servers.needed import find, need
from storage.clients import Clients
from tests.fixtures.history import Past, write
from tests.fixtures.status_host import status_host
from tests.tools.kusto import TOOLS

MINUTE = timedelta(minutes=1)
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>.zip"
REFUSED = Refusal(member=7, name=HOSTILE, reason=HOSTILE, error="OSError")
PIXELS = [np.full((32, 32, 3), 90 * shade, np.uint8) for shade in range(3)]


@cache
def now() -> datetime:
    """Return one time for all tests of this module: that of the first which asks."""
    return datetime.now(UTC).replace(microsecond=0)


def day() -> list[Past]:
    """Return a day with an archive in every state."""
    return [
        Past(stamp=now() - 2 * MINUTE, state=State.COPYING),
        Past(stamp=now() - 12 * MINUTE, pixels=PIXELS, images=3, path=HOSTILE, refused=[REFUSED]),
        Past(stamp=now() - 22 * MINUTE, state=State.REFUSED, reason=HOSTILE),
        Past(stamp=now() - 32 * MINUTE, state=State.FAILED, reason="6 tries are spent"),
        Past(stamp=now() - 52 * MINUTE, state=State.EXPIRED),
        *(Past(stamp=now() - minutes * MINUTE) for minutes in range(62, 240, 10)),
    ]


PHONE, TABLET, DESKTOP = 390, 768, 1280
CUT = """
[...document.querySelectorAll('main *')].filter(part => part.clientWidth && part.scrollWidth > part.clientWidth + 1
    && !part.closest('svg, .scroll, thead') && getComputedStyle(part).display !== 'inline')
  .map(part => part.outerHTML.slice(0, 200))"""
"""Parts whose content is wider than they are. A timeline scrolls by itself; titles of cards are for screen readers."""
BROKEN = """
[...document.querySelectorAll('.num, .whole')].filter(part => {
    const range = document.createRange();
    range.selectNodeContents(part);
    return range.getBoundingClientRect().height > 1.5 * parseFloat(getComputedStyle(part).lineHeight);
  }).map(part => part.textContent)"""
"""Numbers and times that wrap into the next line."""


@dataclass
class Site:
    """A source's status page, and the browser that shows it."""

    url: str
    source: str
    chromium: Browser
    problems: list[str] = field(default_factory=list)
    """The browser's complaints: errors, refusals by the Content-Security-Policy, dialogs."""

    def open(self, path: str = "status", width: int = 1280, **options: Any) -> Page:
        context = self.chromium.new_context(viewport={"width": width, "height": 900}, **options)
        page = context.new_page()
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", self._dialog)
        page.goto(f"{self.url}/api/{path}")
        return page

    def _dialog(self, dialog: Dialog) -> None:
        self.problems.append(dialog.message)
        dialog.dismiss()

    @property
    def archive(self) -> str:
        """The page of the archive that was refused in part."""
        with urllib.request.urlopen(f"{self.url}/api/status.json", timeout=20) as response:
            (source,) = [source for source in json.load(response)["sources"] if source["name"] == self.source]
        (partly,) = [mark["id"] for mark in source["marks"] if mark["state"] == "refused in part"]
        return f"archives/{self.source}/{partly}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = find("chromium-browser") or need("chromium")
    with pytest.MonkeyPatch.context() as patch:
        # Playwright's Node.js needs a library (libatomic) that a minimal Debian lacks; ours runs there.
        patch.setenv("PLAYWRIGHT_NODEJS_PATH", str(npm.NODE))
        yield from _chromium(program)


def _chromium(program: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-quic"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(
    chromium: Browser, clients: Clients, azurite: Azurite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    source = f"s-{uuid4().hex[:12]}"
    write(clients, source, day(), SourceState(source=source, listed_at=now(), error=HOSTILE), threads=4)
    with status_host(tmp_path_factory.mktemp("app"), azurite.connection, source) as host:
        yield Site(host.url, source, chromium)


@pytest.fixture(scope="module")
def axe() -> str:
    npm.install("axe-core", Path(__file__).parents[1] / "tools" / "package-lock.json", TOOLS)
    return (TOOLS / "node_modules" / "axe-core" / "axe.min.js").read_text()


def test_every_archive_is_drawn_and_the_browser_has_nothing_to_say(site: Site) -> None:
    page = site.open()
    expect(page.locator(".timeline a")).to_have_count(len(day()))
    expect(page.locator(".gap")).to_have_count(1)
    shapes = page.locator(".timeline use").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert shapes == ["#expired", "#failed", "#refused", "#refused-in-part", "#copying"]
    page.locator(".sheet").scroll_into_view_if_needed()
    for image in page.locator(".sheet img").all():
        expect(image).to_have_js_property("naturalWidth", 32)
    assert site.problems == []


def test_names_of_strangers_do_not_break_out(site: Site) -> None:
    for path in ("status", site.archive):
        page = site.open(path)
        expect(page.get_by_text("<script>alert(1)</script>").first).to_be_attached()
        assert page.locator("script:not([src]), [onerror], img[src=x]").count() == 0
    assert site.problems == []


def test_the_keyboard_leads_from_mark_to_mark_and_to_the_archive(site: Site) -> None:
    page = site.open()
    page.locator(".timeline a").last.focus()
    page.keyboard.press("ArrowLeft")
    assert "refused in part" in page.evaluate("document.activeElement.querySelector('title').textContent")
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement === document.querySelector('.timeline a')")
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Refused members")).to_be_visible()
    page.get_by_role("link", name="All sources").click()
    expect(page.locator(".timeline")).to_be_visible()


def test_it_refreshes_in_place(site: Site, clients: Clients) -> None:
    """New data is shown; the open table, the focus and the scroll position are unchanged."""
    page = site.open(width=PHONE)
    page.locator(".source summary").click()
    page.locator(".timeline a").first.focus()
    page.evaluate("document.querySelector('.scroll').scrollLeft = -120; scrollTo(0, 300)")
    place = "[document.querySelector('.scroll').scrollLeft, Math.round(scrollY)]"
    before = page.evaluate(place)
    focused = page.evaluate("document.activeElement.getAttribute('href')")
    news = [Past(stamp=now() - 1 * MINUTE), *day()]
    write(clients, site.source, news, SourceState(source=site.source, listed_at=now(), error="another"), threads=4)
    # As if the user had returned to the tab; data from storage may be some seconds old.
    looked = "document.dispatchEvent(new Event('visibilitychange'))"
    marks = "document.querySelectorAll('.timeline a').length"
    page.wait_for_function(f"() => {looked} && {marks} === {len(news)}", polling=500, timeout=30_000)
    assert page.evaluate(place) == before
    assert page.evaluate("document.activeElement.getAttribute('href')") == focused
    expect(page.locator(".source details")).to_have_attribute("open", "")
    expect(page.locator("#live")).to_contain_text("Looked at")


SELECT = "getSelection().selectAllChildren(document.querySelector('#actions .cure'))"
MARK = "document.querySelector('#actions .cure').setAttribute('data-mark', 'as it was')"
"""The mark goes when the page is refreshed."""
LOOK = "document.dispatchEvent(new Event('visibilitychange'))"


def test_while_text_is_selected_it_stays_and_the_page_says_that_it_is_not_refreshed(site: Site) -> None:
    page = site.open()
    live, mark = page.locator("#live"), page.locator("[data-mark]")
    expect(live).to_have_text("Refreshes by itself.")
    page.evaluate(MARK)
    page.evaluate(SELECT)
    expect(live).to_contain_text("Not refreshed while text is selected")
    expect(live).to_be_in_viewport()
    page.evaluate(LOOK)
    page.wait_for_timeout(500)
    assert page.evaluate("String(getSelection())")
    expect(mark).to_have_count(1)
    page.evaluate("getSelection().removeAllRanges()")
    expect(live).to_contain_text("Looked at")
    expect(mark).to_have_count(0)


def test_text_that_is_selected_while_the_page_is_fetched_stays(site: Site) -> None:
    page = site.open()

    def select_and_answer(route: Route) -> None:
        response = route.fetch()
        page.evaluate(SELECT)
        route.fulfill(response=response)

    page.route("**/api/status", select_and_answer)
    page.evaluate(MARK)
    with page.expect_response("**/api/status"):
        page.evaluate(LOOK)
    page.wait_for_timeout(500)
    assert page.evaluate("String(getSelection())")
    expect(page.locator("[data-mark]")).to_have_count(1)


def test_on_a_phone_each_finding_is_a_card_with_its_cure_first(site: Site) -> None:
    cells = """rows => rows.map(row => [...row.children].filter(cell => cell.offsetHeight)
      .sort((one, other) => one.offsetTop - other.offsetTop).map(cell => [cell.className, cell.offsetLeft]))"""
    cards = site.open(width=PHONE).locator("#actions tbody tr").evaluate_all(cells)
    assert len(cards) > 3
    assert {card[0][0] for card in cards} == {"cure"}
    assert {len({left for _, left in card}) for card in cards} == {1}
    rows = site.open(width=TABLET).locator("#actions tbody tr").evaluate_all(cells)
    assert {row[0][0] for row in rows} == {""}


@pytest.mark.parametrize("width", [PHONE, TABLET, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hangs_over_is_cut_or_broken(site: Site, scheme: Literal["light", "dark"], width: int) -> None:
    for path in ("status", site.archive, "archives/x/y"):
        page = site.open(path, width, color_scheme=scheme)
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(CUT) == []
        assert page.evaluate(BROKEN) == []
        page.context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", PHONE), ("dark", DESKTOP)])
def test_axe_finds_nothing(site: Site, axe: str, scheme: Literal["light", "dark"], width: int) -> None:
    for path in ("status", site.archive, "archives/x/y"):
        page = site.open(path, width, color_scheme=scheme, bypass_csp=True)
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        page.evaluate(axe)
        report = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert [(violation["id"], violation["nodes"][0]["html"][:200]) for violation in report["violations"]] == []
        page.context.close()
