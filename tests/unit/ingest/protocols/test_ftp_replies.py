"""Texts of FTP replies, and their meanings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.protocols.ftp_replies import complaint, current_folder, says_absent, says_forbidden


@pytest.mark.parametrize(
    "line",
    [
        # vsftpd
        "226 Transfer done (but failed to open directory).",
        # Pure-FTPd
        "226 Output truncated to 2000 matches",
        '226-(This probably means "Permission denied")',
        # Pure-FTPd and ProFTPD
        "226-Out of memory during globbing of *",
        "226-Read error during globbing of *",
        # others
        "226 Transfer complete, but not all entries were listed",
        "226 Directory listing incomplete",
        "250 Partial listing: too many files",
        "226 Listed 1000 of 25000 files",
        "226 Only the first 1000 entries are shown",
        "226 Could not read the directory",
        "226 Error while reading the directory",
        "226 Maximum of 500 entries reached",
        "226 Listing aborted",
    ],
)
def test_a_reply_that_the_listing_lacks_something_is_quoted(line: str) -> None:
    assert complaint(line) == line
    assert complaint(f"226-Options: -a -l \n{line}\n226 done") == line


@pytest.mark.parametrize(
    "reply",
    [
        "226 Directory send OK.",
        "226 Transfer complete",
        "226-Options: -a -l \n226 4 matches total",
        '226 Successfully transferred "/"',
        "226 Operation successful",
        "226 Closing data connection.",
        "226 Closing data connection. Requested file action successful (for example, file transfer or file abort).",
        "226 ASCII Transfer complete, 0 errors",
        "226 Transfer completed without error",
        "250 List completed successfully.",
        "226 Listed 7 of 7 files",
        "226 Listing completed.",
    ],
)
def test_the_usual_replies_are_no_complaint(reply: str) -> None:
    assert complaint(reply) is None


@pytest.mark.parametrize(
    ("reply", "absent", "forbidden"),
    [
        ("550 No files found", True, False),
        ("450 No files found", True, False),
        ("550 No such file or directory", True, False),
        ("550 /sub: No such file or directory.", True, False),
        ("550 The system cannot find the file specified. ", True, False),
        ("550 Folder is empty", True, False),
        ("550 No data sets found.", True, False),
        ("550 Directory doesn't exist", True, False),
        ("550 Permission denied", False, True),
        ("550 Access is denied. ", False, True),
        ("550 No such directory, or access denied", False, True),
        ("550 Failed to change directory.", False, False),
    ],
)
def test_refusals_are_told_apart(reply: str, absent: bool, forbidden: bool) -> None:
    assert (says_absent(reply), says_forbidden(reply)) == (absent, forbidden)


@pytest.mark.parametrize(
    ("reply", "folder"),
    [
        ('257 "/"', "/"),
        ('257 "/home/a b" is the current directory', "/home/a b"),
        ('257 "/say ""hi""/x" created', '/say "hi"/x'),
        ('257 "/it\'s" is current directory.', "/it's"),
        ("257 '/home/a' is current directory.", "/home/a"),
        ("257 \"'USER.DATA.'\" is working directory", "'USER.DATA.'"),
        ("257 /", "/"),
        ("257 /home/a b", "/home/a b"),
        ("257 /home/a is current directory.", "/home/a"),
        ("257 Current directory is /home/a.", "/home/a"),
        ("257 D:\\ftp\\a", "D:\\ftp\\a"),
        ("257 current directory", None),
        ("257", None),
    ],
)
def test_the_reply_to_pwd_is_read_with_and_without_quotes(reply: str, folder: str | None) -> None:
    assert current_folder(reply) == folder


@given(st.text(st.characters(blacklist_characters="\r\n"), min_size=1))
def test_any_folder_in_quotes_is_read(folder: str) -> None:
    quoted = folder.replace('"', '""')
    assert current_folder(f'257 "{quoted}" is the current directory') == folder


@given(st.text())
def test_no_reply_does_harm(reply: str) -> None:
    complaint(reply)
    says_absent(reply)
    current_folder(reply)
