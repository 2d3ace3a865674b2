"""The doctor's findings about a source, by the source's answers."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.errors import SourceRefusedError
from config.settings import Source
from ingest.model import Endpoint, SourceSpec, Unread
from ingest.ports import Connection, Connector
from local.servers.child import free_port
from ops.health.doctor.findings import CheckStatus, Finding
from ops.health.doctor.sources import check_source, check_sources
from tests.fakes.remote import FakeServer

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SPEC = SourceSpec(name="radar")
ENDPOINT = Endpoint(scheme="sftp", host="127.0.0.1", port=1, user="reader")


def check(server: Connector, **spec: Any) -> list[Finding]:
    source = Source(endpoint=ENDPOINT, spec=replace(SPEC, **spec))
    return list(check_source(source, NOW, lambda _: server))


def problems(findings: list[Finding]) -> str:
    assert all(finding.about == "radar" for finding in findings)
    return "\n".join(finding.message for finding in findings if finding.status is CheckStatus.WRONG)


@pytest.fixture
def server() -> FakeServer:
    server = FakeServer()
    server.put("radar_20260304_0500.zip", b"PK", NOW - timedelta(minutes=6))
    server.put("old.zip", b"PK", NOW - timedelta(hours=30))
    server.put("readme.txt", b"x", NOW)
    server.put("radar_20260304_0510.zip.part", b"P", NOW)
    return server


def test_a_source_that_is_well_is_told_in_a_few_lines(server: FakeServer) -> None:
    findings = check(server, stamp="radar_%Y%m%d_%H%M")
    assert not problems(findings)
    assert "logged in as reader" in findings[0].message
    assert "2 of 4 files match *.zip, the newest is 'radar_20260304_0500.zip'" in findings[1].message
    assert findings[2].message == "'radar_20260304_0500.zip' can be read"


def test_the_time_that_is_taken_is_judged_and_held_against_the_listing(server: FakeServer) -> None:
    listed = server.put("new.zip", b"PK", NOW - timedelta(minutes=5))
    server.certain["new.zip"] = listed.modified + timedelta(hours=9)
    found = problems(check(server))
    assert "LIST in TIMEZONE UTC gives 2026-03-04 05:01 UTC for 'new.zip'" in found
    assert "which is taken, is 2026-03-04 14:01:07 UTC; set TIMEZONE" in found
    assert "ahead of this machine's clock" in found


def test_files_of_unknown_size_are_no_empty_folder(server: FakeServer) -> None:
    server.sizeless.update(server.files)
    findings = check(server)
    assert "2 of 4 files match *.zip" in findings[1].message
    assert "whose size the server does not give" in findings[1].message
    assert findings[2].message == "'radar_20260304_0500.zip' can be read"


@pytest.mark.parametrize("files", [True, False])
def test_what_of_a_listing_could_not_be_read_is_quoted(server: FakeServer, files: bool) -> None:
    server.unread = (Unread(text="11 28 a.zip *STMF"),)
    if not files:
        server.files.clear()
    found = problems(check(server))
    assert "1 part of its listing could not be read: '11 28 a.zip *STMF'" in found
    assert "it is empty" not in found


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"pattern": "*.tar"}, "none of 4 files matches PATTERN *.tar"),
        ({"interval": timedelta(minutes=2)}, "its newest file is 6 min old, and INTERVAL promises one every 2m"),
        ({"stamp": "satellite_%Y%m%d"}, "STAMP satellite_%Y%m%d does not occur in"),
        ({"stamp": "radar_%Q"}, "STAMP 'radar_%Q'"),
    ],
)
def test_settings_that_do_not_fit_the_source_are_named(server: FakeServer, spec: dict[str, Any], message: str) -> None:
    assert message in problems(check(server, **spec))


def test_a_clock_that_is_ahead_is_told(server: FakeServer) -> None:
    server.put("future.zip", b"PK", NOW + timedelta(hours=1))
    assert "3600 s ahead of this machine's clock; check both clocks, and TIMEZONE" in problems(check(server))


def test_an_empty_folder_is_told() -> None:
    assert "it is empty; check the folder" in problems(check(FakeServer()))


def test_a_file_that_gives_no_bytes_is_told(server: FakeServer) -> None:
    listed = server.put("radar_20260304_0500.zip", b"PK", NOW)
    server.before_read[listed.path] = lambda _: server.files.update({listed.path: (b"", NOW)})
    assert "reading returns none" in problems(check(server))


def test_a_refusal_is_passed_on_in_its_own_words() -> None:
    class Refusing:
        @contextmanager
        def connect(self) -> Iterator[Connection]:
            raise SourceRefusedError("log in: no; check PASSWORD")
            yield

    assert problems(check(Refusing())) == "log in: no; check PASSWORD"


def test_a_server_that_is_down_is_told_from_the_network() -> None:
    source = Source(endpoint=replace(ENDPOINT, scheme="ftp", port=free_port()), spec=SPEC)
    (finding,) = check_source(source, NOW)
    assert finding.status is CheckStatus.WRONG
    assert "nothing listens there" in finding.message


def test_a_name_that_nobody_knows_is_told() -> None:
    source = Source(endpoint=replace(ENDPOINT, scheme="ftp", host="no-such-host.invalid"), spec=SPEC)
    (finding,) = check_source(source, NOW)
    assert "the host name cannot be resolved" in finding.message


def test_a_source_that_never_ends_costs_a_limited_time() -> None:
    """The server accepts connections and never sends anything."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = replace(ENDPOINT, scheme="ftp", port=silent.getsockname()[1], timeout=5.0)
        sources = {"radar": Source(endpoint=endpoint, spec=SPEC)}
        (finding,) = check_sources(sources, NOW, within=0.1)
    assert finding.status is CheckStatus.WRONG
    assert "too slow to be polled" in finding.message
