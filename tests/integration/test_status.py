"""The status page over a real ledger, written by the real code; on the functions host, as a browser requests it."""

import gzip
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from imagefeed.errors import PermanentError, StoreUnavailableError
from imagefeed.model import Origin, Refusal, State
from ingest.model import Promises, SourceSpec, SourceState
from local.azurite import Azurite
from local.servers.child import free_port
from ops.cli.__main__ import main
from ops.health.load import (
    MAX_DAYS,
    MAX_ROWS_BEFORE,
    MAX_STRAYS,
    find_in_results,
    raw_missing,
    read_queues,
    read_source,
)
from ops.health.load_archive import read_image
from ops.health.promises import Held
from ops.web.assess import assess_source
from ops.web.model import DisplayState, SourceStatus
from ops.web.views import StatusViews, load_current, parse_image_key
from storage.clients import Clients, connected, development_connection
from tests.faults.http import HttpProxy, Request
from tests.fixtures.history import Past, write
from tests.fixtures.status_host import status_host

MINUTE = timedelta(minutes=1)
HOSTILE = "a'\"><script>alert(1)</script>\u202e{{ 7 * 7 }}.zip"
PIXELS = [np.full((9, 9, 3), value, np.uint8) for value in (10, 200)]
REFUSED = Refusal(member=7, name=HOSTILE, reason="it is no <b>picture</b>", error="OSError")


@cache
def now() -> datetime:
    """Return one time for all tests of this module: that of the first which asks."""
    return datetime.now(UTC).replace(microsecond=0)


def day() -> list[Past]:
    """Return a day with an archive in every state."""
    return [
        Past(stamp=now() - 2 * MINUTE, state=State.COPYING),
        Past(stamp=now() - 12 * MINUTE, pixels=PIXELS, images=2, path=HOSTILE, refused=[REFUSED]),
        Past(stamp=now() - 22 * MINUTE, state=State.REFUSED, reason="its directory cannot be read"),
        Past(stamp=now() - 32 * MINUTE, state=State.FAILED, reason="6 tries are spent"),
        # 42 is missing.
        Past(stamp=now() - 52 * MINUTE, state=State.EXPIRED),
        Past(stamp=now() - 62 * MINUTE),
        Past(stamp=now() - 72 * MINUTE, state=State.SAME),
    ]


SHOWN = [DisplayState[name] for name in ("PROCESSED", "EXPIRED", "FAILED", "REFUSED", "PARTLY", "COPYING")]


def status_of(clients: Clients, source: str) -> SourceStatus:
    return load_current(clients, Held(promises={source: Promises()}), [source], datetime.now(UTC)).sources[0]


@pytest.fixture(scope="module")
def radar(clients: Clients) -> str:
    """A source with one archive in every state."""
    name = f"s-{uuid4().hex[:12]}"
    write(clients, name, day(), SourceState(source=name, listed_at=now(), error="no answer <i>from</i> the server"))
    return name


def test_states_holes_and_counts_are_those_that_the_ledgers_wrote(clients: Clients, radar: str) -> None:
    loaded = status_of(clients, radar)
    assert [mark.state for mark in loaded.marks] == SHOWN
    assert [gap.missing for gap in loaded.gaps] == [1]
    partly = loaded.marks[4]
    assert (partly.images, partly.refused, partly.lag) == (2, 1, 6)
    assert [thumbnail.member for thumbnail in loaded.thumbnails] == [0, 1]
    assert loaded.error == "no answer <i>from</i> the server"


def test_a_look_reads_no_more_rows_than_it_says(clients: Clients, source: str) -> None:
    """The sums do not depend on the number of archives, nor on the rows that are omitted."""
    past = [Past(stamp=now() - number * MINUTE) for number in range(40)]
    write(clients, source, past, SourceState(source=source), threads=4)
    whole = read_source(clients, source, now() - timedelta(minutes=20))
    assert (len(whole.entries), whole.cut, whole.rows) == (21, False, 2 * 21 + MAX_ROWS_BEFORE)
    assert whole.before == now() - timedelta(minutes=21)
    cut = read_source(clients, source, now() - timedelta(hours=48), limit=11)
    # The sixth archive's second row was not read, so its state is unknown.
    assert (len(cut.entries), cut.cut, cut.rows) == (5, True, 11)
    assert {entry.state for entry in cut.entries} == {State.PROCESSED}
    status = assess_source(cut, Held(promises={source: Promises(interval=MINUTE)}), (), now())
    assert (status.cut, len(status.marks), status.gaps) == (True, 5, [])


def test_raw_blobs_that_are_gone_are_told_in_as_many_requests_as_there_are_days(
    azurite: Azurite, clients: Clients, source: str
) -> None:
    stamps = [now() - timedelta(hours=hours) for hours in range(1, 60, 3)]
    past = [Past(stamp=stamp, raw=number not in (2, 11)) for number, stamp in enumerate(stamps)]
    write(clients, source, past, SourceState(source=source), threads=4)
    known = read_source(clients, source, stamps[-1]).entries
    with counted(azurite) as (proxied, asked):
        missing = raw_missing(proxied, source, known)
    assert missing == {known[number].archive.blob for number in (2, 11)}
    assert len(asked) == len({stamp.date() for stamp in stamps})
    monthly = [replace(known[0], archive=replace(known[0].archive, stamp=now() - timedelta(days=n))) for n in range(40)]
    with counted(azurite) as (proxied, asked):
        raw_missing(proxied, source, monthly)
    assert len(asked) == MAX_DAYS


