"""Metadata of files that FTP servers report, refuse to report, or report wrongly."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import SourceUnavailableError
from ingest.model import Endpoint, Listing, RemoteFile, UnsizedFile
from ingest.protocols.connect import connector
from ingest.protocols.ftp_clock import FtpClock, is_local
from tests.fakes.ftp_server import Change, Script, ftp_server

A_MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LINE = b"-rw-r--r-- 1 u g 7 Mar 04  2026 a.zip\r\n"
A = RemoteFile(path="a.zip", size=7, modified=A_MOMENT)
LISTED = replace(A, modified=datetime(2026, 3, 4, tzinfo=UTC))
LINK = b"lrwxrwxrwx 1 u g 5 Mar 04  2026 link.zip -> a.zip\r\n"


def script(listing: bytes = LINE, **says: Change) -> Script:
    return Script(listings={"LIST": {"/": listing}}, files={"/a.zip": b"content"}, says=dict(says))


def list_files(endpoint: Endpoint) -> Listing:
    with connector(endpoint).connect() as connection:
        return connection.list_files()


def stat(script: Script, listed: RemoteFile = LISTED) -> RemoteFile | None:
    with ftp_server(script) as endpoint, connector(endpoint).connect() as connection:
        return connection.stat(listed)


def test_what_the_server_tells_of_a_file_is_taken() -> None:
    asked = script()
    assert stat(asked) == A
    assert [command.split()[0] for command in asked.commands[-3:]] == ["TYPE", "SIZE", "MDTM"]


NO_SIZES = [
    *("213 -1", "213 -2147483648", "213 123 bytes", "213 7.5", "213 ", "213 12,345", "213 0x10", f"213 {10**30}"),
    *("550 not allowed", "502 not implemented", "500 what?", "504 not for that"),
    *("551 no", "552 no", "553 name not allowed", "554 no", "555 no", "522 no", "200 ok", "250 12"),
]


@pytest.mark.parametrize("reply", NO_SIZES)
def test_a_size_that_makes_no_sense_or_is_refused_is_as_listed(reply: str) -> None:
    assert stat(script(SIZE=reply)) == A


@pytest.mark.parametrize(
    "reply", ["213 yesterday", "213 20261332000000", "213 ", "550 not allowed", "502 no", "553 no", "554 no"]
)
def test_a_time_that_makes_no_sense_or_is_refused_is_as_listed(reply: str) -> None:
    assert stat(script(MDTM=reply)) == LISTED


@pytest.mark.parametrize(
    "reply",
    ["20260304050607Z", "20260304050607.123", "20260304050607.5 Z", "20260304060607+0100", "20260304003607-04:30"],
)
def test_a_time_in_a_form_that_the_standard_does_not_have_is_read(reply: str) -> None:
    assert stat(script(MDTM=f"213 {reply}")) == A


@pytest.mark.parametrize("code", ["400", "420", "450", "451", "452"])
def test_what_a_server_refuses_for_now_is_as_listed_if_it_tells_the_other(code: str) -> None:
    assert stat(script(SIZE=f"{code} no")) == A
    assert stat(script(MDTM=f"{code} no")) == LISTED
    for other in (f"{code} no", "550 no"):
        for both in ({"SIZE": f"{code} no", "MDTM": other}, {"SIZE": other, "MDTM": f"{code} no"}):
            with pytest.raises(SourceUnavailableError, match=f"{code} no"):
                stat(script(LINE, **both))


@pytest.mark.parametrize("code", ["421", "425", "426", "430"])
@pytest.mark.parametrize("command", ["SIZE", "MDTM"])
def test_an_error_of_the_connection_says_nothing_of_a_file(code: str, command: str) -> None:
    with pytest.raises(SourceUnavailableError, match=f"{code} no"):
        stat(script(LINE, **{command: f"{code} no"}))


def test_where_the_server_tells_nothing_of_a_file_neither_do_we() -> None:
    assert stat(script(SIZE="550 no", MDTM="502 no")) is None


@given(st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=30))
def test_no_reply_makes_a_size_below_zero(reply: str) -> None:
    number = re.fullmatch(r"\d{1,19}", reply.strip())
    with_reply = stat(script(SIZE=f"213 {reply}"))
    assert with_reply is not None
    assert with_reply.size == (int(reply.strip()) if number else 7)


@pytest.mark.parametrize("size", [b"-1", b"-2147483000"])
def test_a_listed_size_below_zero_is_asked_for_and_else_unknown(size: bytes) -> None:
    line = LINE.replace(b" 7 ", b" " + size + b" ")
    with ftp_server(script(line)) as endpoint:
        assert [file.size for file in list_files(endpoint).files] == [7]
    with ftp_server(script(line + LINE.replace(b"a.zip", b"b.zip"), SIZE="213 -1")) as endpoint:
        listing = list_files(endpoint)
    assert [file.path for file in listing.files] == ["b.zip"]
    assert list(listing.unsized) == [UnsizedFile(path="a.zip", modified=A_MOMENT)]
    assert not listing.lacks(["a.zip", "b.zip"])


@pytest.mark.parametrize("reply", NO_SIZES)
def test_a_file_of_unknown_size_is_read_to_its_end_to_count_its_bytes(reply: str) -> None:
    checks: list[None] = []
    unsized = script(LINE.replace(b" 7 ", b" -1 "), SIZE=reply)
    with ftp_server(unsized) as endpoint, connector(endpoint).connect() as connection:
        (file,) = connection.list_files().unsized
        assert connection.measure(file, lambda: checks.append(None)) == 7
        assert connection.stat(file.of_size(7)) == A
    assert checks


@pytest.mark.parametrize("reply", ["426 broke off", "451 local error", "550 no"])
def test_bytes_whose_end_the_server_does_not_confirm_are_no_size(reply: str) -> None:
    unconfirmed = script(SIZE="502 not implemented")
    unconfirmed.says["226"] = lambda command: reply if command.startswith("RETR") else None
    with ftp_server(unconfirmed) as endpoint, connector(endpoint).connect() as connection:
        with pytest.raises(SourceUnavailableError, match="does not confirm"):
            connection.measure(UnsizedFile(path="a.zip", modified=A_MOMENT), lambda: None)
        assert list(connection.list_files().files) == [LISTED]


def test_a_link_of_unknown_size_has_the_time_of_its_file() -> None:
    linked = script(LINK, SIZE="502 not implemented")
    linked.files["/link.zip"] = b"content of another length"
    with ftp_server(linked) as endpoint:
        assert list(list_files(endpoint).unsized) == [UnsizedFile(path="link.zip", modified=A_MOMENT)]


def test_a_link_that_the_server_tells_nothing_of_costs_itself_alone() -> None:
    with ftp_server(script(LINE + LINK, SIZE="502 not implemented", MDTM="502 not implemented")) as endpoint:
        listing = list_files(endpoint)
    assert list(listing.files) == [LISTED]
    assert [part.path for part in listing.unread] == ["link.zip"]


def test_a_link_has_size_and_time_of_its_file() -> None:
    linked = script(LINK)
    linked.files["/link.zip"] = b"content of another length"
    with ftp_server(linked) as endpoint:
        assert list(list_files(endpoint).files) == [RemoteFile(path="link.zip", size=25, modified=A_MOMENT)]


FEATURES = "211-Features:\r\n MLST type*;size*;modify*;\r\n MLSD\r\n211 End"
FACTS = "type=OS.unix=symlink;size=5;modify=20250101000000;"
OF_LINKS = [FACTS, FACTS.replace("symlink", "slink:/a.zip"), "type=dir;modify=20250101000000;"]
OF_PROFTPD = FACTS.replace("OS.unix=symlink", "file")


@pytest.mark.parametrize("facts", [*OF_LINKS, OF_PROFTPD])
def test_a_link_by_mlsd_has_size_and_time_of_its_file(facts: str) -> None:
    linked = Script(
        listings={"MLSD": {"/": f"{FACTS} link.zip\r\n".encode()}},
        files={"/link.zip": b"content"},
        says={"FEAT": FEATURES, "MLST": f"250-Listing\r\n {facts} link.zip\r\n250 End"},
    )
    with ftp_server(linked) as endpoint, connector(endpoint).connect() as connection:
        (file,) = connection.list_files().files
        assert file == RemoteFile(path="link.zip", size=7, modified=A_MOMENT)
        assert connection.stat(file) == file


@pytest.mark.parametrize("reply", ["500 MLST unknown", "550 no", "250-x\r\n250 end", "250-\r\n nonsense\r\n250 e"])
def test_a_server_that_has_mlsd_and_not_mlst_is_asked_for_size_and_time(reply: str) -> None:
    facts = "type=file;size=7;modify=20260304050607; a.zip\r\n"
    strange = Script(
        listings={"MLSD": {"/": facts.encode()}}, files={"/a.zip": b"content"}, says={"FEAT": FEATURES, "MLST": reply}
    )
    with ftp_server(strange) as endpoint, connector(endpoint).connect() as connection:
        assert list(connection.list_files().files) == [A]
        assert connection.stat(A) == A


def written(at: datetime, zone: str) -> bytes:
    return f"-rw-r--r-- 1 u g 7 {at.astimezone(ZoneInfo(zone)):%b %d %H:%M} a.zip\r\n".encode()


ZONES = ["Asia/Tokyo", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "Europe/Berlin", "UTC"]


def recent(zone: str) -> datetime:
    """Nine minutes ago. The second of two equal wall times, when clocks are put back, is read as the first."""
    nine_minutes_ago = datetime.now(UTC) - timedelta(minutes=9)
    return nine_minutes_ago.astimezone(ZoneInfo(zone)).replace(microsecond=0, fold=0).astimezone(UTC)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("local", [True, False])
def test_mdtm_in_local_time_is_recognised_by_the_listing(zone: str, local: bool) -> None:
    true = recent(zone)
    digits = f"{true.astimezone(ZoneInfo(zone)) if local else true:%Y%m%d%H%M%S}"
    server = script(written(true, zone))
    server.modified = digits
    with ftp_server(server) as endpoint, connector(replace(endpoint, timezone=zone)).connect() as connection:
        (listed,) = connection.list_files().files
        for _ in range(3):
            assert connection.stat(listed) == replace(A, modified=true)
    compared = [command for command in server.commands if command.startswith("LIST ")]
    assert len(compared) == (zone != "UTC"), "once per connection, and only where it makes a difference"


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("local", [True, False])
def test_mlsd_in_local_time_is_recognised_by_the_listing(zone: str, local: bool) -> None:
    true = recent(zone)
    digits = f"{true.astimezone(ZoneInfo(zone)) if local else true:%Y%m%d%H%M%S}"
    facts = f"type=file;size=7;modify={digits}; a.zip"
    server = Script(
        listings={"MLSD": {"/": f"{facts}\r\n".encode()}, "LIST": {"/": written(true, zone)}},
        files={"/a.zip": b"content"},
        says={"FEAT": FEATURES, "MLST": f"250-Listing\r\n {facts}\r\n250 End"},
        modified=digits,
    )
    with ftp_server(server) as endpoint, connector(replace(endpoint, timezone=zone)).connect() as connection:
        for _ in range(2):
            assert list(connection.list_files().files) == [replace(A, modified=true)]
        assert connection.stat(A) == replace(A, modified=true)
    assert len([command for command in server.commands if command.startswith("LIST ")]) == (zone != "UTC")


@given(st.sampled_from(ZONES[:-1]), st.integers(0, 366 * 24 * 60), st.integers(0, 59), st.booleans())
def test_the_zone_is_recognised_all_year(zone_name: str, minutes: int, seconds: int, local: bool) -> None:
    zone = ZoneInfo(zone_name)
    true = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes, seconds=seconds)
    # The second of two equal wall times, when clocks are put back, is read as the first.
    true = true.astimezone(zone).replace(fold=0).astimezone(UTC)
    exact = true.astimezone(zone).replace(tzinfo=UTC) if local else true
    listed = true.replace(second=0)
    if true.astimezone(zone).utcoffset():
        assert is_local(exact, listed, zone, true + timedelta(minutes=5)) is local


def test_a_time_that_local_reading_would_put_in_the_future_is_utc() -> None:
    """LIST and MDTM in UTC, and TIMEZONE set to where the server stands: the digits agree, the clock does not."""
    true = recent("America/New_York")
    zone = ZoneInfo("America/New_York")
    in_list = true.replace(second=0, tzinfo=zone).astimezone(UTC)
    assert is_local(true, in_list, zone, datetime.now(UTC)) is False


@pytest.mark.parametrize("ahead", [20, 90, 600])
def test_a_server_whose_clock_is_fast_and_that_gives_local_time_is_recognised(ahead: int) -> None:
    zone, now = ZoneInfo("Asia/Kathmandu"), datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
    true = now + timedelta(minutes=ahead)
    assert is_local(true.astimezone(zone).replace(tzinfo=UTC), true, zone, now) is True


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "Asia/Kathmandu"])
@pytest.mark.parametrize("local", [True, False])
def test_archives_of_midnight_decide_about_the_zone_too(zone: str, local: bool) -> None:
    midnight = datetime.now(ZoneInfo(zone)).replace(hour=0, minute=0, second=30, microsecond=0)
    server = script(written(midnight, zone))
    server.modified = f"{midnight if local else midnight.astimezone(UTC):%Y%m%d%H%M%S}"
    with ftp_server(server) as endpoint, connector(replace(endpoint, timezone=zone)).connect() as connection:
        assert connection.stat(A) == replace(A, modified=midnight.astimezone(UTC))


def test_a_day_without_a_time_decides_nothing() -> None:
    """Its digits agree with those of a file that was written at midnight UTC."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=30, microsecond=0)
    server = script(f"-rw-r--r-- 1 u g 7 {midnight:%Y-%m-%d} a.zip\r\n".encode())
    server.modified = f"{midnight:%Y%m%d%H%M%S}"
    with ftp_server(server) as endpoint, connector(replace(endpoint, timezone="Asia/Tokyo")).connect() as connection:
        assert connection.stat(A) == replace(A, modified=midnight)


