"""A doctor's finding is one line of text, even with a server's text in it, and shows no secret."""

from config.settings import read_settings
from ops.health.doctor.findings import line, ok, secrets_of, summary, unknown, wrong

PASSWORD = "s3cret-of-a-finding"
SETTINGS = read_settings({
    "DATA_STORAGE": "UseDevelopmentStorage=true",
    "SOURCES__A__URL": "ftp://user@host/",
    "SOURCES__A__PASSWORD": PASSWORD,
    "SOURCES__B__URL": "ftp://user@host/",
    "SOURCES__B__PASSWORD": "a",
})  # fmt: skip


def test_a_server_that_repeats_a_password_does_not_get_it_shown() -> None:
    text = line(wrong("a", f"530 no user with {PASSWORD} at all"), secrets_of(SETTINGS))
    assert "530 no user with *** at all" in text


def test_a_server_that_speaks_to_the_terminal_is_not_heard() -> None:
    text = line(wrong("a", "550 \x1b[2J gone\r\nok  b  all is well"))
    assert "\x1b" not in text
    assert len(text.splitlines()) == 1


def test_what_was_not_looked_at_is_counted() -> None:
    assert summary([ok("a", ""), ok("b", ""), wrong("c", ""), unknown("d", "")]) == "2 ok, 1 wrong, 1 unknown"
    assert summary([ok("a", "")]) == "1 ok, 0 wrong"
