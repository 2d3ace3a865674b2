"""The contract of every connector: run on the fake and on real servers, whose files are placed without the client."""

import base64
import os
import random
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import sleep
from typing import Literal, cast
from zoneinfo import ZoneInfo

import pytest

from config.errors import SourceRefusedError, SourceUnavailableError
from ingest.model import Endpoint, RemoteFile, UnsizedFile
from ingest.ports import Connection, Connector
from ingest.protocols.connect import connector
from local.servers.certificate import make_certificate, make_ssh_key
from local.servers.server import Server, ftp_server, sftp_server
from tests.fakes.remote import FakeServer
from tests.fixtures.asyncssh_server import asyncssh_server
from tests.fixtures.proftpd import proftpd_server
from tests.fixtures.pureftpd import pureftpd_server

type Start = Callable[[Path, Path], AbstractContextManager[Server]]

WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LARGE = 3 * 2**20 + 12345
ODD_NAMES = [
    "two words.zip",
    " leading space.zip",
    "grüße-Ærø.zip",
    "😀.zip",
    "-rf.zip",
    "--help.zip",
    'it\'s "quoted".zip',
    "100%done%20.zip",
    "star*[a]?.zip",
    "back\\slash.zip",
    "semi;colon=1; x.zip",
    "a -> b.zip",
    ".hidden.zip",
    "UPPER.ZIP",
]


CONTENT = random.Random(1).randbytes(LARGE)


def content_of(size: int) -> bytes:
    """Return bytes that differ at every offset, so that mixed-up parts are noticed."""
    return CONTENT[:size]


def read_all(connection: Connection, file: RemoteFile, offset: int = 0, chunk: int = 2**20) -> bytes:
    buffer, parts = memoryview(bytearray(chunk)), []
    with connection.open(file, offset) as reader:
        while got := reader.readinto(buffer):
            parts.append(bytes(buffer[:got]))
    return b"".join(parts)