@pytest.mark.parametrize("name", ["two words.zip", "[a]*.zip", "sub/a b.zip", "10:12.zip"])
@pytest.mark.parametrize("whole", [True, False])
def test_any_name_decides_about_the_zone(name: str, whole: bool) -> None:
    """Also on servers that answer LIST of a file with the whole folder."""
    true, last = recent("Asia/Tokyo"), name.rpartition("/")[2]
    line = written(true, "Asia/Tokyo").replace(b"a.zip", last.encode())
    other = written(true - timedelta(hours=3), "Asia/Tokyo").replace(b"a.zip", b"z.zip")
    server = script(b"total 8\r\n" + other + line if whole else line)
    server.ignores_arguments = whole
    server.files = {f"/{name}": b"content"}
    server.modified = f"{true.astimezone(ZoneInfo('Asia/Tokyo')):%Y%m%d%H%M%S}"
    with ftp_server(server) as endpoint, connector(replace(endpoint, timezone="Asia/Tokyo")).connect() as connection:
        assert connection.stat(replace(A, path=name)) == replace(A, path=name, modified=true)


@pytest.mark.parametrize("wrap", [2**10, 1000, 3])
def test_a_server_whose_offsets_wrap_is_read_from_the_start(wrap: int) -> None:
    small, large = bytes(range(200)) * 4, bytes(range(251)) * 20
    server = script()
    server.files |= {"/small.zip": small, "/large.zip": large}
    server.rest = lambda offset: offset % wrap
    with ftp_server(server) as endpoint, connector(endpoint).connect() as connection:
        for name, content in (("small.zip", small), ("large.zip", large), ("small.zip", small)):
            file = RemoteFile(path=name, size=len(content), modified=A_MOMENT)
            for offset in (500, 700):
                assert read_from(connection.open, file, offset) == content[offset:]


