"""Gaps in the listings of SFTP servers, and invalid answers."""

import stat
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import paramiko
import pytest
from paramiko.message import Message
from paramiko.sftp import CMD_READ, CMD_READDIR, CMD_STAT, SFTP_FAILURE, SFTP_PERMISSION_DENIED

from config.errors import SourceRefusedError, TransferTruncatedError
from ingest.model import Endpoint, Listing, RemoteFile, Scope, UnsizedFile
from ingest.protocols.connect import connector
from ingest.protocols.sftp_protocol import EOF
from tests.fakes.sftp_server import Attributes, Files, sftp_server

TIME = 1_772_600_000
FILE = stat.S_IFREG | 0o644
A = RemoteFile(path="a.zip", size=7, modified=datetime.fromtimestamp(TIME, UTC))
LONG = "-rw-r--r--    1 owner    group           7 Mar  4  2026 a.zip"
WHOLE = Attributes("a.zip", LONG, size=7, mode=FILE, mtime=TIME)
BAD_MESSAGE = 5


def list_files(endpoint: Endpoint) -> Listing:
    with connector(endpoint).connect() as connection:
        return connection.list_files()


def listed(*entries: Attributes, **files: object) -> Listing:
    with sftp_server(Files(folders={"/": entries}, **files)) as endpoint:  # type: ignore[arg-type]  # as Files has them
        return list_files(endpoint)


@pytest.mark.parametrize(
    "entry",
    [
        Attributes("a.zip", LONG, size=7, mode=FILE, mtime=TIME),
        Attributes("a.zip", "", size=7, mode=FILE, mtime=TIME),
        Attributes("a.zip", LONG, size=7, mode=0o666, mtime=TIME),
        Attributes("a.zip", LONG, size=7, mtime=TIME),
        Attributes("a.zip", "", size=7, mode=0o666, mtime=TIME),
        Attributes("a.zip", LONG, size=7, mode=FILE),
        Attributes("a.zip", LONG, mode=FILE, mtime=TIME),
        Attributes("a.zip", LONG, size=2**64 - 1, mode=FILE, mtime=TIME),
        Attributes("a.zip", "", size=7, mode=0o170644, mtime=TIME),
        Attributes("a.zip"),
    ],
)
@pytest.mark.parametrize("stated", [WHOLE, Attributes("a.zip", size=7, mode=0o666, mtime=TIME)])
def test_what_a_listing_leaves_out_is_asked_for(entry: Attributes, stated: Attributes) -> None:
    assert listed(entry, stats={"/a.zip": stated}) == Listing(files=[A], unread=[])


@pytest.mark.parametrize("stated", [Attributes("a.zip", size=7, mode=FILE), Attributes("a.zip")])
def test_a_file_without_time_is_named_and_costs_no_other(stated: Attributes) -> None:
    other = Attributes("b.zip", size=1, mode=FILE, mtime=TIME)
    listing = listed(replaced(stated), other, stats={"/a.zip": stated})
    assert [file.path for file in listing.files] == ["b.zip"]
    assert [part.path for part in listing.unread] == ["a.zip"]
    assert "no modified time" in listing.unread[0].text


@pytest.mark.parametrize("size", [None, 2**64 - 1, 2**63])
def test_a_file_of_unknown_size_is_read_to_its_end_to_count_its_bytes(size: int | None) -> None:
    """A server that does not know a size, and sends -1, sends a number beyond all files."""
    entry = Attributes("a.zip", size=size, mode=FILE, mtime=TIME)
    checks: list[None] = []
    files = Files(folders={"/": [entry]}, content=b"x" * 700_000)
    with sftp_server(files) as endpoint, connector(endpoint).connect() as connection:
        listing = connection.list_files()
        assert (listing.files, listing.unread) == ([], [])
        (file,) = listing.unsized
        assert file == UnsizedFile(path="a.zip", modified=A.modified)
        assert connection.measure(file, lambda: checks.append(None)) == 700_000
        assert connection.stat(file.of_size(9)) == file.of_size(9)
    assert checks


def replaced(stated: Attributes) -> Attributes:
    return Attributes("a.zip", "", size=stated.st_size, mode=stated.st_mode, mtime=stated.st_mtime)


def test_stat_keeps_what_was_listed_where_the_server_leaves_it_out() -> None:
    files = Files(folders={"/": [WHOLE]}, stats={"/a.zip": Attributes("a.zip", size=7, mode=FILE)})
    with sftp_server(files) as endpoint, connector(endpoint).connect() as connection:
        assert connection.stat(A) == A