class ConnectionContract(ABC):
    """The contract of Connector and Connection."""

    @abstractmethod
    def connector(self) -> Connector:
        """Return the connector to the server."""

    @abstractmethod
    def put(self, path: str, content: bytes, modified: datetime = WHEN) -> None:
        """Place a file without the client."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file without the client."""

    def file(self, connection: Connection, path: str) -> RemoteFile:
        listed = {file.path: file for file in connection.list_files().files}
        certain = connection.stat(listed[path])
        assert certain is not None
        return certain

    def test_an_empty_folder_lists_as_nothing(self) -> None:
        with self.connector().connect() as connection:
            assert list(connection.list_files().files) == []

    def test_files_have_their_exact_size_and_time(self) -> None:
        self.put("a.zip", b"x" * 1234)
        with self.connector().connect() as connection:
            assert self.file(connection, "a.zip") == RemoteFile(path="a.zip", size=1234, modified=WHEN)

    def test_odd_names_are_listed_looked_at_and_read(self) -> None:
        names = [name for name in ODD_NAMES if not self.hides(name)]
        for name in names:
            self.put(name, name.encode())
        with self.connector().connect() as connection:
            assert sorted(file.path for file in connection.list_files().files) == sorted(names)
            for name in names:
                file = self.file(connection, name)
                assert (file.size, file.modified) == (len(name.encode()), WHEN)
                assert read_all(connection, file) == name.encode()

    def test_a_name_with_a_line_break_costs_no_other_file(self) -> None:
        self.put("a.zip", b"x")
        self.put("b\rc.zip", b"y")
        with self.connector().connect() as connection:
            for file in connection.list_files().files:
                if file.path != "a.zip":
                    with suppress(SourceRefusedError):
                        read_all(connection, file)
                    with suppress(SourceRefusedError):
                        connection.stat(file)
            assert read_all(connection, self.file(connection, "a.zip")) == b"x"

    def hides(self, name: str) -> bool:
        """Return whether the server leaves a name out of its listings, or refuses to send such a file."""
        return False

    @pytest.mark.parametrize("size", [0, 1, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, LARGE])
    def test_a_file_is_read_byte_for_byte(self, size: int) -> None:
        self.put("a.zip", content_of(size))
        with self.connector().connect() as connection:
            assert read_all(connection, self.file(connection, "a.zip")) == content_of(size)

    @pytest.mark.parametrize("offset", [1, 32 * 1024, LARGE - 1, LARGE])
    def test_reading_begins_at_any_offset(self, offset: int) -> None:
        self.put("a.zip", content_of(LARGE))
        with self.connector().connect() as connection:
            assert read_all(connection, self.file(connection, "a.zip"), offset) == content_of(LARGE)[offset:]

    def test_a_file_that_grew_is_read_to_its_new_end(self) -> None:
        self.put("a.zip", b"x" * 100)
        with self.connector().connect() as connection:
            file = self.file(connection, "a.zip")
            self.put("a.zip", b"x" * 100_000)
            assert len(read_all(connection, file)) == 100_000

    def test_a_file_that_shrank_is_read_to_its_new_end(self) -> None:
        self.put("a.zip", b"x" * 100_000)
        with self.connector().connect() as connection:
            file = self.file(connection, "a.zip")
            self.put("a.zip", b"x" * 40_000)
            assert len(read_all(connection, file)) == 40_000

    def test_after_breaking_off_the_next_call_is_right(self) -> None:
        self.put("a.zip", content_of(LARGE))
        self.put("b.zip", b"other")
        with self.connector().connect() as connection:
            a, b = self.file(connection, "a.zip"), self.file(connection, "b.zip")
            for _ in range(2):
                with connection.open(a, 0) as reader:
                    buffer = memoryview(bytearray(1000))
                    got = reader.readinto(buffer)
                    assert bytes(buffer[:got]) == content_of(LARGE)[:got]
                assert read_all(connection, b) == b"other"
            assert read_all(connection, a) == content_of(LARGE)
            assert len(connection.list_files().files) == 2

    def test_an_error_of_the_consumer_passes_through(self) -> None:
        self.put("a.zip", content_of(LARGE))
        with self.connector().connect() as connection:
            file = self.file(connection, "a.zip")
            with pytest.raises(ZeroDivisionError), connection.open(file, 0):
                raise ZeroDivisionError
            assert read_all(connection, file) == content_of(LARGE)

    def test_looking_at_a_file_that_is_gone_gives_none(self) -> None:
        self.put("a.zip", b"x")
        with self.connector().connect() as connection:
            file = self.file(connection, "a.zip")
            self.remove("a.zip")
            assert connection.stat(file) is None
            assert list(connection.list_files().files) == []

    def test_opening_a_file_that_is_gone_is_an_error_of_the_source(self) -> None:
        self.put("a.zip", b"x")
        with self.connector().connect() as connection:
            file = self.file(connection, "a.zip")
            self.remove("a.zip")
            with pytest.raises(SourceUnavailableError, match=r"a\.zip"):
                read_all(connection, file)
            assert list(connection.list_files().files) == []

    @pytest.mark.parametrize("size", [0, 1, LARGE])
    def test_the_bytes_of_a_file_are_counted_to_its_end(self, size: int) -> None:
        self.put("a.zip", content_of(size))
        checks: list[None] = []
        with self.connector().connect() as connection:
            file = UnsizedFile(path="a.zip", modified=WHEN)
            assert connection.measure(file, lambda: checks.append(None)) == size
            assert len(checks) >= size / 2**20
            assert read_all(connection, file.of_size(size)) == content_of(size)

    def test_counting_can_be_stopped(self) -> None:
        def stop() -> None:
            raise ZeroDivisionError

        self.put("a.zip", content_of(LARGE))
        with self.connector().connect() as connection:
            with pytest.raises(ZeroDivisionError):
                connection.measure(UnsizedFile(path="a.zip", modified=WHEN), stop)
            assert read_all(connection, self.file(connection, "a.zip")) == content_of(LARGE)

    def test_a_file_that_is_gone_has_no_bytes_to_count(self) -> None:
        with self.connector().connect() as connection, pytest.raises(SourceUnavailableError, match=r"a\.zip"):
            connection.measure(UnsizedFile(path="a.zip", modified=WHEN), lambda: None)

    def test_looking_sees_changes(self) -> None:
        self.put("a.zip", b"x")
        with self.connector().connect() as connection:
            file = self.file(connection, "a.zip")
            later = WHEN + timedelta(seconds=1)
            self.put("a.zip", b"xy", later)
            assert connection.stat(file) == RemoteFile(path="a.zip", size=2, modified=later)

    def test_two_connections_read_at_the_same_time(self) -> None:
        self.put("a.zip", content_of(LARGE))
        with self.connector().connect() as one, self.connector().connect() as two:
            file = self.file(one, "a.zip")
            with one.open(file, 0) as reader:
                buffer = memoryview(bytearray(10))
                got = reader.readinto(buffer)
                assert read_all(two, file) == content_of(LARGE)
                assert bytes(buffer[:got]) == content_of(LARGE)[:got]


