"""The same folders of the same servers by lftp, rclone, curl and us: names, sizes, times and bytes."""

import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

import pytest

from ingest.model import Listing
from ingest.ports import Connector
from ingest.protocols.connect import connector
from local.servers.server import Server, ftp_server, sftp_server
from tests.contract.test_connection import ODD_NAMES, put, read_all
from tests.fixtures.asyncssh_server import asyncssh_server
from tests.fixtures.proftpd import proftpd_server
from tests.fixtures.pureftpd import pureftpd_server
from tests.integration.peers import Curl, Fetched, Lftp, Peer, Rclone

type Start = Callable[[Path, Path], AbstractContextManager[Server]]

SERVERS: Mapping[str, Start] = {
    "vsftpd": partial(ftp_server, program="vsftpd"),
    "ProFTPD": proftpd_server,
    "ProFTPD-TLS": partial(proftpd_server, scheme="ftpes"),
    "ProFTPD-SFTP": partial(proftpd_server, scheme="sftp"),
    "Pure-FTPd": pureftpd_server,
    "Pure-FTPd-TLS": partial(pureftpd_server, scheme="ftpes"),
    "sshd": partial(sftp_server, program="OpenSSH sshd"),
    "asyncssh": asyncssh_server,
}
PEERS: Mapping[str, type[Peer]] = {"lftp": Lftp, "rclone": Rclone, "curl": Curl}
FLAT = ["files/plain", "files/odd", "files/links", "large", "many"]
"""Folders that are listed."""
NOW = datetime.now(UTC)
PLAIN = {
    "now.zip": NOW - timedelta(minutes=3),
    "hours.zip": NOW - timedelta(hours=7),
    "this-year.zip": NOW - timedelta(days=40),
    "half-a-year.zip": NOW - timedelta(days=182),
    "last-year.zip": NOW - timedelta(days=400),
    "2000.zip": datetime(2000, 2, 29, 23, 59, tzinfo=UTC),
    "1975.zip": datetime(1975, 2, 3, 4, 5, tzinfo=UTC),
}
LINKS = {
    "relative.zip": "a.zip",
    "upwards.zip": "../plain/hours.zip",
    "absolute.zip": "{files}/plain/last-year.zip",
}
DEAD = {"broken.zip": "nowhere.zip", "loop.zip": "loop of two.zip", "loop of two.zip": "loop.zip"}
TO_FOLDERS = {"folder.zip": "../plain", "relative folder": "../deep/sub one"}
DEEP = ["a.zip", "sub one/b.zip", "sub one/-two [2]/c.zip", "sub one/-two [2]/d.zip"]
FORBIDDEN = "files/deep/forbidden/"
LARGE = 2**31 + 2**20 + 1
MANY = 2_500


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that every server serves. The times have seconds, which LIST does not show."""
    root = tmp_path_factory.mktemp("tree")
    files = root / "files"
    for folder in (*FLAT, "files/deep/empty", FORBIDDEN):
        (root / folder).mkdir(parents=True)
    data = random.Random(18)
    for number, (name, modified) in enumerate(PLAIN.items()):
        put(files / "plain" / name, data.randbytes(number * 70_001 + 1), modified.replace(second=17, microsecond=0))
    put(files / "plain/empty.zip", b"", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    for name in ODD_NAMES:
        put(files / "odd" / name, name.encode(), datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))
    put(files / "links/a.zip", b"the file behind the links", datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC))
    for name, target in (LINKS | DEAD | TO_FOLDERS).items():
        (files / "links" / name).symlink_to(target.format(files=files))
    for path in [*DEEP, "forbidden/hidden.zip"]:
        (files / "deep" / path).parent.mkdir(parents=True, exist_ok=True)
        put(files / "deep" / path, path.encode(), datetime(2026, 4, 5, 6, 7, 8, tzinfo=UTC))
    (root / FORBIDDEN).chmod(0)
    with (root / "large/large.zip").open("wb") as file:
        file.truncate(LARGE - 3)
        file.seek(0, os.SEEK_END)
        file.write(b"end")
    for number in range(MANY):
        (root / f"many/{number:05}.zip").touch()
    return root


class Ours:
    """The listings and files of our client."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def connector(self, folder: str, *, recursive: bool = False) -> Connector:
        known = self.server.endpoint()
        folder = f"{known.folder}/{folder}".removeprefix("./")
        return connector(replace(known, folder=folder, recursive=recursive, timeout=20))

    @cached_property
    def listings(self) -> Mapping[str, Listing]:
        """The listings of `FLAT`."""
        listings = {}
        for folder in FLAT:
            with self.connector(folder).connect() as connection:
                listings[folder] = connection.list_files()
        return listings

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The sizes of the listed files that can be read."""
        sizes = {f"{folder}/{file.path}": file.size for folder, of in self.listings.items() for file in of.files}
        return {path: size for path, size in sizes.items() if is_served(self.server, path)}

    @cached_property
    def tree(self) -> Listing:
        """The listing of `files` with its subfolders."""
        with self.connector("files", recursive=True).connect() as connection:
            return connection.list_files()

    @cached_property
    def fetched(self) -> Mapping[str, Fetched]:
        """The files of `files`, each stat'ed and read."""
        fetched = {}
        with self.connector("files", recursive=True).connect() as connection:
            for file in self.tree.files:
                if is_served(self.server, f"files/{file.path}"):
                    certain = connection.stat(file)
                    assert certain is not None, file
                    content = read_all(connection, certain)
                    fetched[file.path] = Fetched(size=certain.size, modified=certain.modified, content=content)
        return fetched