def test_a_folder_by_its_long_name_is_listed_too() -> None:
    folder = Attributes("sub", "drwxr-xr-x    2 owner    group        4096 Mar  4  2026 sub", mode=0o755)
    files = Files(folders={"/": [folder], "/sub": [WHOLE]})
    with sftp_server(files) as endpoint:
        listing = list_files(replace(endpoint, recursive=True))
    assert [file.path for file in listing.files] == ["sub/a.zip"]
    assert CMD_STAT not in files.requests[: files.requests.index(CMD_READDIR)]


def test_what_is_neither_file_nor_folder_is_left_alone() -> None:
    entries = [
        Attributes("pipe.zip", "prw-r--r-- 1 o g 0 Mar  4  2026 pipe.zip", size=0, mtime=TIME),
        Attributes("socket.zip", size=0, mode=stat.S_IFSOCK, mtime=TIME),
    ]
    assert listed(*entries) == Listing(files=[], unread=[])


LINK = Attributes("link.zip", size=300, mode=stat.S_IFLNK | 0o777, mtime=TIME)


@pytest.mark.parametrize("code", [SFTP_FAILURE, SFTP_PERMISSION_DENIED, BAD_MESSAGE])
def test_a_link_that_cannot_be_followed_costs_itself_alone(code: int) -> None:
    listing = listed(LINK, WHOLE, stats={"/link.zip": code})
    assert list(listing.files) == [A]
    assert [part.path for part in listing.unread] == ["link.zip"]


def test_a_link_has_the_size_of_its_file_and_a_broken_one_is_no_file() -> None:
    listing = listed(LINK, Attributes("gone.zip", mode=stat.S_IFLNK), stats={"/link.zip": WHOLE, "/gone.zip": 2})
    assert listing == Listing(files=[RemoteFile(path="link.zip", size=7, modified=A.modified)], unread=[])


def test_a_link_that_nobody_wants_is_not_followed() -> None:
    files = Files(folders={"/": [LINK, WHOLE]}, stats={"/link.zip": BAD_MESSAGE})
    with sftp_server(files) as endpoint, connector(endpoint).connect() as connection:
        listing = connection.list_files(Scope(wants=lambda path: path == "a.zip"))
    assert listing == Listing(files=[A], unread=[])
    assert CMD_STAT not in files.requests


def test_a_link_that_the_server_does_not_follow_is_named() -> None:
    listing = listed(LINK, WHOLE, stats={"/link.zip": LINK})
    assert list(listing.files) == [A]
    assert [part.path for part in listing.unread] == ["link.zip"]


def test_a_file_that_is_listed_and_called_absent_is_named() -> None:
    """Such as one whose name cannot be sent back in the server's encoding."""
    listing = listed(Attributes("odd.zip", "", size=7, mode=FILE), WHOLE, stats={"/odd.zip": 2})
    assert list(listing.files) == [A]
    assert [part.path for part in listing.unread] == ["odd.zip"]


def test_a_size_that_only_a_negative_number_has_is_none() -> None:
    endless = Attributes("endless.zip", "", size=2**64 - 1, mode=FILE, mtime=TIME)
    listing = listed(endless, WHOLE)
    assert list(listing.files) == [A]
    assert [file.path for file in listing.unsized] == ["endless.zip"]


def test_a_forbidden_folder_costs_itself_alone() -> None:
    folder = Attributes("lost+found", mode=stat.S_IFDIR | 0o700, size=4096, mtime=TIME)
    with sftp_server(Files(folders={"/": [folder, WHOLE]})) as endpoint:
        listing = list_files(replace(endpoint, recursive=True))
        assert list(listing.files) == [A]
        assert [part.path for part in listing.unread] == ["lost+found/"]
        assert list_files(endpoint).unread == []


def test_a_source_folder_that_is_forbidden_is_an_error() -> None:
    with sftp_server(Files(folders={})) as endpoint, pytest.raises(SourceRefusedError, match="permission denied"):
        list_files(endpoint)


def failing_readdir(server: paramiko.SFTPServer, kind: int, number: int, _message: Message) -> bool:
    """Answer the second READDIR and all others with a failure, as a server does whose disk fails."""
    seen: list[int] = server.__dict__.setdefault("seen", [])
    seen += [number] * (kind == CMD_READDIR)
    if len(seen) < 2 or kind != CMD_READDIR:
        return False
    server._send_status(number, SFTP_FAILURE)  # type: ignore[attr-defined]  # not in the stubs
    return True


def test_a_listing_that_breaks_off_with_an_error_counts_as_incomplete() -> None:
    listing = listed(WHOLE, change=failing_readdir)
    assert list(listing.files) == [A]
    assert [part.path for part in listing.unread] == [None]
    assert not listing.lacks(["b.zip"])