def test_a_raw_blob_that_is_gone_is_told_by_page_and_status_until_it_is_back(clients: Clients, source: str) -> None:
    write(clients, source, [Past(stamp=now() - MINUTE), Past(stamp=now() - 11 * MINUTE)], SourceState(source=source))

    def missing() -> list[str]:
        status = load_current(clients, Held(promises={}), [source], datetime.now(UTC))
        return [finding.name for finding in status.findings if finding.slug == "raw_missing"]

    assert missing() == []
    blob = read_source(clients, source, now() - timedelta(hours=1)).entries[0].archive.blob
    clients.raw.delete_blob(blob)
    assert missing() == [blob]
    found = find_in_results(clients, source, now() - timedelta(hours=1), now())
    assert [(finding.slug, finding.name) for finding in found] == [("raw_missing", blob)], "for the log of reconcile"
    clients.raw.upload_blob(blob, b"zip")
    assert missing() == []


def test_a_blob_put_by_hand_is_looked_for_where_it_lies(azurite: Azurite, clients: Clients, source: str) -> None:
    write(clients, source, [Past(stamp=now() - MINUTE)], SourceState(source=source))
    (known,) = read_source(clients, source, now() - timedelta(hours=1)).entries
    strays = [
        replace(known, archive=replace(known.archive, blob=f"{source}/{n}.zip", origin=Origin.MANUAL))
        for n in range(20)
    ]
    clients.raw.upload_blob(f"{source}/0.zip", b"zip")
    with counted(azurite) as (proxied, asked):
        assert raw_missing(proxied, source, strays) == {f"{source}/{n}.zip" for n in range(1, MAX_STRAYS)}
    assert len(asked) == 1 + MAX_STRAYS


@contextmanager
def counted(azurite: Azurite) -> Iterator[tuple[Clients, list[Request]]]:
    """Connect to a storage, and note the requests to its blobs."""
    with ExitStack() as opened:
        proxy = opened.enter_context(HttpProxy(azurite.ports.blob))
        proxied = opened.enter_context(connected(replace(azurite.ports, blob=proxy.port).connection))
        yield proxied, proxy.requests


def clock_of(*seconds: int) -> Callable[[], datetime]:
    times = iter(seconds)
    return lambda: now() + timedelta(seconds=next(times))


def test_one_look_is_shared_by_all_who_ask_within_seconds(clients: Clients, source: str) -> None:
    # Requested, begun and ended at 0; requested at 4; requested, begun and ended at 6.
    views = StatusViews(clients, {source: SourceSpec(name=source)}, clock_of(0, 0, 0, 4, 6, 6, 6))
    first = views.status()
    write(clients, source, [Past(stamp=now() - MINUTE)], SourceState(source=source))
    assert views.status() is first
    assert len(views.status().sources[0].marks) == 1


def test_a_long_look_is_shared_by_all_who_waited_for_it(clients: Clients, source: str) -> None:
    # It ended at 60; another request came at 20.
    views = StatusViews(clients, {source: SourceSpec(name=source)}, clock_of(0, 0, 60, 20))
    assert views.status() is views.status()


def test_a_look_that_failed_is_shared_by_all_who_waited_for_it_and_by_nobody_later(source: str) -> None:
    ports = {kind: free_port() for kind in ("Blob", "Queue", "Table")}
    with connected(development_connection(ports), retries=0) as nowhere:
        views = StatusViews(nowhere, {source: SourceSpec(name=source)}, clock_of(0, 0, 60, 20, 60))
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                views.status()
        # It begins again, for which the clock has no time.
        with pytest.raises(StopIteration):
            views.status()


def test_what_lies_in_the_poison_queues_and_among_dead_letters_is_counted(clients: Clients, source: str) -> None:
    letter = clients.dead_letters.get_blob_client(f"{source}.json")
    letter.upload_blob(b"[]")
    poison = clients.queues.get_queue_client("batches-poison")
    message = poison.send_message("x")
    queues = read_queues(clients)
    poison.delete_message(message)
    letter.delete_blob()
    after = read_queues(clients)
    assert (queues.poison - after.poison, queues.dead_letters - after.dead_letters) == (1, 1)


def test_an_image_that_is_too_large_to_be_shown_is_not_read(clients: Clients, radar: str) -> None:
    thumbnail = status_of(clients, radar).thumbnails[0]
    key = parse_image_key(radar, thumbnail.archive, thumbnail.pipeline, "000000-0000.png")
    assert key is not None
    loaded = read_image(clients, key)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.pixels, PIXELS[0])
    with pytest.raises(PermanentError, match="export"):
        read_image(clients, key, limit=100)