def read_from(open_: Callable[..., object], file: RemoteFile, offset: int) -> bytes:
    buffer, parts = memoryview(bytearray(2**16)), []
    with open_(file, offset) as reader:  # type: ignore[attr-defined]  # a Reader
        while (got := reader.readinto(buffer)) != 0:
            parts.append(bytes(buffer[: got or 0]))
    return b"".join(parts)


@pytest.mark.parametrize("name", ["two words.zip", "[a].zip"])
def test_what_one_connection_found_of_the_zone_holds_for_all_and_any_name(name: str) -> None:
    true = recent("Asia/Tokyo")
    server = script(written(true, "Asia/Tokyo") + written(true, "Asia/Tokyo").replace(b"a.zip", name.encode()))
    server.files[f"/{name}"] = b"content"
    server.modified = f"{true.astimezone(ZoneInfo('Asia/Tokyo')):%Y%m%d%H%M%S}"
    with ftp_server(server) as endpoint:
        way = connector(replace(endpoint, timezone="Asia/Tokyo"))
        with way.connect() as connection:
            assert connection.stat(A) == replace(A, modified=true)
        with way.connect() as connection:
            assert connection.stat(replace(A, path=name)) == replace(A, path=name, modified=true)


def test_old_files_do_not_use_up_the_comparisons() -> None:
    true, old = recent("Asia/Tokyo"), datetime(2020, 3, 4, 5, 6, 7, tzinfo=UTC)
    server = script(written(true, "Asia/Tokyo"))
    server.modified = f"{old:%Y%m%d%H%M%S}"
    with ftp_server(server) as endpoint, connector(replace(endpoint, timezone="Asia/Tokyo")).connect() as connection:
        for _ in range(20):
            connection.stat(A)
        server.modified = f"{true.astimezone(ZoneInfo('Asia/Tokyo')):%Y%m%d%H%M%S}"
        assert connection.stat(A) == replace(A, modified=true)