class Theirs:
    """The listing of another client, and the files that the server lets it read."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    @cached_property
    def sizes(self) -> Mapping[str, int | None]:
        """The sizes of the listed files."""
        return {path: size for path, size in self.peer.list_files(FLAT).items() if self._is_comparable(path)}

    def fetched(self, paths: Iterable[str]) -> Mapping[str, Fetched]:
        """Return the files of `files`, at least `paths`."""
        came = self.peer.fetched("files", paths)
        return {path: file for path, file in came.items() if self._is_comparable(f"files/{path}")}

    def _is_comparable(self, path: str) -> bool:
        """Return whether it is a file, as far as links are followed: our client does not follow a link to a folder."""
        name, parts = PurePosixPath(path).name, PurePosixPath(path).parts
        if name in LINKS and not self.peer.follows_links:
            return False
        return not {*parts} & {*DEAD, *TO_FOLDERS} and is_served(self.peer.server, path)


def is_served(server: Server, path: str) -> bool:
    """Return whether a server lets a file be read."""
    name = PurePosixPath(path).name
    match server.kind:
        case "vsftpd":
            return not name.startswith(".") and not is_forbidden(server, path)
        case "Pure-FTPd":
            # Absolute links have no target in its chroot.
            return "\\" not in name and name != "absolute.zip" and not is_forbidden(server, path)
        case _:
            return not is_forbidden(server, path)


def is_forbidden(server: Server, path: str) -> bool:
    return path.startswith(FORBIDDEN) and forbids(server)


def forbids(server: Server) -> bool:
    """Return whether permissions hold for a server: root may read everything, unless it gives that right up."""
    return os.geteuid() != 0 or server.kind in {"ProFTPD", "Pure-FTPd"}


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each server over the same folders."""
    with SERVERS[request.param](tmp_path_factory.mktemp("server"), tree) as started:
        yield started


@pytest.fixture(scope="module")
def ours(server: Server) -> Ours:
    return Ours(server)


@pytest.fixture(scope="module", params=list(PEERS))
def theirs(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    """Each other client of each server."""
    return Theirs(PEERS[request.param](server, tmp_path_factory.mktemp("peer")))


def test_every_file_is_read_as_it_is_on_the_disk(ours: Ours, tree: Path) -> None:
    paths = [path.relative_to(tree).as_posix() for path in (tree / "files").rglob("*") if path.is_file()]
    served = [path for path in paths if is_served(ours.server, path)]
    assert ours.fetched == {path.removeprefix("files/"): Fetched.of(tree / path) for path in served}


def test_other_clients_list_the_same_names_and_sizes(ours: Ours, theirs: Theirs) -> None:
    assert theirs.sizes.keys() <= ours.sizes.keys()
    assert {path: size for path, size in theirs.sizes.items() if size not in {None, ours.sizes[path]}} == {}
    # Some omit links, and names that begin with a dot.
    left_out = {PurePosixPath(path).name for path in ours.sizes.keys() - theirs.sizes.keys()}
    assert left_out <= {*LINKS, ".hidden.zip"}


def test_other_clients_fetch_the_same_times_and_bytes(ours: Ours, theirs: Theirs) -> None:
    paths = {path for path in ours.fetched if theirs.peer.follows_links or PurePosixPath(path).name not in LINKS}
    expected = {path: ours.fetched[path] for path in paths}
    # Ours is held to the disk. A transfer of another client may fail, for example when a server takes no TLS session
    # again.
    fetched = theirs.fetched(ours.fetched)
    for _ in range(2):
        if fetched != expected:
            fetched = theirs.fetched(ours.fetched)
    assert fetched == expected


def test_thousands_of_files_are_listed_completely(ours: Ours) -> None:
    assert {file.path for file in ours.listings["many"].files} == {f"{number:05}.zip" for number in range(MANY)}
    assert not ours.listings["many"].unread


def test_a_file_of_more_than_2_gib_has_its_size_and_its_end(ours: Ours) -> None:
    (large,) = ours.listings["large"].files
    with ours.connector("large").connect() as connection:
        certain = connection.stat(large)
        assert certain is not None
        assert (large.size, certain.size) == (LARGE, LARGE)
        assert read_all(connection, certain, LARGE - 4) == b"\0end"


def test_a_forbidden_folder_is_named_and_costs_itself_alone(ours: Ours) -> None:
    if not forbids(ours.server):
        pytest.skip("root may read every folder")
    deep = {file.path.removeprefix("deep/") for file in ours.tree.files if file.path.startswith("deep/")}
    assert deep == {*DEEP}
    assert FORBIDDEN.removeprefix("files/") in {part.path for part in ours.tree.unread}


def test_a_link_that_leads_to_no_file_is_no_file_and_no_other_file_is_missing(ours: Ours) -> None:
    listing = ours.listings["files/links"]
    dead = {*DEAD, *TO_FOLDERS}
    assert dead & {file.path for file in listing.files} == set()
    assert {part.path for part in listing.unread} <= dead | {"absolute.zip"}
    assert listing.lacks(["gone.zip"]) == {"gone.zip"}


@pytest.mark.parametrize("mlsd", [True, False])
def test_a_listing_that_the_server_cuts_short_is_incomplete(mlsd: bool, tree: Path, tmp_path: Path) -> None:
    with pureftpd_server(tmp_path, tree, most=100) as server:
        endpoint = replace(server.endpoint(), folder="many", mlsd=mlsd)
        with connector(endpoint).connect() as connection:
            listing = connection.list_files()
    assert 0 < len(listing.files) < MANY
    assert [part.path for part in listing.unread] == [None]
    assert "truncated" in listing.unread[0].text
    assert listing.lacks(["gone.zip"]) == set()