class TestFake(ConnectionContract):
    """The fake that unit tests rely on."""

    @pytest.fixture(autouse=True)
    def _server(self) -> None:
        self.server = FakeServer()

    def connector(self) -> Connector:
        return self.server

    def put(self, path: str, content: bytes, modified: datetime = WHEN) -> None:
        self.server.put(path, content, modified)

    def remove(self, path: str) -> None:
        del self.server.files[path]


class ServerContract(ConnectionContract):
    """Tests that need a real server: folders, links, refusals, crashes."""

    fixture: str
    """The fixture of the server."""
    start: Start
    """Starts a server of the same kind for one test alone."""
    timeout = 5.0
    """Seconds that any one network call may take."""
    names_are_bytes = True
    """Whether the server lists names that are not UTF-8."""

    @pytest.fixture(autouse=True)
    def _place(self, request: pytest.FixtureRequest) -> None:
        self.server: Server = request.getfixturevalue(self.fixture)
        self.folder = self.server.root / secrets.token_hex(8)
        self.folder.mkdir()
        known = self.server.endpoint()
        folder = f"{known.folder}/{self.folder.name}".removeprefix("./")
        self.endpoint = replace(known, folder=folder, timeout=self.timeout)

    def connector(self) -> Connector:
        return connector(self.endpoint)

    def put(self, path: str, content: bytes, modified: datetime = WHEN) -> None:
        put(self.folder / path, content, modified)

    def remove(self, path: str) -> None:
        (self.folder / path).unlink()

    def test_subfolders_are_listed_only_when_asked_for(self) -> None:
        (self.folder / "sub [1] *" / "-deep").mkdir(parents=True)
        self.put("a.zip", b"a")
        self.put("sub [1] */b.zip", b"bb")
        self.put("sub [1] */-deep/c.zip", b"ccc")
        with self.connector().connect() as connection:
            assert [file.path for file in connection.list_files().files] == ["a.zip"]
        with connector(replace(self.endpoint, recursive=True)).connect() as connection:
            deep = "sub [1] */-deep/c.zip"
            assert {file.path for file in connection.list_files().files} == {"a.zip", "sub [1] */b.zip", deep}
            assert read_all(connection, self.file(connection, deep)) == b"ccc"

    def test_folders_with_odd_names_are_entered(self) -> None:
        names = [name for name in ODD_NAMES if not self.hides(name)]
        for name in names:
            (self.folder / name).mkdir()
            self.put(f"{name}/a.zip", name.encode())
        with connector(replace(self.endpoint, recursive=True)).connect() as connection:
            listing = connection.list_files()
            assert {file.path for file in listing.files} == {f"{name}/a.zip" for name in names}
            assert list(listing.unread) == []
            for name in names:
                assert read_all(connection, self.file(connection, f"{name}/a.zip")) == name.encode()

    def test_a_link_to_a_folder_above_it_is_no_loop(self) -> None:
        (self.folder / "sub").mkdir()
        self.put("a.zip", b"a")
        self.put("sub/b.zip", b"bb")
        (self.folder / "loop").symlink_to(".")
        (self.folder / "sub" / "loop").symlink_to("..")
        with connector(replace(self.endpoint, recursive=True)).connect() as connection:
            listing = connection.list_files()
            assert {file.path for file in listing.files} == {"a.zip", "sub/b.zip"}
            assert all(part.path and part.path.rstrip("/").endswith("loop") for part in listing.unread)

    def test_a_link_to_a_file_is_a_file_and_broken_links_are_ignored(self) -> None:
        self.put("a.zip", b"four")
        (self.folder / "link.zip").symlink_to("a.zip")
        (self.folder / "broken.zip").symlink_to("nowhere")
        (self.folder / "folder.zip").symlink_to(".")
        with self.connector().connect() as connection:
            assert {file.path: file.size for file in connection.list_files().files} == {"a.zip": 4, "link.zip": 4}
            assert read_all(connection, self.file(connection, "link.zip")) == b"four"

    def test_names_that_are_not_utf8_survive_the_way_there_and_back(self) -> None:
        raw = b"caf\xe9.zip"
        put(Path(os.fsdecode(os.fsencode(self.folder) + b"/" + raw)), b"latin", WHEN)
        self.put("a.zip", b"a")
        with self.connector().connect() as connection:
            names = {file.path for file in connection.list_files().files}
            if not self.names_are_bytes:
                assert "a.zip" in names
                return
            assert names == {"caf\udce9.zip", "a.zip"}
            assert read_all(connection, self.file(connection, "caf\udce9.zip")) == b"latin"
        with connector(replace(self.endpoint, encoding="latin-1")).connect() as connection:
            assert read_all(connection, self.file(connection, "café.zip")) == b"latin"

    def test_ten_thousand_files_are_listed_completely(self) -> None:
        for number in range(10_000):
            (self.folder / f"{number:05}.zip").touch()
        with self.connector().connect() as connection:
            assert {file.path for file in connection.list_files().files} == {f"{n:05}.zip" for n in range(10_000)}

    def test_a_wrong_password_or_key_is_refused(self) -> None:
        wrong = replace(self.endpoint, password="wr0ng-s3cret", private_key=None)
        with pytest.raises(SourceRefusedError, match="log in") as caught, connector(wrong).connect():
            pass
        assert "wr0ng-s3cret" not in str(caught.value)

    def test_a_folder_that_is_not_there_is_refused(self) -> None:
        wrong = connector(replace(self.endpoint, folder=f"{self.server.folder}/nowhere".removeprefix("./")))
        with pytest.raises(SourceRefusedError, match="nowhere"), wrong.connect() as connection:
            connection.list_files()

    def test_a_server_that_is_not_there_is_unavailable(self) -> None:
        nowhere = connector(replace(self.endpoint, port=1))
        with pytest.raises(SourceUnavailableError), nowhere.connect():
            pass

    def test_a_server_killed_in_the_middle_is_unavailable(self, tmp_path: Path) -> None:
        root = tmp_path / "served"
        root.mkdir()
        put(root / "a.zip", bytes(64 * 2**20), WHEN)
        with ExitStack() as stack:
            server = stack.enter_context(self.start(tmp_path / "server", root))
            way = connector(replace(server.endpoint(), timeout=5))
            connection = stack.enter_context(way.connect())
            file = self.file(connection, "a.zip")
            # FTP ends a file by closing the connection, so a crash may look like an end; but no later call can.
            with suppress(SourceUnavailableError), connection.open(file, 0) as reader:
                buffer = memoryview(bytearray(2**20))
                got = total = reader.readinto(buffer) or 0
                server.kill()
                while got:
                    got = reader.readinto(buffer) or 0
                    total += got
                assert total < file.size
            with pytest.raises(SourceUnavailableError):
                connection.list_files()