def test_a_server_that_refuses_to_list_one_file_is_taken_at_its_word() -> None:
    server = script(written(recent("Asia/Tokyo"), "Asia/Tokyo"), LIST=lambda path: "451 not a folder" if path else None)
    with ftp_server(server) as endpoint, connector(replace(endpoint, timezone="Asia/Tokyo")).connect() as connection:
        assert connection.stat(A) == A


@pytest.mark.parametrize("reply", ["213 00010101000000", "213 99991231235959"])
def test_a_time_that_means_none_is_none(reply: str) -> None:
    with ftp_server(script(MDTM=reply)) as endpoint:
        for zone in ("Europe/Berlin", "America/New_York"):
            with connector(replace(endpoint, timezone=zone)).connect() as connection:
                assert connection.stat(LISTED) == LISTED


@pytest.mark.parametrize("reply", ["451 restart not permitted", "550 no", "552 no", "554 bad position", "502 no"])
def test_a_server_that_refuses_rest_is_read_from_the_start(reply: str) -> None:
    content = bytes(range(200)) * 4
    server = script(REST=reply)
    server.files["/a.zip"] = content
    with ftp_server(server) as endpoint, connector(endpoint).connect() as connection:
        assert read_from(connection.open, replace(A, size=len(content)), 500) == content[500:]


def test_a_file_that_decides_nothing_undoes_no_decision_and_a_server_may_change_its_mind() -> None:
    zone, now = ZoneInfo("Asia/Tokyo"), datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
    true = now - timedelta(minutes=9)
    local, listed = true + timedelta(hours=9), true.replace(second=0)
    clock = FtpClock(zone)
    clock.compare(local, listed, now)
    clock.compare(local, None, now)
    clock.compare(local, listed - timedelta(hours=2), now)
    assert clock.utc(local) == true
    assert not clock.is_open("a.zip", local, now + timedelta(minutes=59))
    later = now + timedelta(hours=1)
    assert clock.is_open("a.zip", local, later)
    clock.compare(true, listed, later)
    assert clock.utc(true) == true