def test_the_terminal_shows_the_same(
    clients: Clients, azurite: Azurite, radar: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del clients
    monkeypatch.setenv("DATA_STORAGE", azurite.connection)
    monkeypatch.setenv(f"SOURCES__{radar.upper().replace('-', '_')}__INTERVAL", "10m")
    assert main(["status", radar]) == 0
    output = capsys.readouterr().out
    assert "1 gap (about 1 missing), 1 expired, 1 failed and 1 refused. 2 archives since" in output
    assert "imagefeed replay --archive" in output
    assert "last reconcile " in output
    assert "last error: no answer <i>from</i> the server" in output
    assert all(letter in output for letter in "FERcp░")
    assert "\u202e" not in output


@dataclass(frozen=True)
class Browser:
    """Sends requests like a browser, and keeps the responses."""

    url: str

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"{self.url}/api/{path}", headers=named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, dict(exc.headers), exc.read()

    def text(self, path: str) -> str:
        status, _, body = self.ask(path)
        assert status == 200, body
        return body.decode()


class TestOnTheHost:
    """The app itself on the functions host, over the day above."""

    @pytest.fixture(scope="class")
    @staticmethod
    def browser(radar: str, azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
        with status_host(tmp_path_factory.mktemp("app"), azurite.connection, radar) as host:
            yield Browser(host.url)

    def test_the_page_shows_every_state_and_leads_to_every_archive(self, browser: Browser, radar: str) -> None:
        page = browser.text("status")
        links = re.findall(rf'href="(archives/{radar}/[^"]+)"', page)
        assert len(set(links)) == len(SHOWN)
        for link, state in zip(links, SHOWN, strict=False):
            assert f"<b>{state}" in browser.text(link)
        assert "<script>" not in page
        assert "&lt;i&gt;from&lt;/i&gt;" in page

    def test_an_archive_tells_what_was_refused_and_shows_its_images(self, browser: Browser, radar: str) -> None:
        (partly,) = [m for m in self.source(browser, radar)["marks"] if m["state"] == "refused in part"]
        page = browser.text(f"archives/{radar}/{partly['id']}?code=k%26k")
        assert "it is no &lt;b&gt;picture&lt;/b&gt;" in page
        assert "<script" not in page
        images = re.findall(r'src="\.\./\.\./(images/[^"?]+\.png)\?code=k%26k"', page)
        shown = []
        for image in images:
            status, headers, body = browser.ask(image)
            assert (status, headers["Content-Type"]) == (200, "image/png")
            with Image.open(BytesIO(body)) as opened:
                shown.append(opened.getpixel((4, 4)))
            assert browser.ask(image, If_None_Match=headers["ETag"])[0] == 304
        assert shown == [(10, 10, 10), (200, 200, 200)]

    def test_the_data_holds_all_that_the_page_shows(self, browser: Browser, radar: str) -> None:
        source = self.source(browser, radar)
        assert [mark["state"] for mark in source["marks"]] == SHOWN
        assert source["counts"]["failed"] == 1
        assert (source["window"], source["lag"]["p50"]) == (172_800, 6)
        assert source["gaps"][0]["missing"] == 1
        assert {one["slug"] for one in json.loads(browser.text("status.json"))["findings"]} >= {"gap_closed", "failed"}

    def test_answers_are_guarded_packed_and_sent_once(self, browser: Browser) -> None:
        for path in ("status", "status.json", "status/refresh.js"):
            status, headers, body = browser.ask(path, Accept_Encoding="gzip")
            assert (status, headers["Content-Encoding"]) == (200, "gzip")
            assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cache-Control"].startswith("private, max-age=")
            assert gzip.decompress(body)
            head = browser.ask(path, "HEAD", Accept_Encoding="gzip")
            assert (head[0], head[2]) == (200, b"")
        script = browser.ask("status/refresh.js")[1]
        assert script["Content-Type"].startswith("text/javascript")
        assert browser.ask("status/refresh.js", If_None_Match=script["ETag"])[0] == 304

    @pytest.mark.parametrize(
        "path",
        [
            "archives/{0}/nothing",
            "archives/{0}/20260101T000000Z.00000000",
            "archives/{0}/20269999T000000Z.00000000",
            "archives/UPPER/20260101T000000Z.00000000",
            "archives/%3Cscript%3E/%3Cscript%3E",
            "images/{0}/20260101T000000Z.00000000/p-1/000000-0000.png",
            "images/{0}/x/p-1/000000-0000.png",
            "images/{0}/20260101T000000Z.00000000/p~1/000000-0000.png",
            "images/{0}/20260101T000000Z.00000000/p-1/..%2F..%2Fstate",
        ],
    )
    def test_an_address_of_nothing_is_404(self, browser: Browser, radar: str, path: str) -> None:
        status, headers, body = browser.ask(path.format(radar))
        assert status == 404
        assert b"<script" not in body
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    def test_nothing_can_be_changed(self, browser: Browser, method: str) -> None:
        assert browser.ask("status", method)[0] == 404

    def source(self, browser: Browser, name: str) -> dict[str, Any]:
        (loaded,) = [source for source in json.loads(browser.text("status.json"))["sources"] if source["name"] == name]
        return dict(loaded)