def test_attributes_are_asked_for_without_waiting_for_each_answer() -> None:
    """Ten thousand round trips would take minutes."""
    entries = [Attributes(f"{n:03}.zip", "", size=n, mode=FILE) for n in range(200)]
    waiting: list[int] = []
    seen: list[int] = []

    def held_back(server: paramiko.SFTPServer, kind: int, number: int, _message: Message) -> bool:
        """Answer requests for attributes 64 at a time."""
        if kind != CMD_STAT:
            return False
        waiting.append(number)
        seen.append(number)
        if len(waiting) == 64 or len(seen) == 200:
            for one in waiting:
                server._response(one, 105, Attributes("", size=5, mode=FILE, mtime=TIME).plain())  # type: ignore[attr-defined]
            waiting.clear()
        return True

    assert len(listed(*entries, change=held_back).files) == 200


def longer_than_asked(server: paramiko.SFTPServer, kind: int, number: int, message: Message) -> bool:
    if kind != CMD_READ:
        return False
    message.get_binary()
    offset, length = message.get_int64(), message.get_int()
    server._response(number, 103, b"x" * (length + 1) if offset == 0 else b"")  # type: ignore[attr-defined]
    return True


def test_a_read_that_is_answered_with_more_than_was_asked_for_is_not_used() -> None:
    files = Files(folders={"/": [WHOLE]}, content=b"x" * 7, change=longer_than_asked)
    with sftp_server(files) as endpoint, connector(endpoint).connect() as connection:
        buffer = memoryview(bytearray(7))
        with (
            pytest.raises(TransferTruncatedError, match="sent 8 bytes of 7 requested at 0"),
            connection.open(A, 0) as reader,
        ):
            reader.readinto(buffer)
        assert bytes(buffer) == bytes(7)
        # The session was closed with the rest of the answers; the next call makes a new one.
        assert list(connection.list_files().files) == [A]


@pytest.mark.parametrize("short", [1, 1000])
def test_after_the_end_of_the_file_no_bytes_of_another_offset_are_taken(short: int) -> None:
    """A file grows while its end is reported; the requests behind it were sent before."""
    content = bytes(range(256)) * 4000

    def ends_once(server: paramiko.SFTPServer, kind: int, number: int, message: Message) -> bool:
        if kind != CMD_READ:
            return False
        message.get_binary()
        offset, length = message.get_int64(), message.get_int()
        if offset == short:
            server._send_status(number, EOF)  # type: ignore[attr-defined]  # not in the stubs
        else:
            part = content[offset : offset + (short if offset == 0 else length)]
            server._response(number, 103, part)  # type: ignore[attr-defined]  # as above
        return True

    files = Files(folders={"/": [Attributes("a.zip", mode=FILE, mtime=TIME)]}, content=content, change=ends_once)
    with sftp_server(files) as endpoint, connector(endpoint).connect() as connection:
        (file,) = connection.list_files().unsized
        assert connection.measure(file, lambda: None) == short
        buffer = memoryview(bytearray(len(content)))
        with connection.open(file.of_size(len(content)), 0) as reader:
            assert reader.readinto(buffer, 2**20) == short
            assert reader.readinto(buffer[short:], 2**20) == 0
        assert bytes(buffer[: short + 1]) == content[:short] + b"\0"


def test_a_read_returns_long_before_a_large_buffer_is_full() -> None:
    """The caller looks after its lease between reads, and a slow server may take minutes to fill a buffer."""
    with (
        sftp_server(Files(folders={"/": [WHOLE]}, content=bytes(2**20))) as endpoint,
        connector(endpoint).connect() as connection,
        connection.open(A, 0) as reader,
    ):
        assert reader.readinto(memoryview(bytearray(2**20))) == 2**18


class Looping(dict[str, Sequence[Attributes]]):
    """Folders of which each holds itself under another name."""

    def get(self, path: str, default: Any = None) -> Any:
        return self["/"] if path.strip("/").replace("loop", "").strip("/") == "" else default


@pytest.mark.parametrize("changing", [True, False])
def test_a_loop_of_folders_ends(changing: bool) -> None:
    loop = Attributes("loop", mode=stat.S_IFDIR | 0o755, size=4096, mtime=TIME)

    def touched(*_: object) -> bool:
        loop.st_mtime = (loop.st_mtime or 0) + changing
        return False

    files = Files(folders=Looping({"/": [loop, WHOLE]}), change=touched)
    with sftp_server(files) as endpoint:
        listing = list_files(replace(endpoint, recursive=True))
    assert len(listing.files) == (33 if changing else 1)
    assert [part.path for part in listing.unread] == ["loop/" * (33 if changing else 1)]
