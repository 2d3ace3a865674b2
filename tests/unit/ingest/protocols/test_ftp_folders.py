"""Listings of FTP servers: a line that cannot be read is not an absent file, and one folder does not affect others."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from config.errors import OutOfTimeError, SourceRefusedError, SourceUnavailableError
from ingest.model import EVERYTHING, Listing, RemoteFile, Scope, Unread, UnsizedFile
from ingest.protocols import listing as listing_limits
from ingest.protocols.connect import connector
from tests.fakes.ftp_server import Script, ftp_server

WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
DAY = datetime(2026, 3, 4, tzinfo=UTC)
MLSD = {"FEAT": "211-Features:\r\n MLST type*;size*;modify*;\r\n211 End"}


def line(name: str, size: int = 7) -> bytes:
    return f"-rw-r--r-- 1 u g {size} Mar 04  2026 {name}\r\n".encode("utf-8", "surrogateescape")


def folder(name: str) -> bytes:
    return f"drwxr-xr-x 2 u g 4096 Mar 04  2026 {name}\r\n".encode("utf-8", "surrogateescape")


def fact(name: str, **facts: object) -> bytes:
    return "".join(f"{key}={value};" for key, value in facts.items()).encode() + f" {name}\r\n".encode()


def listed(script: Script, *, recursive: bool = True, scope: Scope = EVERYTHING) -> Listing:
    with ftp_server(script) as endpoint, connector(replace(endpoint, recursive=recursive)).connect() as connection:
        return connection.list_files(scope)


def paths(listing: Listing) -> set[str]:
    return {file.path for file in listing.files}


def unread(listing: Listing) -> list[Unread]:
    return [*listing.unread]


STRANGE = [
    "PARTNER  123456 11/28/26 10:12:33 *STMF  a.zip",
    "SAVE00 3390   2004/06/23  1    1  FB     128  6144  PS    A.ZIP",
    "A.ZIP;1              9/9           2-JUN-1998 07:32:04  [GROUP,OWNER]    (RWED,RWED,RWED,)",
    "- [RWCEAFMS] rwinston                        19968 Mar 12 15:20 a.zip",
    "+i8388621.48594,m825718503,r,s280,\ta.zip",
    "-rw-r--r-- 1 u g 7 Foo 04  2026 a.zip",
]


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("before", [True, False])
def test_a_line_that_is_not_understood_is_quoted_and_costs_no_other(strange: str, before: bool) -> None:
    lines = [strange.encode() + b"\r\n", b"total 12\r\n", folder("."), line("b.zip")]
    listing = listed(Script(listings={"LIST": {"/": b"".join(lines if before else reversed(lines))}}))
    assert listing.files == [RemoteFile(path="b.zip", size=7, modified=DAY)]
    assert unread(listing) == [Unread(text=strange)]
    assert not listing.lacks(["a.zip"])


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize(
    "names", ["a.zip\r\nnotes\r\nsub\r\n", "/a.zip\r\n/notes\r\n/sub\r\n.\r\n", "./a.zip\r\n./notes\r\n"]
)
def test_files_of_a_listing_that_is_not_understood_are_asked_for_by_name(strange: str, names: str) -> None:
    listings = {"LIST": {"/": strange.encode() + b"\r\n", "/sub": b""}, "NLST": {"/": names.encode()}}
    script = Script(listings=listings, files={"/a.zip": b"content", "/notes": b""})
    for recursive in (True, False):
        listing = listed(script, recursive=recursive)
        assert listing.files == [
            RemoteFile(path="a.zip", size=7, modified=WHEN),
            RemoteFile(path="notes", size=0, modified=WHEN),
        ]
        assert unread(listing) == []


def test_folders_of_a_listing_that_is_not_understood_are_listed() -> None:
    strange = f"{STRANGE[0]}\r\n".encode()
    names = {"/": b"sub\r\na.zip\r\n", "/sub": b"b.zip\r\nc\r\n", "/sub/c": b"d.zip\r\n"}
    files = {"/a.zip": b"1", "/sub/b.zip": b"2", "/sub/c/d.zip": b"3"}
    script = Script(listings={"LIST": dict.fromkeys(names, strange), "NLST": names}, files=files)
    listing = listed(script)
    assert paths(listing) == {"a.zip", "sub/b.zip", "sub/c/d.zip"}
    assert unread(listing) == []


def test_a_name_that_is_neither_file_nor_folder_is_told() -> None:
    listings = {"LIST": {"/": f"{STRANGE[0]}\r\n".encode()}, "NLST": {"/": b"a.zip\r\nodd\r\n"}}
    listing = listed(Script(listings=listings, files={"/a.zip": b"content"}))
    assert paths(listing) == {"a.zip"}
    assert [part.path for part in listing.unread] == ["odd"]


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize(
    "says",
    [
        {"NLST": "502 not implemented"},
        {"NLST": "550 no files found"},
        {"SIZE": "502 not implemented"},
        {"SIZE": "550 not a plain file"},
        {"SIZE": "213 -1"},
        {"MDTM": "502 not implemented"},
    ],
)
def test_a_listing_of_which_nothing_is_understood_fails_with_its_first_line(strange: str, says: dict[str, str]) -> None:
    listings = {"LIST": {"/": f"{strange}\r\nsecond\r\n".encode()}, "NLST": {"/": b"a.zip\r\n"}}
    script = Script(listings=listings, files={"/a.zip": b"content"}, says={**says})
    for recursive in (True, False):
        with pytest.raises(SourceRefusedError, match=r"no line of the listing is understood.*ask the owner") as caught:
            listed(script, recursive=recursive)
        assert repr(strange) in str(caught.value)


@pytest.mark.parametrize("reply", ["200 ok", "nonsense", "150 wait"])
def test_a_line_that_is_not_understood_is_quoted_even_if_nlst_ends_the_connection(reply: str) -> None:
    listings = {"LIST": {"/": f"{STRANGE[0]}\r\n".encode()}}
    with (
        ftp_server(Script(listings=listings, says={"NLST": reply})) as endpoint,
        connector(replace(endpoint, timeout=0.3)).connect() as connection,
        pytest.raises(SourceUnavailableError, match=r"is not understood, and NLST fails") as caught,
    ):
        connection.list_files()
    assert repr(STRANGE[0]) in str(caught.value)


def test_few_names_are_asked_for_in_vain() -> None:
    names = "".join(f"{number}.zip\r\n" for number in range(1000)).encode()
    script = Script(listings={"LIST": {"/": b"strange\r\n"}, "NLST": {"/": names}}, says={"SIZE": "502 no"})
    with pytest.raises(SourceRefusedError, match="'strange'"):
        listed(script)
    assert sum(command.startswith("SIZE") for command in script.commands) < 30


ZIPS = Scope(wants=lambda path: path.endswith(".zip"))


@pytest.mark.parametrize("recursive", [True, False])
def test_of_names_that_nobody_wants_few_are_asked_for(recursive: bool) -> None:
    names = [f"{number:03}.log" for number in range(100)]
    strange = dict.fromkeys(["/", "/sub"], f"{STRANGE[0]}\r\n".encode())
    top = "\r\n".join(["a.zip", *names, "sub", "z.zip", ""]).encode()
    listings = {"LIST": strange, "NLST": {"/": top, "/sub": b"b.zip\r\n"}}
    files = dict.fromkeys([*(f"/{name}" for name in names), "/a.zip", "/z.zip", "/sub/b.zip"], b"content")
    script = Script(listings=listings, files=files)
    listing = listed(script, recursive=recursive, scope=ZIPS)
    assert {path for path in paths(listing) if path.endswith(".zip")} == {
        "a.zip",
        "z.zip",
        *(["sub/b.zip"] if recursive else []),
    }
    asked = [command.split()[1] for command in script.commands if command.startswith("SIZE")]
    assert len(asked) < 20
    assert "099.log" in asked, "a wrong PATTERN is noticed by the newest file that it skips"
    assert listing.unread == []


def test_names_that_nobody_wants_do_not_hide_that_nothing_is_told_of_the_others() -> None:
    names = "".join(f"{number:03}.log\r\n" for number in range(100)).encode() + b"a.zip\r\n"
    script = Script(listings={"LIST": {"/": b"strange\r\n"}, "NLST": {"/": names}}, says={"SIZE": "502 no"})
    for recursive in (True, False):
        with pytest.raises(SourceRefusedError, match="'strange'"):
            listed(script, recursive=recursive, scope=ZIPS)


def test_a_link_that_nobody_wants_is_not_followed() -> None:
    links = b"".join(
        b"lrwxrwxrwx 1 u g 9 Mar 04  2026 %b -> x\r\n" % name for name in (b"loop", b"notes.txt", b"a.zip")
    )
    script = Script(listings={"LIST": {"/": links + line("b.zip")}}, files={"/a.zip": b"content"})
    listing = listed(script, scope=ZIPS)
    assert paths(listing) == {"a.zip", "b.zip"}
    assert listing.unread == []
    assert [command for command in script.commands if command.startswith("SIZE")] == ["SIZE a.zip"]


@pytest.mark.parametrize("recursive", [True, False])
def test_a_link_to_a_folder_is_left_out_without_a_word_and_a_dead_one_is_told(recursive: bool) -> None:
    links = b"".join(b"lrwxrwxrwx 1 u g 9 Mar 04  2026 %b.zip -> x\r\n" % name for name in (b"latest", b"dead"))
    script = Script(listings={"LIST": {"/": links + line("b.zip"), "/latest.zip": line("c.zip")}})
    listing = listed(script, recursive=recursive, scope=ZIPS)
    assert paths(listing) == {"b.zip"}
    assert [part.path for part in listing.unread] == ["dead.zip"]


def test_a_listing_ends_between_two_entries_when_its_caller_is_out_of_time() -> None:
    left = 5

    def check() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise OutOfTimeError("enough")

    lists = {"/": b"".join(folder(f"{number}") for number in range(100))}
    script = Script(listings={"LIST": lists | {f"/{number}": b"" for number in range(100)}})
    with pytest.raises(OutOfTimeError):
        listed(script, scope=Scope(check=check))
    assert sum(command.startswith("LIST") for command in script.commands) == 5


def test_one_name_that_is_told_is_not_lost_to_many_that_are_not() -> None:
    names = b"a.zip\r\n" + b"".join(b"%d.zip\r\n" % number for number in range(30))
    listings = {"LIST": {"/": b"strange\r\n"}, "NLST": {"/": names}}
    listing = listed(Script(listings=listings, files={"/a.zip": b"content"}))
    assert paths(listing) == {"a.zip"}
    assert len(listing.unread) == 30


def test_a_subfolder_of_which_nothing_is_understood_costs_itself() -> None:
    listings = {"LIST": {"/": folder("sub") + line("a.zip"), "/sub": f"{STRANGE[0]}\r\n".encode()}}
    listing = listed(Script(listings=listings))
    assert paths(listing) == {"a.zip"}
    assert unread(listing) == [Unread(text=STRANGE[0], path="sub/")]


def test_lines_about_a_folder_that_the_server_calls_empty_are_told() -> None:
    listing = listed(Script(listings={"LIST": {"/": b"Directory of DISK:[A]\r\n"}, "NLST": {"/": b""}}))
    assert listing.files == []
    assert unread(listing) == [Unread(text="Directory of DISK:[A]")]


@pytest.mark.parametrize(
    "mlsd",
    [
        fact("a.zip", size=7, modify="20260304050607") + fact("sub", modify="20260304050607"),
        fact("a.zip", size=7, modify="20260304050607", perm="adfr") + fact("sub", perm="flcdmpe"),
        fact("a.zip", modify="20260304050607") + fact("sub", size=4096, modify="20260304050607"),
        fact("a.zip", type="OS.vms=stream") + fact("sub", type="dir"),
        fact("a.zip", type="file", size=-1, modify="20260304050607") + fact("sub", type="dir"),
        fact("a.zip", type="file", size="7 bytes", modify="20260304050607") + fact("sub", type="dir"),
    ],
)
def test_mlsd_without_types_or_sizes_is_completed_by_asking(mlsd: bytes) -> None:
    script = Script(
        listings={"MLSD": {"/": mlsd, "/sub": fact("b.zip", size=1, modify="20260304050607")}},
        files={"/a.zip": b"content", "/sub/b.zip": b"1"},
        says={**MLSD},
    )
    a, b = RemoteFile(path="a.zip", size=7, modified=WHEN), RemoteFile(path="sub/b.zip", size=1, modified=WHEN)
    assert listed(script) == Listing(files=[a, b], unread=[])
    assert listed(script, recursive=False).files[0] == a


@pytest.mark.parametrize("size", ["-1", "-4294967296", "12,34", "1.2K", "18446744073709551615", "0x10"])
def test_a_size_in_a_listing_that_makes_no_sense_is_asked_for(size: str) -> None:
    text = f"-rw-r--r-- 1 u g {size} Mar 04  2026 a.zip\r\n".encode()
    script = Script(listings={"LIST": {"/": text}}, files={"/a.zip": b"content"})
    assert [file.size for file in listed(script).files] == [7]
    script.says["SIZE"] = "213 -1"
    listing = listed(Script(listings={"LIST": {"/": text + line("b.zip")}}, files=script.files, says=script.says))
    assert paths(listing) == {"b.zip"}
    assert list(listing.unsized) == [UnsizedFile(path="a.zip", modified=WHEN)]


@pytest.mark.parametrize("offered", ["500 unknown", "502 not implemented", "550 no such file or folder", None])
def test_where_mlsd_is_of_no_use_list_is_taken(offered: str | None) -> None:
    script = Script(listings={"LIST": {"/": line("a.zip")}, "MLSD": {"/": line("a.zip")}}, says={**MLSD})
    if offered:
        script.says["MLSD"] = offered
    assert listed(script) == Listing(files=[RemoteFile(path="a.zip", size=7, modified=DAY)], unread=[])


EMPTY = [
    "550 No files found",
    "450 No files found",
    "550 No such file or directory",
    "450 .: No such file or directory",
]


@pytest.mark.parametrize("reply", EMPTY)
@pytest.mark.parametrize("commands", [["LIST", "NLST"], ["LIST", "NLST", "MLSD"]])
@pytest.mark.parametrize("where", ["/", "/sub"])
@pytest.mark.parametrize("late", [True, False])
def test_an_empty_folder_that_the_server_refuses_to_list_is_empty(
    reply: str, commands: list[str], where: str, late: bool
) -> None:
    lists = {"/": folder("sub") + folder("sub2"), "/sub": line("a.zip"), "/sub2": line("b.zip"), where: b""}
    facts = {
        "/": fact("sub", type="dir") + fact("sub2", type="dir"),
        "/sub": fact("a.zip", type="file", size=7, modify="20260304050607"),
        "/sub2": fact("b.zip", type="file", size=7, modify="20260304050607"),
        where: b"",
    }
    says = {f"226 {where}": reply} if late else {f"{command} {where}": reply for command in commands}
    says |= MLSD if "MLSD" in commands else {}
    listing = listed(Script(listings={"LIST": lists, "MLSD": facts, "NLST": {where: b""}}, says={**says}))
    assert paths(listing) == (set() if where == "/" else {"sub2/b.zip"})
    assert unread(listing) == []


def test_an_empty_folder_is_told_from_a_refusal_by_its_names() -> None:
    says = {"LIST": "550 it did not work"}
    assert listed(Script(listings={"NLST": {"/": b""}}, says={**says})) == Listing(files=[], unread=[])
    listing = listed(Script(listings={"NLST": {"/": b"a.zip\r\n"}}, files={"/a.zip": b"content"}, says={**says}))
    assert paths(listing) == {"a.zip"}


FORBIDDEN = [
    "550 Permission denied",
    "450 sub: Permission denied",
    "550 Access is denied.",
    "550 Zugriff nicht möglich",
    "553 no",
]


@pytest.mark.parametrize("reply", FORBIDDEN)
@pytest.mark.parametrize("command", ["CWD", "LIST"])
def test_a_folder_that_may_not_be_listed_costs_itself(reply: str, command: str) -> None:
    lists = {"/": line("a.zip") + folder("sub") + folder("sub2"), "/sub": line("x.zip"), "/sub2": line("b.zip")}
    refused: Callable[[str], str | None] = lambda name: reply if name == "sub" else None  # noqa: E731 - a fixture
    says = {"CWD": refused} if command == "CWD" else {"LIST /sub": reply, "NLST /sub": reply}
    listing = listed(Script(listings={"LIST": lists}, says={**says}))
    assert paths(listing) == {"a.zip", "sub2/b.zip"}
    assert unread(listing) == [Unread(text=reply, path="sub/")]
    assert listing.lacks(["sub/x.zip", "y.zip"]) == {"y.zip"}


@pytest.mark.parametrize("reply", FORBIDDEN)
def test_a_source_that_may_not_be_listed_is_an_error(reply: str) -> None:
    script = Script(listings={"NLST": {"/": b""}}, says={"LIST": reply, "NLST": reply})
    with pytest.raises((SourceUnavailableError, SourceRefusedError), match=reply[:5]):
        listed(script)
    if "enied" in reply:
        del script.says["NLST"]
        with pytest.raises(SourceUnavailableError, match=reply):
            listed(script)


@pytest.mark.parametrize("reply", ["421 bye", "425 no data connection", "426 aborted", "530 log in first"])
def test_an_error_of_the_connection_is_not_taken_for_a_folder_that_is_empty_or_forbidden(reply: str) -> None:
    lists = {"/": folder("sub") + line("a.zip"), "/sub": b""}
    for says in ({"LIST /sub": reply}, {"226 /sub": reply}, {"CWD": reply}, {"LIST": reply}, {"PASV": reply}):
        with pytest.raises((SourceUnavailableError, SourceRefusedError), match=reply):
            listed(Script(listings={"LIST": lists}, says={**says}))


def test_a_data_connection_that_is_refused_is_not_an_empty_folder() -> None:
    with pytest.raises(SourceUnavailableError, match="no such file"):
        listed(Script(listings={"LIST": {"/": line("a.zip")}}, says={"PASV": "550 no such file"}))


@pytest.mark.parametrize("reply", ["550 No such file or directory", "550 sub: does not exist"])
@pytest.mark.parametrize("parent", ["/", "/up"])
def test_a_folder_that_was_deleted_meanwhile_is_no_loss(reply: str, parent: str) -> None:
    prefix = parent.rstrip("/")
    lists = {"/": folder("up"), "/up": b"", f"{prefix}/other": line("b.zip")}
    lists[parent] += folder("sub") + folder("other") + line("c.zip", -1)
    script = Script(listings={"LIST": lists})

    def enter(name: str) -> str | None:
        if not name.endswith("sub"):
            return None
        lists[parent] = lists[parent].replace(folder("sub"), b"")
        return reply

    script.says["CWD"] = enter
    listing = listed(script)
    assert paths(listing) == {f"{prefix}/other/b.zip".removeprefix("/")}
    assert [file.path for file in listing.unsized] == [f"{prefix}/c.zip".removeprefix("/")]
    assert unread(listing) == []


@pytest.mark.parametrize("reply", ["550 No such file or directory", "550 sub: does not exist"])
def test_a_folder_that_is_listed_and_called_absent_is_told(reply: str) -> None:
    lists = {"/": folder("sub") + folder("other"), "/other": line("b.zip")}
    refused: Callable[[str], str | None] = lambda name: reply if name == "sub" else None  # noqa: E731 - a fixture
    listing = listed(Script(listings={"LIST": lists}, says={"CWD": refused}))
    assert paths(listing) == {"other/b.zip"}
    assert unread(listing) == [Unread(text=reply, path="sub/")]


CUT = [
    "226-Options: -a -l \r\n226 Output truncated to 2000 matches",
    "226 Transfer done (but failed to open directory).",
    "226-Read error during globbing of *\r\n226 Transfer complete",
    "226 Transfer complete, but not all entries were listed",
    "450 some of it",
    "550 Listing stopped",
]


@pytest.mark.parametrize("reply", CUT)
@pytest.mark.parametrize("mlsd", [True, False])
def test_a_listing_that_calls_itself_incomplete_is(reply: str, mlsd: bool) -> None:
    text = fact("a.zip", type="file", size=7, modify="20260304050607") if mlsd else line("a.zip")
    listings = {"MLSD" if mlsd else "LIST": {"/": text}}
    listing = listed(Script(listings=listings, says={"226": reply, **(MLSD if mlsd else {})}))
    assert paths(listing) == {"a.zip"}
    (part,) = unread(listing)
    assert part.path is None
    assert part.text in reply
    assert not listing.lacks(["b.zip"])


@pytest.mark.parametrize("reply", CUT[:4])
def test_a_listing_without_a_line_that_calls_itself_incomplete_is_not_empty(reply: str) -> None:
    listing = listed(Script(listings={"LIST": {"/": b""}}, says={"226": reply}))
    assert (listing.files, len(listing.unread), listing.lacks(["a.zip"])) == ([], 1, frozenset())


def test_a_subfolder_that_the_server_fails_to_open_costs_itself() -> None:
    lists = {"/": line("a.zip") + folder("sub") + folder("sub2"), "/sub": b"", "/sub2": line("b.zip")}
    listing = listed(Script(listings={"LIST": lists}, says={"226 /sub": CUT[1]}))
    assert paths(listing) == {"a.zip", "sub2/b.zip"}
    assert unread(listing) == [Unread(text=CUT[1], path="sub/")]


def test_a_subfolder_that_is_cut_short_makes_the_listing_incomplete() -> None:
    lists = {"/": folder("sub"), "/sub": line("a.zip")}
    listing = listed(Script(listings={"LIST": lists}, says={"226 /sub": "226 Output truncated to 1 matches"}))
    assert unread(listing) == [Unread(text="226 Output truncated to 1 matches")]


@pytest.mark.parametrize(
    "reply",
    [
        '257 "/"',
        '257 "/" is the current directory',
        "257 '/' is the current directory",
        "257 / is the current directory",
        "257 /",
        "257 Current directory is /",
    ],
)
def test_subfolders_are_listed_however_pwd_is_answered(reply: str) -> None:
    lists = {"/": folder("a") + folder("b"), "/a": folder("c"), "/a/c": line("1.zip"), "/b": line("2.zip")}
    listing = listed(Script(listings={"LIST": lists}, says={"PWD": reply}))
    assert paths(listing) == {"a/c/1.zip", "b/2.zip"}
    assert unread(listing) == []


@pytest.mark.parametrize("reply", ["257 current directory", "502 not implemented", "550 not allowed"])
def test_without_an_answer_to_pwd_the_files_of_the_source_s_folder_are_listed(reply: str) -> None:
    lists = {"/": folder("sub") + line("a.zip") + folder("sub2"), "/sub": line("b.zip")}
    listing = listed(Script(listings={"LIST": lists}, says={"PWD": reply}))
    assert paths(listing) == {"a.zip"}
    assert [(part.path, reply in part.text) for part in listing.unread] == [("sub/", True), ("sub2/", True)]


def test_after_an_error_the_next_listing_begins_in_the_source_s_folder() -> None:
    script = Script(listings={"LIST": {"/": folder("sub") + line("a.zip"), "/sub": line("b.zip")}})
    with ftp_server(script) as endpoint, connector(replace(endpoint, recursive=True)).connect() as connection:
        for says in ({"PWD": '257 "/nowhere"'}, {"LIST /sub": "530 log in"}, {"226 /sub": "425 no"}):
            script.says |= says
            wrong = "CWD /nowhere, as PWD named it: 550" if "PWD" in says else next(iter(says.values()))
            with pytest.raises((SourceUnavailableError, SourceRefusedError), match=wrong):
                connection.list_files()
            script.says.clear()
            assert paths(connection.list_files()) == {"a.zip", "sub/b.zip"}


class Loop(dict[str, bytes]):
    """A tree in which each of some folders leads back to the top."""

    def __init__(self, loops: list[str], tree: dict[str, bytes]) -> None:
        super().__init__(tree)
        self._loops = loops

    def get(self, key: str, default: object = None) -> bytes | None:  # type: ignore[override]  # of bytes alone
        return super().get(self._straight(key))

    def __contains__(self, key: object) -> bool:
        return super().__contains__(self._straight(str(key)))

    def _straight(self, path: str) -> str:
        parts: list[str] = []
        for part in path.split("/"):
            parts = [] if part in self._loops else [*parts, *([part] if part else [])]
        return "/" + "/".join(parts)


def dir_of(name: str, unique: str = "") -> bytes:
    facts = {"type": "dir", "modify": "20260304050607"} | ({"unique": unique} if unique else {})
    return fact(name, **facts)


A = fact("a.zip", type="file", size=7, modify="20260304050607", unique="9U9")


@pytest.mark.parametrize(
    "tree",
    [
        {"/": A + dir_of("loop")},
        {"/": A + dir_of("loop", "1U1")},
        {"/": A + dir_of("sub"), "/sub": dir_of("loop")},
        {"/": A + dir_of("sub", "1U2"), "/sub": dir_of("loop", "1U1")},
        {"/": A + dir_of("loop") + dir_of("back")},
        {"/": A + dir_of("loop", "1U1") + dir_of("back", "1U1") + dir_of("sub", "1U2"), "/sub": dir_of("loop", "1U1")},
    ],
)
def test_a_folder_that_leads_back_to_one_above_it_is_told_and_not_listed_for_ever(tree: dict[str, bytes]) -> None:
    script = Script(listings={"MLSD": Loop(["loop", "back"], tree)}, says={**MLSD})
    listing = listed(script)
    assert "a.zip" in paths(listing)
    assert all("again" in part.text and str(part.path).endswith(("loop/", "back/")) for part in listing.unread)
    assert 0 < len(listing.unread) <= 20
    assert len(script.commands) < 200


def test_a_loop_of_folders_alone_is_told_by_their_identity() -> None:
    listing = listed(Script(listings={"MLSD": Loop(["loop"], {"/": dir_of("loop", "1U1")})}, says={**MLSD}))
    assert unread(listing) == [Unread(text="it is the folder 'loop/' again", path="loop/loop/")]


def test_a_loop_by_list_is_told_too() -> None:
    script = Script(listings={"LIST": Loop(["loop"], {"/": line("a.zip") + folder("loop")})})
    listing = listed(script)
    assert paths(listing) == {"a.zip"}
    assert unread(listing) == [Unread(text="it is the folder './' again", path="loop/")]


def test_a_loop_that_cannot_be_told_ends_all_the_same() -> None:
    listing = listed(Script(listings={"LIST": Loop(["loop"], {"/": folder("loop")})}))
    assert listing.files == []
    (part,) = unread(listing)
    assert part.path == "loop/" * 33
    assert part.text.startswith("not entered: 32 folders below each other")


def test_many_loops_end_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_limits, "MAX_FOLDERS", 50)
    script = Script(listings={"LIST": Loop(["loop", "back"], {"/": folder("loop") + folder("back")})})
    listing = listed(script)
    assert {part.path: part.text for part in listing.unread} == {
        f"{name}/": "it is the folder './' again" for name in ("loop", "back")
    }
    assert len(script.commands) < 1000


@pytest.mark.parametrize("mlsd", [True, False])
def test_folders_that_only_look_alike_are_all_listed(mlsd: bool) -> None:
    names = ["/", "/a", "/a/a", "/a/a/a"]
    texts = [dir_of("a") if mlsd else folder("a")] * 3 + [A if mlsd else line("a.zip")]
    listings = {"MLSD" if mlsd else "LIST": dict(zip(names, texts, strict=True))}
    listing = listed(Script(listings=listings, says={**(MLSD if mlsd else {})}))
    assert paths(listing) == {"a/a/a/a.zip"}
    assert unread(listing) == []


@pytest.mark.parametrize("mlsd", [True, False])
def test_folders_that_hold_the_same_file_are_all_listed(mlsd: bool) -> None:
    below = dir_of if mlsd else folder
    file = A if mlsd else line("a.zip")
    tree = {"/": file + below("2026"), "/2026": file + below("01"), "/2026/01": file}
    listing = listed(Script(listings={"MLSD" if mlsd else "LIST": tree}, says={**(MLSD if mlsd else {})}))
    assert paths(listing) == {"a.zip", "2026/a.zip", "2026/01/a.zip"}
    assert unread(listing) == []


def test_folders_of_one_identity_are_told_apart_by_what_they_hold() -> None:
    tree = {"/": dir_of("12", "0"), "/12": dir_of("11", "0"), "/12/11": A}
    listing = listed(Script(listings={"MLSD": tree}, says={**MLSD}))
    assert paths(listing) == {"12/11/a.zip"}
    assert unread(listing) == []


def test_folders_with_odd_names_are_listed_or_told() -> None:
    odd = ["-la", "two  words", " lead", "*[a]?", 'say "hi"', "%20", "grüße", "a;b=c", "caf\udce9"]
    lists = {"/": b"".join(map(folder, [*odd, "a\rb", "F/"])) + line("c\rd.zip", -1)}
    lists |= {f"/{name}": line("a.zip") for name in [*odd, "F"]}
    listing = listed(Script(listings={"LIST": lists}))
    assert paths(listing) == {f"{name}/a.zip" for name in [*odd, "F"]}
    assert [part.path for part in listing.unread] == ["a\rb/", "c\rd.zip"]
    assert all("line break" in part.text for part in listing.unread)


def test_a_loop_of_folders_that_hold_only_folders_is_recognised() -> None:
    listings = {"/": folder("day") + folder("loop"), "/day": b"-rw-r--r-- 1 u g 1 Mar 04  2026 a.zip\r\n"}
    listing = listed(Script(listings={"LIST": Loop(["loop"], listings)}))
    assert [file.path for file in listing.files] == ["day/a.zip"]
    assert [part.path for part in listing.unread] == ["loop/"]


def test_names_are_understood_though_all_that_are_wanted_and_the_last_ones_are_refused() -> None:
    names = ["a.zip", "gone.zip", *(f"z{number:02d}.zip" for number in range(10))]

    def tell(path: str) -> str | None:
        return None if path == "a.zip" else "550 denied"

    script = Script(
        listings={"NLST": {"/": "".join(f"{name}\r\n" for name in names).encode()}},
        files={f"/{name}": b"zip" for name in names},
        says={"SIZE": tell, "MDTM": tell},
    )
    found = listed(script, recursive=False, scope=Scope(wants="gone.zip".__eq__))
    assert paths(found) == {"a.zip"}
    assert "gone.zip" in {part.path for part in found.unread}