def put(path: Path, content: bytes, modified: datetime) -> None:
    path.write_bytes(content)
    os.utime(path, (modified.timestamp(), modified.timestamp()))


class SftpContract(ServerContract):
    """Tests of SFTP only: host keys."""

    def test_a_wrong_host_key_is_refused_and_the_error_shows_the_one_that_came(self) -> None:
        wrong = connector(replace(self.endpoint, host_key=make_ssh_key().public))
        with (
            pytest.raises(SourceRefusedError, match=r"host key differs from HOST_KEY.*SHA256:.*`ssh-keyscan -p \d+ "),
            wrong.connect(),
        ):
            pass

    def test_a_host_key_of_another_kind_is_refused(self) -> None:
        other = "ecdsa-sha2-nistp256"
        blob = len(other).to_bytes(4) + other.encode() + bytes(80)
        wrong = replace(self.endpoint, host_key=f"{other} {base64.b64encode(blob).decode()}")
        with pytest.raises(SourceRefusedError, match="HOST_KEY"), connector(wrong).connect():
            pass

    def test_one_right_host_key_among_several_lines_is_enough(self) -> None:
        right, wrong = str(self.endpoint.host_key), make_ssh_key().public
        lines = f"# keys\n\n[other]:2222,1.2.3.4 {wrong} comment\n|1|c2FsdA==|aGFzaA== {right} root@host\n"
        with connector(replace(self.endpoint, host_key=lines)).connect() as connection:
            assert list(connection.list_files().files) == []

    def test_a_wrong_private_key_is_refused(self) -> None:
        wrong = replace(self.endpoint, private_key=make_ssh_key().private, password=None)
        with pytest.raises(SourceRefusedError, match="log in"), connector(wrong).connect():
            pass


