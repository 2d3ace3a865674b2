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
        "226 List limited to 1000 entries",
        "226 Only 1000 entries shown",
        "226 First 1000 entries",
        "226 There are more files",
        "226 12 entries omitted",
        "226 Listing interrupted",
        "226 Timeout while reading the directory",
        # Pure-FTPd in other languages, in UTF-8 and in the encodings in which it is delivered
        "226 Anzeige auf 2000 Einträge beschränkt.",
        "226 Anzeige auf 2000 Eintr\udce4ge beschr\udce4nkt.",
        "226-Nicht genug Speicher beim Vervollständigen von *.",
        "226 Sortie tronquee a 2000 elements",
        "226-Erreur de lecture pendant le globbing de *",
        "226 Salida truncada a 2000 ocurrencias",
        "226 Output troncato a 2000 corrispondenze",
        "226 Resultado truncado em 2000 ocorrências",
        "226 Output afgekort naar 2000 overeenstemmingen",
        "226 Wyj\udcb6cie obci\udceate do 2000 pasuj\udcb1cych",
        "226 Resultat er avkortet til 2000 treff",
        "226 Utdata trunkeras till 2000 träffar",
        "226 Kimenet 2000 részre csonkítva",
        "226 Rezultat trunchiat la 2000 potriviri",
        "226 Výstup zkrácen na 2000 shod",
        "226 Zugriff verweigert",
        "226 Ошибка чтения каталога",
        "226 目录列表不完整",
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
        '226 Successfully transferred "/data/failed/errors"',
        '226 Successfully transferred "C:\\ftp\\incomplete"',
        "226 Transfer complete. 1,234 bytes transferred. 12.34 KB/sec.",
        "226-Maximum disk quota limited to Unlimited Kbytes\n226 Transfer complete",
        "226 Directory list has been submitted.",
        "226 Transfer finished successfully.",
        "226 Listing data: done",
        "226 Done, errors: 0",
        "226 Failures: 0",
        "226 Transfer complete, 0 error(s), none skipped",
        "226-Quota: 100 of 5000 files used\n226 done",
        "226 Transfer rate limited to 100 kB/s",
        "226 Übertragung ohne Fehler abgeschlossen",
        "226 Transfert terminé sans erreur",
        "226 0 Fehler",
        "226 200 Einträge gesamt.",
        "226 12 elements au total",
        "226 Fehlerfrei",
        "226 传输完成, 没有错误",
        "226 傳輸完成, 無錯誤",
        "226 转送完成, 错误: 0",
        "226 転送完了 エラーなし",
        "226 전송 완료, 오류 없음",
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
        ('257-the folder is\n257 "/home/a"', "/home/a"),
        ('250 "/home/a"', "/home/a"),
        ("257 \\ is current directory", "\\"),
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