class TestSshd(SftpContract):
    fixture = "sshd"
    start = staticmethod(partial(sftp_server, program="OpenSSH sshd"))

    def test_a_file_that_may_not_be_read_is_refused_and_the_others_are_not(self) -> None:
        if os.geteuid() == 0:
            # root may read everything, but a folder is no file for it either.
            (self.folder / "folder").mkdir()
            with self.connector().connect() as connection, pytest.raises(SourceUnavailableError):
                read_all(connection, RemoteFile(path="folder", size=1, modified=WHEN))


class TestParamiko(SftpContract):
    fixture = "parasftp"
    start = staticmethod(partial(sftp_server, program="paramiko"))
    names_are_bytes = False

    def test_password_alone_is_enough(self) -> None:
        with connector(replace(self.endpoint, private_key=None)).connect() as connection:
            assert list(connection.list_files().files) == []

    def test_key_alone_is_enough(self) -> None:
        with connector(replace(self.endpoint, password=None)).connect() as connection:
            assert list(connection.list_files().files) == []


class FtpContract(ServerContract):
    """Tests of FTP only: two ways of listing."""

    def test_times_without_a_year_are_told_for_certain(self) -> None:
        recent = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3, seconds=17)
        self.put("recent.zip", b"x", recent)
        with self.connector().connect() as connection:
            assert self.file(connection, "recent.zip").modified == recent

    def test_mlsd_and_list_lead_to_the_same_certain_metadata(self) -> None:
        for name in ("a.zip", "two words.zip"):
            self.put(name, name.encode())
        found = []
        for mlsd in (True, False):
            with connector(replace(self.endpoint, mlsd=mlsd)).connect() as connection:
                found.append(
                    {self.file(connection, file.path).path: file.size for file in connection.list_files().files}
                )
        assert found[0] == found[1]


class TlsContract(FtpContract):
    """Tests of FTP under TLS only: certificates."""

    def test_a_certificate_of_an_unknown_authority_is_refused(self) -> None:
        for ca in (None, make_certificate().authority):
            untrusted = connector(replace(self.endpoint, ca=ca))
            with pytest.raises(SourceRefusedError, match=r"certificate is not trusted.*set CA"), untrusted.connect():
                pass

    def test_a_certificate_for_another_host_is_refused(self) -> None:
        other = connector(replace(self.endpoint, host="127.0.0.2"))
        with pytest.raises((SourceRefusedError, SourceUnavailableError)), other.connect():
            pass

    def test_a_password_never_goes_out_in_the_clear(self) -> None:
        plain = connector(replace(self.endpoint, scheme="ftp", timeout=1))
        with pytest.raises((SourceRefusedError, SourceUnavailableError)), plain.connect():
            pass


class TestVsftpd(FtpContract):
    fixture = "vsftpd"
    start = staticmethod(partial(ftp_server, program="vsftpd"))

    def hides(self, name: str) -> bool:
        return name.startswith(".")


class TestVsftpdExplicitTls(TlsContract):
    fixture = "vsftpd_explicit_tls"
    start = staticmethod(partial(ftp_server, program="vsftpd", tls="explicit"))

    def hides(self, name: str) -> bool:
        return name.startswith(".")


class TestVsftpdImplicitTls(TlsContract):
    fixture = "vsftpd_implicit_tls"
    start = staticmethod(partial(ftp_server, program="vsftpd", tls="implicit"))

    def hides(self, name: str) -> bool:
        return name.startswith(".")


class TestPyftpdlib(FtpContract):
    fixture = "pyftpd"
    names_are_bytes = False
    start = staticmethod(partial(ftp_server, program="pyftpdlib"))


class TestPyftpdlibTls(TlsContract):
    fixture = "pyftpd_tls"
    names_are_bytes = False
    start = staticmethod(partial(ftp_server, program="pyftpdlib", tls="explicit"))


class TestPyftpdlibImplicitTls(TlsContract):
    fixture = "pyftpd_implicit_tls"
    names_are_bytes = False
    start = staticmethod(partial(ftp_server, program="pyftpdlib", tls="implicit", mlsd=False))


class TestProftpd(FtpContract):
    fixture = "proftpd"
    start = staticmethod(proftpd_server)


class TestProftpdTls(TlsContract):
    fixture = "proftpd_tls"
    start = staticmethod(partial(proftpd_server, scheme="ftpes"))


class TestProftpdSftp(SftpContract):
    fixture = "proftpd_sftp"
    start = staticmethod(partial(proftpd_server, scheme="sftp"))


class TestPureFtpd(FtpContract):
    fixture = "pureftpd"
    timeout = 20.0  # it answers a wrong password after a random time
    start = staticmethod(pureftpd_server)

    def hides(self, name: str) -> bool:
        return "\\" in name


class TestPureFtpdTls(TlsContract):
    fixture = "pureftpd_tls"
    timeout = 20.0
    start = staticmethod(partial(pureftpd_server, scheme="ftpes"))

    def hides(self, name: str) -> bool:
        return "\\" in name


class TestAsyncssh(SftpContract):
    fixture = "asyncssh"
    start = staticmethod(asyncssh_server)


@contextmanager
def eventually(way: Connector) -> Iterator[None]:
    """Connect as soon as the server has room."""
    with ExitStack() as stack:
        for attempt in range(100):
            try:
                stack.enter_context(way.connect())
                break
            except SourceUnavailableError:
                if attempt == 99:
                    raise
                sleep(0.1)
        yield


def test_a_server_that_is_full_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with ftp_server(tmp_path / "server", tmp_path / "served", program="vsftpd", max_clients=1) as server:
        way = connector(server.endpoint())
        # vsftpd may still count the connection that showed that it listens.
        with eventually(way), pytest.raises(SourceUnavailableError, match="421"), way.connect():
            pass


def test_a_scheme_without_a_protocol_is_an_error_and_not_ftp() -> None:
    endpoint = Endpoint(scheme=cast(Literal["ftp"], "gopher"), host="127.0.0.1", port=1)
    with pytest.raises(AssertionError, match="gopher"):
        connector(endpoint)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "Europe/Berlin", "UTC"])
def test_vsftpd_in_local_time_is_read_by_timezone(zone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's own configuration file of vsftpd has `use_localtime=YES`, and then MDTM is not UTC either."""
    monkeypatch.setenv("TZ", zone)
    served = tmp_path / "served"
    served.mkdir()
    now = datetime.now(ZoneInfo(zone))
    # LIST cannot decide at midnight, nor in the hour that comes twice.
    noon = (now if now.hour >= 12 else now - timedelta(days=1)).replace(hour=12, minute=0, second=7, microsecond=0)
    true = {f"{minutes}.zip": noon.astimezone(UTC) - timedelta(minutes=minutes) for minutes in (1, 9, 70, 144_000)}
    for name, time in true.items():
        (served / name).write_bytes(b"x")
        os.utime(served / name, (time.timestamp(), time.timestamp()))
    with ftp_server(tmp_path / "server", served, program="vsftpd", local_time=True) as server:
        endpoint = replace(server.endpoint(), timezone=zone)
        with connector(endpoint).connect() as connection:
            for listed in connection.list_files().files:
                certain = connection.stat(listed)
                assert certain is not None
                off = certain.modified - true[listed.path]
                # vsftpd converts by the present offset of its zone, also times before clocks were changed.
                changed = now.utcoffset() != true[listed.path].astimezone(now.tzinfo).utcoffset()
                assert abs(off) <= timedelta(hours=changed)
